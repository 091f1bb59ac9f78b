"""A small load on a cloud with the fake runner, and a way to hold its requests open."""
import asyncio
import contextlib
import os
import signal
import threading
import time

from bench.lib import sse

MODEL = "smollm2-135m"
FAKE = {"engine.runner": "fake"}


def body(tokens, **more):
    return {"model": MODEL, "messages": [{"role": "user", "content": "Tell me of the sea."}], "max_tokens": tokens,
            "ignore_eos": True, "stream": True, **more}


class Load:
    """with Load(cloud, keys): each key sends short requests, one after another, until the block ends."""

    def __init__(self, cloud, keys):
        self.cloud, self.keys, self.ids = cloud, keys, []
        self.stop = threading.Event()

    def ask(self, key):
        while not self.stop.is_set():
            answer = sse.call(self.cloud.port, "/v1/chat/completions", body=body(20), key=key, timeout=60)
            if answer.request_id:
                self.ids.append(answer.request_id)

    def __enter__(self):
        self.threads = [threading.Thread(target=self.ask, args=(key,)) for key in self.keys]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


@contextlib.contextmanager
def held_open(cloud, keys):
    """Holds streams of each key in the middle of an answer: the engine is stopped in the block. Yields their ids."""
    begun, ids, engine = threading.Event(), [], cloud.children("engine")[0]

    def on_event(answer):
        if answer.request_id not in ids and len(answer.events) > 2:
            ids.append(answer.request_id)
        if len(ids) == len(keys) and not begun.is_set():
            os.kill(engine, signal.SIGSTOP)
            begun.set()

    async def ask_all():
        await asyncio.gather(*(sse.ask(cloud.port, "/v1/chat/completions", body(3500), key, on_event=on_event, timeout=60)
                               for key in keys))

    thread = threading.Thread(target=lambda: asyncio.run(ask_all()))
    thread.start()
    try:
        assert begun.wait(30), "the streams did not start"
        time.sleep(0.5)  # until everything that the engine sent is delivered
        yield ids
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(engine, signal.SIGCONT)
        thread.join()


def facts(cloud, request_id):
    """The part of a request's record that must not change after its end."""
    record = cloud.request(request_id).json()
    return {k: record[k] for k in ("id", "team", "key", "model", "outcome", "usage", "emitted_tokens")}


def usage(cloud):
    """Usage by team and model, without chip time."""
    rows = cloud.admin("/usage")["data"]
    return {f"{r['team']} {r['model']}": [r["requests"], r["input_tokens"], r["output_tokens"]] for r in rows}
