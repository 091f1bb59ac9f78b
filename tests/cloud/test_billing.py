"""The billing rule on a whole cloud: what delivered nothing is billed nothing (docs/concepts.md)."""
import asyncio

import pytest

from bench.lib import cloud, sse

MODEL = "smollm2-135m"
SETTINGS = {"engine.max_sequences": "1", "gateway.queue_timeout": "2s"}


@pytest.fixture(scope="module")
def narrow(penstock, smollm2):
    """A cloud that runs one request at a time."""
    with cloud.Cloud({MODEL: smollm2}, SETTINGS) as ours:
        yield ours


def team_key(ours, team):
    ours.admin("/teams", {"name": team})
    return ours.admin("/keys", {"team": team, "name": "k"})["secret"]


async def while_busy(ours, key, ask):
    """Runs `ask` while another request, that streams to `key`, holds the only sequence."""
    began = asyncio.Event()
    body = {"model": MODEL, "prompt": "Tell a story.", "max_tokens": 4000, "ignore_eos": True, "stream": True}
    stream = asyncio.create_task(sse.ask(ours.port, "/v1/completions", body, key, on_event=lambda _: began.set()))
    await asyncio.wait_for(began.wait(), 30)
    answer = await ask()
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    return answer


def test_a_request_that_timed_out_in_the_queue_is_billed_nothing(narrow):
    busy, waiting = team_key(narrow, "busy"), team_key(narrow, "waiting")
    body = {"model": MODEL, "prompt": "word " * 200, "max_tokens": 5}
    answer = asyncio.run(while_busy(narrow, busy, lambda: sse.ask(narrow.port, "/v1/completions", body, waiting)))
    assert answer.status == 429
    record = narrow.request(answer.request_id).json()
    assert record["usage"]["total_tokens"] == 0 and record["prompt_size"] > 0
    rows = sse.call(narrow.port, "/v1/usage", key=waiting).json()["data"]
    assert sum(row["input_tokens"] + row["output_tokens"] for row in rows) == 0


def test_a_stream_is_billed_its_prompt_and_what_it_delivered(narrow):
    key = team_key(narrow, "served")
    body = {"model": MODEL, "prompt": "Hello", "max_tokens": 5, "ignore_eos": True, "stream": True}
    answer = sse.call(narrow.port, "/v1/completions", body=body, key=key)
    record = narrow.request(answer.request_id).json()
    assert record["usage"]["prompt_tokens"] == record["prompt_size"] > 0
    assert record["usage"]["completion_tokens"] == 5
