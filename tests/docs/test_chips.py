"""docs/chips.md says of each kind of engine what the running ones say of themselves."""
import json

import pytest

from bench.lib import cloud

PAGE = cloud.ROOT / "docs/chips.md"
COLUMNS = {"reclaim at a token": "reclaim", "resume": "resume", "exact usage": "exact_usage", "hard budget": "hard_budget",
           "many models": "many_models", "training": "training"}


def promised():
    """Rows of the page's first table: {"`native`…": {"reclaim": "yes", …}}."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    rows = {}
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != len(head):
            break
        rows[cells[0]] = {COLUMNS[column]: cell for column, cell in zip(head[1:], cells[1:])}
    return rows


def of_kind(kind):
    found = [row for name, row in promised().items() if name.startswith(kind)]
    assert len(found) == 1, kind
    return found[0]


def told_by(ours):
    return json.loads(ours.run("engine", "ls", "--json").stdout)["data"][0]["guarantees"]


def test_native_keeps_what_the_page_says(live):
    assert told_by(live) == of_kind("`native`")
    assert "penstock-1" in live.run("engine", "ls", "--guarantees").stdout


def test_ggml_keeps_what_the_page_says(penstock, smollm2):
    if not (cloud.BUILD / "runner/ggml/libpenstock_ggml.so").exists():
        pytest.skip("the ggml plug-in is not built")
    with cloud.Cloud({"small": smollm2}, settings={"engine.runner": "ggml", "engine.ggml_device": "CPU"}) as ours:
        assert told_by(ours) == of_kind("`ggml`")
