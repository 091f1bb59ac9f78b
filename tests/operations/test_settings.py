"""`penstock config set`: in the file and in the running cloud."""
import pytest

from bench.lib import cloud, sse
from tests.operations import load


@pytest.fixture(scope="module")
def ours(penstock, smollm2):
    with cloud.Cloud({load.MODEL: smollm2}, load.FAKE) as running:
        yield running


@pytest.fixture
def change(ours, tmp_path):
    def run(*words):
        file = tmp_path / "penstock.toml"
        file.touch()
        return ours.run("config", "set", *words, "--config", str(file), check=False), file
    return run


def test_a_limit_changes_at_once_and_is_written(ours, change):
    key = ours.key("limited")
    body = {**load.body(5), "messages": [{"role": "user", "content": "x" * 5000}]}
    assert sse.call(ours.port, "/v1/chat/completions", body=body, key=key).status == 200
    done, file = change("gateway.max_body", "4KiB")
    assert done.returncode == 0, done.stdout
    assert "The running cloud uses it now." in done.stdout
    assert file.read_text() == "[gateway]\nmax_body = '4KiB'\n"
    assert sse.call(ours.port, "/v1/chat/completions", body=body, key=key).status == 413
    change("gateway.max_body", "16MiB")
    change("gateway.max_waiting", "77")
    answer = sse.call(ours.port, "/v1/chat/completions", body=body, key=key)
    assert answer.status == 200 and answer.headers["x-ratelimit-limit-requests"] == "77"


def test_now_leaves_the_file_alone(ours, change):
    done, file = change("log.level", "debug", "--now")
    assert done.returncode == 0, done.stdout
    assert file.read_text() == ""
    assert "debug" in ours.run("log", "--url", f"http://127.0.0.1:{ours.port}").stdout
    change("log.level", "info", "--now")


def test_other_settings_wait_for_the_next_start(change):
    done, file = change("engine.memory", "2GiB")
    assert done.returncode == 0, done.stdout
    assert "starts again" in done.stdout
    assert file.read_text() == "[engine]\nmemory = '2GiB'\n"


def test_a_wrong_name_or_value_changes_nothing(change):
    for words, error in ((("gateway.max_bdy", "1"), "did you mean"), (("gateway.max_body", "lots"), "must be a size"),
                         (("gateway.max_body", "1"), "must be at least 4KiB"), (("gateway.max_connections", "0"), "must be at least 16")):
        done, file = change(*words)
        assert done.returncode == 1
        assert error in done.stdout
        assert file.read_text() == ""


def test_answers_have_a_default_and_a_largest_length(ours, change):
    def tokens(**fields):
        body = {"model": load.MODEL, "messages": [{"role": "user", "content": "Hello"}], "ignore_eos": True, **fields}
        answer = sse.call(ours.port, "/v1/chat/completions", body=body, key=ours.key("lengths"), timeout=60)
        assert answer.json()["choices"][0]["finish_reason"] == "length"
        return answer.json()["usage"]["completion_tokens"]
    change("gateway.default_max_tokens", "20")
    assert tokens() == 20
    assert tokens(max_tokens=33) == 33
    change("gateway.max_tokens", f"25,{load.MODEL}=30,other=7")
    assert tokens() == 20
    assert tokens(max_tokens=33) == 30
    done, _ = change("gateway.max_tokens", "20,30")
    assert done.returncode != 0
    assert "a number of tokens" in done.stdout
    change("gateway.max_tokens", "0")
    change("gateway.default_max_tokens", "4096")
