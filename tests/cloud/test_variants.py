"""One model in two variants: users name the model, a key may be limited to a variant, answers name the variant."""
import pytest

from bench.lib import cloud, sse


@pytest.fixture(scope="module")
def pair(penstock, smollm2):
    with cloud.Cloud({"pair:a": smollm2, "pair:b": smollm2}, settings={"engine.kv_memory": "64MiB"}) as ours:
        yield ours


def ask(ours, key, model, stream=False):
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, "temperature": 0,
            "stream": stream}
    return sse.call(ours.port, "/v1/chat/completions", body=body, key=key)


def pinned_key(ours, *models):
    return ours.admin("/keys", {"team": "bench", "name": "+".join(models), "models": list(models)})["secret"]


def test_the_model_and_its_variants_are_listed(pair):
    listed = sse.call(pair.port, "/v1/models", key=pair.key()).json()["data"]
    assert [model["id"] for model in listed] == ["pair", "pair:a", "pair:b"]
    assert sse.call(pair.port, "/v1/models/pair", key=pair.key()).json()["id"] == "pair"


def test_answers_name_the_variant(pair):
    prints = {}
    for name in ("pair:a", "pair:b", "pair"):
        for stream in (False, True):
            answer = ask(pair, pair.key(), name, stream)
            assert answer.status == 200, answer.body
            told = answer.json() if not stream else answer.events[-1][1]
            assert told["model"] == name
            prints[name] = told["system_fingerprint"]
    assert prints["pair:a"].startswith("fp_")
    assert prints["pair:a"] != prints["pair:b"]
    assert prints["pair"] in (prints["pair:a"], prints["pair:b"])


def test_a_key_may_be_limited_to_a_variant(pair):
    pair.key()  # creates the team
    key = pinned_key(pair, "pair:b")
    mine = ask(pair, key, "pair:b").json()["system_fingerprint"]
    assert all(ask(pair, key, "pair").json()["system_fingerprint"] == mine for _ in range(4))
    assert ask(pair, key, "pair:a").status == 403
    assert ask(pair, pinned_key(pair, "pair"), "pair:a").status == 200
