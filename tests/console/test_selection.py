"""Which model the console selects, by its own module in Node: no browser, no cloud."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

CONSOLE = Path(__file__).resolve().parents[2] / "console"
READY = {"name": "a", "state": "ready", "context": 2048}
LOADING = {"name": "b", "state": "loading", "context": 512}
OTHER = {"name": "c", "state": "ready", "context": 512}


@pytest.fixture(scope="module")
def select(tmp_path_factory):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    folder = tmp_path_factory.mktemp("console")
    for source in CONSOLE.glob("*.js"):
        shutil.copy(source, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "ask.mjs").write_text(
        "import { modelNote, selection } from './chat.js';\n"
        "const [models, chosen, reason] = JSON.parse(process.argv[2]);\n"
        "const { name, model } = selection(models, chosen);\n"
        "console.log(JSON.stringify({ name, note: modelNote(model, reason) }));\n"
    )

    def ask(models, chosen, reason=""):
        question = json.dumps([models, chosen, reason])
        return json.loads(subprocess.check_output([node, folder / "ask.mjs", question], text=True, timeout=30))

    return ask


def test_the_first_ready_model_is_the_start(select):
    assert select([LOADING, READY, OTHER], "")["name"] == "a"


def test_a_model_that_is_not_ready_stays_selected_and_is_shown_as_not_ready(select):
    answer = select([READY, LOADING], "b")
    assert answer["name"] == "b"
    assert "b is not ready (loading)" in answer["note"]


def test_a_model_that_is_no_longer_listed_stays_selected(select):
    answer = select([READY], "removed")
    assert answer["name"] == "removed"
    assert "removed is not ready (not available)" in answer["note"]


def test_the_context_belongs_to_the_selected_model(select):
    assert select([READY, OTHER], "c")["note"] == "Context: 512 tokens."
    assert select([READY, OTHER], "a")["note"] == "Context: 2,048 tokens."


def test_without_a_ready_model_the_reason_is_shown(select):
    assert select([LOADING], "", "all engines are draining") == {
        "name": "",
        "note": "No model is ready: all engines are draining.",
    }
