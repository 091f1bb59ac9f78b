"""A rolling restart mixes releases for a moment: the gateway of one release with engines of the other.

PENSTOCK_PREVIOUS names the previous release's binary; without it these tests are skipped. What the two releases write
and read of each other's fields is also a unit test (engine/wire_error_test.cc).
"""
import contextlib
import os
import pathlib
import signal
import subprocess
import time

import pytest

from bench.lib import cloud, sse

MODEL = "smollm2-135m"
PREVIOUS = pathlib.Path(os.environ.get("PENSTOCK_PREVIOUS") or "/")
pytestmark = pytest.mark.skipif(not PREVIOUS.is_file(), reason="PENSTOCK_PREVIOUS names no binary")


class Mixed:
    """One gateway and one engine, each by its own binary, without a supervisor."""

    def __init__(self, folder, gateway, engine, model, runner):
        self.data, self.port, self.children = folder, cloud.free_port(), []
        self.run(gateway, "model", "import", str(model), "--name", MODEL)
        socket = str(folder / "e.sock")
        self.start(gateway, "gateway", "--engine-socket", socket, "--listen", f"127.0.0.1:{self.port}")
        self.start(engine, "engine", "--name", "cpu0", "--socket", socket, "--set", f"engine.runner={runner}")
        self.until(lambda: self.call("/readyz").status == 200)
        self.key = (folder / "operator.key").read_text().strip()

    def run(self, binary, *arguments):
        subprocess.run([binary, *arguments, "--data", self.data], check=True, stdout=subprocess.DEVNULL)

    def start(self, binary, *arguments):
        log = (self.data / f"{arguments[0]}.out").open("ab")
        self.children.append(subprocess.Popen([binary, *arguments, "--data", self.data], stdout=log, stderr=log))

    def stop(self):
        for child in reversed(self.children):
            child.send_signal(signal.SIGTERM)
        for child in self.children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(5)
            child.kill()

    def call(self, path, **more):
        return sse.call(self.port, path, timeout=30, **more)

    def until(self, done, within=60):
        deadline = time.monotonic() + within
        while not done():
            assert time.monotonic() < deadline and all(child.poll() is None for child in self.children), self.logs()
            time.sleep(0.05)

    def logs(self):
        return "\n".join(path.read_text(errors="replace")[-2000:] for path in sorted(self.data.glob("**/*.out")))

    def complete(self, **more):
        return self.call("/v1/completions", key=self.key, body={
            "model": MODEL, "prompt": "one two three", "max_tokens": 20, "temperature": 0, "ignore_eos": True, **more})


@pytest.fixture(params=["the new gateway", "the new engine"])
def mixed(request, penstock, smollm2, tmp_path):
    made = []

    def make(runner):
        binaries = (penstock, PREVIOUS) if request.param == "the new gateway" else (PREVIOUS, penstock)
        made.append(Mixed(tmp_path, *binaries, smollm2, runner))
        return made[0]

    yield make
    for one in made:
        one.stop()


def test_requests_are_answered(mixed):
    pair = mixed("fake")
    answer = pair.complete(n=2)
    assert answer.status == 200, answer.body
    assert answer.json()["usage"]["completion_tokens"] == 40
    stream = pair.complete(stream=True)
    assert stream.done and stream.text() and stream.finish_reason() == "length"


def test_a_failure_of_the_engine_is_not_the_clients(mixed):
    pair = mixed("fake?fail=0.1")  # its canaries succeed at some point; a long answer fails again and again
    answer = pair.complete(max_tokens=400)
    assert answer.status in (500, 503), answer.body
    assert "fails by plan" in answer.error()


def test_a_model_that_fails_to_load_says_why(mixed, tmp_path):
    pair = mixed("fake")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + bytes(60))
    manifest = next((tmp_path / "models").glob("*/*.gguf"))
    manifest.unlink()
    manifest.write_bytes(b"GGUF" + bytes(60))
    pair.call(f"/admin/v1/models/{MODEL}/unload", key=pair.key, method="POST")
    pair.call(f"/admin/v1/models/{MODEL}/load", key=pair.key, method="POST")

    def failed():
        models = pair.call("/v1/live", key=pair.key).json()["engines"][0]["models"]
        return any(model["state"] == "failed" and "gguf" in model["error"].lower() for model in models)

    pair.until(failed)
