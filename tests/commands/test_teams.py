"""`penstock team …` and `penstock connect` against a running cloud."""
import json
import os
import subprocess

import pytest

from bench.lib import cloud, sse


@pytest.fixture(scope="module")
def ours(penstock, smollm2, tmp_path_factory):
    with cloud.Cloud({"smollm2-135m": smollm2}, data=tmp_path_factory.mktemp("teams") / "data") as running:
        yield running


def type_(ours, *words):
    env = {**os.environ, "PENSTOCK_DATA": str(ours.data), "PENSTOCK_LISTEN": f"127.0.0.1:{ours.port}"}
    return subprocess.run([cloud.PENSTOCK, *words], env=env, text=True, timeout=120, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def works(ours, *words):
    done = type_(ours, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_creating_a_team_twice_succeeds_and_says_so(ours):
    assert "Created team 'two words'." in works(ours, "team", "create", "two words")
    again = works(ours, "team", "create", "Two Words")
    assert "'two words' exists already" in again and "--team 'two words'" in again


def test_a_renamed_team_keeps_its_keys_and_a_removed_one_its_usage(ours):
    works(ours, "team", "create", "red")
    key = works(ours, "key", "create", "--team", "red").strip()
    body = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    assert sse.call(ours.port, "/v1/chat/completions", body=body, key=key).status == 200
    assert "now 'rouge'" in works(ours, "team", "rename", "red", "rouge")
    assert sse.call(ours.port, "/v1/chat/completions", body=body, key=key).status == 200
    shown = json.loads(works(ours, "team", "show", "rouge", "--json"))
    assert (shown["keys"], shown["requests"], shown["removed"]) == (1, 2, 0)

    asked = type_(ours, "team", "rm", "rouge")
    assert asked.returncode == 2 and "Its key will stop working" in asked.stderr and "--yes" in asked.stderr
    assert sse.call(ours.port, "/v1/seat", key=key).status == 200, "nothing was removed"
    assert "revoked 1 of its keys" in works(ours, "team", "rm", "rouge", "--yes")
    refused = sse.call(ours.port, "/v1/seat", key=key)
    assert refused.status == 401 and "team 'rouge'" in refused.error() and "was removed" in refused.error()
    assert "rouge" not in works(ours, "team", "ls")
    assert json.loads(works(ours, "team", "show", "rouge", "--json"))["requests"] == 2
    assert "rouge" in works(ours, "usage")
    again = type_(ours, "team", "create", "rouge")
    assert again.returncode == 1 and "a removed team had the name" in again.stderr


def test_a_model_in_use_is_removed_only_with_yes(ours):
    done = type_(ours, "model", "rm", "smollm2-135m")
    assert done.returncode == 2 and "--yes" in done.stderr
    assert "smollm2-135m" in works(ours, "model", "ls")


def test_pulling_an_installed_model_succeeds_and_says_so(ours):
    assert "installed already" in works(ours, "model", "pull", "smollm2-135m")


def test_connect_prints_a_configuration_without_a_secret(ours):
    listed = works(ours, "connect")
    for client in ("openai-python", "openai-node", "curl", "qwen-code", "open-webui", "aider", "langchain", "litellm"):
        assert client in listed
        said = works(ours, "connect", client)
        assert f"http://127.0.0.1:{ours.port}/v1" in said and "smollm2-135m" in said and "sk-penstock" not in said
    wrong = type_(ours, "connect", "opnai-python")
    assert wrong.returncode == 2 and "did you mean 'openai-python'?" in wrong.stderr


def test_what_connect_prints_for_curl_and_python_works(ours):
    works(ours, "team", "create", "clients")
    env = {**os.environ, "PENSTOCK_KEY": works(ours, "key", "create", "--team", "clients").strip()}
    done = subprocess.run(["bash", "-c", works(ours, "connect", "curl")], env=env, text=True, stdout=subprocess.PIPE)
    assert "choices" in json.loads(done.stdout)
    compile(works(ours, "connect", "openai-python"), "openai.py", "exec")


def test_the_page_of_clients_is_what_the_program_says(penstock):
    done = subprocess.run([penstock, "connect", "--markdown"], stdout=subprocess.PIPE, text=True, check=True)
    assert (cloud.ROOT / "docs/clients.md").read_text() == done.stdout, \
        "make it again: build/release/app/penstock connect --markdown > docs/clients.md"
