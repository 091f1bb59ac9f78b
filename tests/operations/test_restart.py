"""Several engines on one machine: a full restart under load, a drained engine, and one out of memory."""
import asyncio
import os
import pathlib
import select
import signal
import subprocess
import time

import pytest

from bench.lib import cloud, sse
from bench.lib.prompts import words
from tests.operations import load

TWO = {"engines.left.runner": "fake?step_ms=5&paced=1", "engines.right.runner": "fake?step_ms=8&paced=1",
       "gateway.drain_timeout": "60s"}


@pytest.fixture
def two(penstock, smollm2):
    with cloud.Cloud({load.MODEL: smollm2}, TWO) as running:
        running.wait_engines(2)
        yield running


def eventually(holds, within=30):
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def engines(ours):
    return {e["name"]: e for e in ours.admin("/status")["engines"]}


def said(ours):
    return (ours.data / "up.log").read_text()


async def streams(ours, key, until, at_once=6):
    """A few clients send streams one after another until `until`; returns every answer."""
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
    # Exactly one billed request for each that was sent.
    rows = two.admin("/usage")["data"]
    assert sum(r["requests"] for r in rows) == len(answers)


def test_a_restart_of_one_engine_leaves_the_others_alone(two):
    before = engines(two)
    answers, told = asyncio.run(restarted_under_load(two, two.key(), lambda: two.run("restart", "right")))
    assert "engine right is back" in told.stdout
    after = engines(two)
    assert after["left"]["pid"] == before["left"]["pid"] and after["right"]["pid"] != before["right"]["pid"]
    assert all(a.status == 200 and not a.error() for a in answers)


def test_a_drained_engine_gets_no_requests_until_it_is_resumed(two):
    assert "draining" in two.run("engine", "drain", "left").stdout
    counted = engines(two)["left"]["computed_tokens"]
    for _ in range(4):
        assert sse.call(two.port, "/v1/chat/completions", body=load.body(5), key=two.key()).status == 200
    assert engines(two)["left"]["computed_tokens"] == counted
    assert "there are: left, right" in two.run("engine", "drain", "nobody", check=False).stdout
    two.run("engine", "resume", "left")
    assert not engines(two)["left"]["draining"]


async def while_it_runs(ours, key, act):
    """Runs a stream of ten seconds or more, and meanwhile calls `act` with the engine that computes it."""
    asking = asyncio.create_task(sse.ask(ours.port, "/v1/chat/completions", load.body(2000), key, timeout=120))
    await asyncio.sleep(1.5)
    has = next(name for name, engine in (await asyncio.to_thread(engines, ours)).items() if engine["running"])
    begun = time.monotonic()
    result = await asyncio.to_thread(act, has)
    took = time.monotonic() - begun
    return await asking, has, result, took


def test_an_answer_of_a_drained_engine_continues_on_another_without_recomputation(two):
    def set_aside(name):
        two.run("engine", "drain", name)
        eventually(lambda: not engines(two)[name]["running"], within=3)

    answer, has, _, _ = asyncio.run(while_it_runs(two, two.key(), set_aside))
    assert (answer.status, answer.finish_reason(), answer.error()) == (200, "length", "")
    assert two.request(answer.request_id).json()["usage"]["completion_tokens"] == 2000
    story = two.run("usage", "--request", answer.request_id).stdout
    assert f"engine {has} is set aside" in story and "it takes over" in story and "to the bit" in story
    computed = sum(engine["computed_tokens"] for engine in engines(two).values())
    canaries = 400  # both engines' canary checks before traffic
    assert computed < 2000 + 100 + canaries, "the answer was computed again"


def test_a_restart_does_not_wait_for_long_answers_that_another_engine_can_continue(two):
    answer, has, told, took = asyncio.run(while_it_runs(two, two.key(), lambda name: two.run("restart", name)))
    assert f"engine {has} is back" in told.stdout
    assert (answer.status, answer.finish_reason(), answer.error()) == (200, "length", "")
    assert f"engine {has} is restarted" in two.run("usage", "--request", answer.request_id).stdout
    assert took < 8, "2,000 tokens take ten seconds at the least"


