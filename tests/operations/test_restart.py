"""Several engines on one machine: a restart of everything under load, one set aside, one out of memory."""
import asyncio
import os
import pathlib
import signal
import time

import pytest

from bench.lib import cloud, sse
from tests.operations import load

TWO = {"engines.left.runner": "fake?step_ms=5&paced=1", "engines.right.runner": "fake?step_ms=8&paced=1",
       "gateway.drain_timeout": "60s"}


@pytest.fixture
def two(penstock, smollm2):
    with cloud.Cloud({load.MODEL: smollm2}, TWO) as running:
        eventually(lambda: len(ready(running)) == 2)
        yield running


def eventually(holds, within=30):
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def engines(ours):
    return {e["name"]: e for e in ours.admin("/status")["engines"]}


def ready(ours):
    return [n for n, e in engines(ours).items() if e["connected"] and any(m["state"] == "ready" for m in e["models"])]


def said(ours):
    return (ours.data / "up.log").read_text()


async def streams(ours, key, until, at_once=6):
    """Streams one after another on each of a few lines, until told; what became of each."""
    answers = []

    async def line(number):
        while not until.is_set():
            answers.append(await sse.ask(ours.port, "/v1/chat/completions", load.body(20 + 7 * number), key, timeout=90))

    await asyncio.gather(*(line(n) for n in range(at_once)))
    return answers


async def restarted_under_load(ours, key, restart):
    until = asyncio.Event()
    asking = asyncio.create_task(streams(ours, key, until))
    await asyncio.sleep(0.5)
    result = await asyncio.to_thread(restart)
    await asyncio.sleep(0.5)
    until.set()
    return await asking, result


def test_everything_restarts_under_load_and_no_request_is_lost(two):
    before, key = engines(two), two.key()
    gateway = two.children("gateway")
    answers, told = asyncio.run(restarted_under_load(two, key, lambda: two.run("restart")))
    for words in ("engine left is back", "engine right is back", "the gateway is back"):
        assert words in told.stdout
    after = engines(two)
    assert all(after[name]["pid"] != before[name]["pid"] for name in before)
    assert two.children("gateway") != gateway
    assert len(answers) > 20
    wrong = [(a.status, a.error(), a.ended) for a in answers if a.status != 200 or a.error() or not a.finish_reason()]
    assert not wrong
    said_by = said(two)
    assert said_by.index("engine left is back") < said_by.index("restarting engine right")
    assert "ended" not in said_by
    # To the token: what was asked is what was billed.
    rows = two.admin("/usage")["data"]
    assert sum(r["requests"] for r in rows) == len(answers)


def test_a_restart_of_one_engine_leaves_the_others_alone(two):
    before = engines(two)
    answers, told = asyncio.run(restarted_under_load(two, two.key(), lambda: two.run("restart", "right")))
    assert "engine right is back" in told.stdout
    after = engines(two)
    assert after["left"]["pid"] == before["left"]["pid"] and after["right"]["pid"] != before["right"]["pid"]
    assert all(a.status == 200 and not a.error() for a in answers)


def test_an_engine_that_is_set_aside_gets_nothing_until_it_is_resumed(two):
    assert "draining" in two.run("engine", "drain", "left").stdout
    counted = engines(two)["left"]["computed_tokens"]
    for _ in range(4):
        assert sse.call(two.port, "/v1/chat/completions", body=load.body(5), key=two.key()).status == 200
    assert engines(two)["left"]["computed_tokens"] == counted
    assert "there are: left, right" in two.run("engine", "drain", "nobody", check=False).stdout
    two.run("engine", "resume", "left")
    assert not engines(two)["left"]["draining"]


def test_children_are_started_from_the_program_that_is_on_disk_now(penstock, smollm2, tmp_path):
    """An upgrade puts another file in the program's place."""
    program = tmp_path / "penstock"
    program.write_bytes(penstock.read_bytes())
    program.chmod(0o755)
    ours = cloud.Cloud({load.MODEL: smollm2}, load.FAKE)
    old = cloud.PENSTOCK
    cloud.PENSTOCK = program
    try:
        with ours:
            (tmp_path / "new").write_bytes(penstock.read_bytes())
            (tmp_path / "new").chmod(0o755)
            (tmp_path / "new").rename(program)
            engine = ours.children("engine")[0]
            assert os.readlink(f"/proc/{engine}/exe").endswith("(deleted)")
            os.kill(ours.process.pid, signal.SIGHUP)
            eventually(lambda: "everything was restarted" in said(ours))
            for kind in ("engine", "gateway"):
                assert os.readlink(f"/proc/{ours.children(kind)[0]}/exe") == str(program)
    finally:
        cloud.PENSTOCK = old
