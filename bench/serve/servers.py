"""Server compared with server: llama-server and a whole Penstock, over HTTP, in alternation."""
import asyncio
import pathlib
import subprocess
import time

from bench.lib import cloud, peer, sse
from bench.lib.prompts import words

STREAMS = (1, 4, 16)
PROMPT_WORDS, TOKENS = 90, 32


class LlamaServer:
    """The best known settings on this machine: flash attention, a slot for each of 16 streams, two threads."""

    def __init__(self, path, log):
        self.port = cloud.free_port()
        folder = peer.folder(with_server=True)
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            [folder / "bin/llama-server", "-m", path, "--host", "127.0.0.1", "--port", str(self.port), "-fa", "on",
             "-np", "16", "-c", "16384", "-t", "2", "-tb", "2", "--no-webui"],
            stdout=self.log, stderr=subprocess.STDOUT, cwd=folder / "bin")
        self.key, self.kernel, self.runner = None, peer_kernel(path), "llama-server v0.5.0"
        deadline = time.monotonic() + 120
        while sse.call(self.port, "/health", timeout=5).status != 200:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"llama-server did not start; see {log}")
            time.sleep(0.1)

    def memory(self, field):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))

    def stop(self):
        self.process.terminate()
        self.process.wait()


def peer_kernel(path):
    """The CPU backend that ggml picks, as reported by the driver, which loads the same libraries."""
    from .engines import Driver
    driver = Driver([peer.driver(), peer.folder() / "lib", path, 2])
    driver.close()
    return driver.hello["kernel"]


async def burst(port, key, model, streams, seed, extra):
    """Runs `streams` streams at once, each with a prompt that is in no cache."""
    def body(i):
        prompt = words(PROMPT_WORDS, f"{seed}/{i}")
        return {"model": model, "messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS,
                "temperature": 0, "stream": True, "ignore_eos": True,
                "stream_options": {"include_usage": True}, **extra}
    return await asyncio.gather(*(sse.ask(port, "/v1/chat/completions", body(i), key, timeout=600) for i in range(streams)))


def add_rows(rows, answers, **common):
    for index, answer in enumerate(answers):
        times = answer.token_times()
        usage = next((e["usage"] for _, e in answer.events if e.get("usage")), {})
        rows.add(part="server", index=index, status=answer.status, ended=answer.ended, started=answer.started,
                 first=times[0] if times else None, last=times[-1] if times else None,
                 prompt_tokens=usage.get("prompt_tokens"), tokens=usage.get("completion_tokens"),
                 error=answer.error(), **common)


def measure(rows, models, rounds, logs, say):
    for model, path in models.items():
        say(f"server compared with server: {model}")
        theirs = LlamaServer(path, logs / "llama-server.log")
        try:
            with cloud.Cloud({model: path}) as ours:
                engine = ours.engine()
                kernel = next((m["kernel"] for m in engine["models"]), engine["kernel"])
                sides = {"llama.cpp": (theirs.port, None, {"cache_prompt": False}, theirs.runner, theirs.kernel),
                         "penstock": (ours.port, ours.key(), {}, f"penstock {engine['runner']}", kernel)}
                for port, key, extra, _, _ in sides.values():
                    asyncio.run(burst(port, key, model, 1, "warm", extra))
                for turn in range(rounds):
                    for streams in STREAMS:
                        for side in sorted(sides, reverse=turn % 2 == 1):
                            port, key, extra, runner, kernel = sides[side]
                            answers = asyncio.run(burst(port, key, model, streams, f"{turn}/{streams}", extra))
                            add_rows(rows, answers, side=side, model=model, streams=streams,
                                     run=f"{model}/{streams}/{turn}", runner=runner, kernel=kernel)
                for field in ("VmRSS", "VmHWM"):
                    rows.add(part="memory", model=model, field=field, file_bytes=path.stat().st_size, kernel=kernel,
                             runner="penstock native",
                             penstock=ours.memory("engine", field) + ours.memory("gateway", field),
                             penstock_engine=ours.memory("engine", field), llama=theirs.memory(field))
        finally:
            theirs.stop()
