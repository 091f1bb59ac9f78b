"""Engines of one model with unequal memory: the model has the context of the larger engine, and clients see no difference."""
import pytest

from bench.lib import cloud, sse

MODEL = "smollm2-135m"


@pytest.fixture(scope="module")
def unequal(penstock, smollm2):
    settings = {"engines.small.runner": "fake?step_ms=1&paced=1", "engines.small.context": "256",
                "engines.large.runner": "fake?step_ms=4&paced=1", "engines.large.context": "2048"}
    with cloud.Cloud({MODEL: smollm2}, settings) as ours:
        ours.wait_engines(2)
        yield ours


def complete(ours, words, **more):
    return sse.call(ours.port, "/v1/completions", key=ours.key(), timeout=60, body={
        "model": MODEL, "prompt": "word " * words, "ignore_eos": True, "temperature": 0, **more})


def story_of(ours, answer):
    return ours.run("usage", "--request", answer.request_id).stdout


def test_the_context_is_that_of_the_engine_with_most_memory(unequal):
    models = sse.call(unequal.port, "/v1/models", key=unequal.key()).json()["data"]
    assert models[0]["max_model_len"] == 2048
    refused = complete(unequal, 3000, max_tokens=5)
    assert refused.status == 400 and "maximum context length is 2048" in refused.error()


def test_a_long_prompt_is_answered_by_the_engine_that_has_memory_for_it(unequal):
    for _ in range(3):
        answer = complete(unequal, 600, max_tokens=5)
        assert answer.status == 200
        assert "engine large" in story_of(unequal, answer)


def test_an_answer_that_outgrows_an_engine_equals_that_of_the_other_engine(unequal):
    # The small engine is faster, so it gets every request that fits.
    answers = [complete(unequal, 20, max_tokens=600) for _ in range(3)]
    assert [a.json()["usage"]["completion_tokens"] for a in answers] == [600] * 3
    assert len({a.json()["choices"][0]["text"] for a in answers}) == 1
    assert any("engine small has no memory for a longer text" in story_of(unequal, a) for a in answers)
    unequal.run("engine", "drain", "small")
    alone = complete(unequal, 20, max_tokens=600)
    unequal.run("engine", "resume", "small")
    assert alone.json()["choices"][0]["text"] == answers[0].json()["choices"][0]["text"]


def test_an_answer_without_a_limit_continues_to_the_end_of_the_larger_context(unequal):
    answer = sse.call(unequal.port, "/v1/chat/completions", key=unequal.key(), timeout=60, body={
        "model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "ignore_eos": True})
    assert answer.json()["choices"][0]["finish_reason"] == "length"
    assert answer.json()["usage"]["total_tokens"] == 2048
