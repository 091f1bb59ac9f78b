"""A small version of the crash bench: one kill of the engine and one of the gateway, during streams."""
import asyncio
import os
import signal
import time

import pytest

from bench.lib import cloud, sse

MODEL = "smollm2-135m"


def tokens_of(answer):
    return [n for n in (sum(len((c.get("logprobs") or {}).get("content") or []) for c in e.get("choices", []))
                        for _, e in answer.events) if n]


async def streams_cut_by(ours, kind):
    """Starts four streams, and kills the child of that kind when each stream has delivered something."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Tell a long story."}], "max_tokens": 400,
            "temperature": 0, "stream": True, "ignore_eos": True, "logprobs": True}
    began = set()
    tasks = [asyncio.create_task(sse.ask(ours.port, "/v1/chat/completions", {**body, "seed": i}, ours.key(),
                                         on_event=lambda a, i=i: began.add(i) if tokens_of(a) else None))
             for i in range(4)]
    deadline = time.monotonic() + 30
    while len(began) < 4 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    os.kill(ours.children(kind)[0], signal.SIGKILL)
    return await asyncio.gather(*tasks)


def answers_again(ours):
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if sse.call(ours.port, "/v1/chat/completions", body=body, key=ours.key(), timeout=30).status == 200:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def mortal(penstock, smollm2):
    with cloud.Cloud({MODEL: smollm2}) as ours:
        ours.key()
        yield ours


@pytest.mark.parametrize("kind", ["engine", "gateway"])
def test_a_killed_child_loses_no_usage_of_any_stream(mortal, kind):
    answers = asyncio.run(streams_cut_by(mortal, kind))
    assert answers_again(mortal)
    for answer in answers:
        record = sse.call(mortal.port, f"/v1/requests/{answer.request_id}", key=mortal.key()).json()
        delivered = tokens_of(answer)
        billed = record["usage"]["completion_tokens"]
        assert record["state"] == "ended" and record["outcome"]
        assert billed <= sum(delivered)
        assert sum(delivered) - billed <= delivered[-1]
        if kind == "engine":  # clients do not notice: the restarted engine continues where the old one was
            assert answer.ended == "whole" and not answer.error()
            assert billed == sum(delivered) == 400