def test_children_are_started_with_the_installed_binary(penstock, smollm2, tmp_path):
    """An upgrade replaces the program's file."""
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
            eventually(lambda: "all processes were restarted" in said(ours))
            for kind in ("engine", "gateway"):
                assert os.readlink(f"/proc/{ours.children(kind)[0]}/exe") == str(program)
    finally:
        cloud.PENSTOCK = old


def test_closing_the_terminal_stops_the_cloud_and_does_not_restart_it(penstock, smollm2, tmp_path):
    ours = cloud.Cloud({load.MODEL: smollm2}, data=tmp_path / "data")
    ours.import_models()
    terminal, screen = os.openpty()
    process = subprocess.Popen([penstock, "up", "--data", ours.data, "--listen", f"127.0.0.1:{ours.port}", "--set",
                                "engine.runner=fake"], stdin=screen, stdout=screen, stderr=screen, start_new_session=True)
    os.close(screen)
    try:
        shown = [b""]

        def shows(words):
            while select.select([terminal], [], [], 0)[0]:
                shown[0] += os.read(terminal, 65536)
            return words in shown[0]

        eventually(lambda: shows(b"ready after"))
        os.kill(process.pid, signal.SIGHUP)  # while the terminal is open, this means restart
        eventually(lambda: shows(b"all processes were restarted"))
        os.close(terminal)
        os.kill(process.pid, signal.SIGHUP)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


class MemoryGroup:
    """A control group of version 1 for the processes that are started in it."""

    def __init__(self):
        self.root = pathlib.Path("/sys/fs/cgroup/memory")
        self.home = self.root / own_memory_group().lstrip("/")
        self.path = self.home / f"penstock-test-{os.getpid()}"
        try:
            self.path.mkdir()
        except OSError as error:
            pytest.skip(f"no memory group can be created here: {error}")

    def __enter__(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def __exit__(self, *_):
        (self.home / "cgroup.procs").write_text(str(os.getpid()))

    def limit(self, limit):
        (self.path / "memory.limit_in_bytes").write_text(str(limit))

    def remove(self):
        eventually(lambda: not (self.path / "cgroup.procs").read_text())
        self.path.rmdir()


def own_memory_group():
    for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
        if line.split(":")[1] == "memory":
            return line.split(":")[2]
    pytest.skip("this machine has no memory control group of version 1")


def test_an_engine_that_was_killed_for_memory_restarts_with_a_budget_that_fits(penstock, smollm2):
    group = MemoryGroup()
    ours = cloud.Cloud({load.MODEL: smollm2}, {"engine.memory": "2GiB"})
    try:
        ours.import_models()
        with group:
            ours.start()
        group.limit(640 << 20)  # after the engine has measured the free memory, as if other programs used it
        # More keys and values than the group allows: 22.5 KB per token.
        body = {"model": load.MODEL, "max_tokens": 4, "ignore_eos": True}
        prompts = [words(1200, seed) for seed in range(18)]

        async def ask(prompts):
            return await asyncio.gather(*(
                sse.ask(ours.port, "/v1/completions", {**body, "prompt": prompt}, ours.key(), timeout=120)
                for prompt in prompts))

        ours.key()
        asyncio.run(ask(prompts))
        eventually(lambda: "(out of memory): it used" in said(ours))
        ours.wait_ready(30)
        engine = engines(ours)["cpu0"]
        assert engine["memory_bytes"] < 640 << 20
        assert "since it was killed for memory" in engine["note"]
        assert "since it was killed for memory" in ours.run("status").stdout
        # The same load again, which its pages cannot hold at once: now the engine makes requests wait.
        kills = said(ours).count("out of memory")
        answers = asyncio.run(ask(prompts[:5]))
        assert [(a.status, a.error()) for a in answers] == [(200, "")] * 5
        assert said(ours).count("out of memory") == kills
    finally:
        ours.__exit__()
        group.remove()
