#!/usr/bin/env python3
"""misbehave.py KIND PORT KEY MODEL: one team that misbehaves until SIGTERM, then prints what it did and its CPU time.

A process of its own at a low priority, so that its work is not mistaken for the gateway's.
"""
import asyncio
import collections
import json
import pathlib
import resource
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib import sse  # noqa: E402

MIB = 1 << 20
counts = collections.Counter()


async def send_raw(port, data, hold_s):
    """Sends bytes on a new connection and waits for an answer or that long; returns the status, 0: none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(hold_s):
            line = await reader.readline()
        return int(line.split()[1]) if line else 0
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0
    finally:
        writer.close()


async def large_bodies(port, key, model):
    data = sse.request_bytes("POST", "/v1/chat/completions", port, key,
                             {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": " " * 12 * MIB}]})
    while True:
        counts[await send_raw(port, data, 120)] += 1


async def half_sent(port, key, _model):
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {15 * MIB}\r\n\r\n").encode()
    data = head + b" " * (14 * MIB)
    while True:
        counts[await send_raw(port, data, 30)] += 1
        await asyncio.sleep(2)  # as Retry-After says


async def exploding_template(port, key, model):
    body = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": "explode"}]}
    while True:
        counts[(await sse.ask(port, "/v1/chat/completions", body, key)).status] += 1


async def reports(port, key, _model):
    while True:
        counts[(await sse.ask(port, "/v1/usage?by_key=1", key=key)).status] += 1


async def long_streams(port, key, model):
    body = {"model": model, "max_tokens": 250, "stream": True, "ignore_eos": True,
            "messages": [{"role": "user", "content": "Tell a long story."}]}
    while True:
        counts[(await sse.ask(port, "/v1/chat/completions", body, key, timeout=600)).status] += 1


KINDS = {"large bodies": (large_bodies, 4), "half-sent bodies": (half_sent, 100), "exploding template": (exploding_template, 8),
         "reports": (reports, 8), "long streams": (long_streams, 256)}


async def main():
    kind, port, key, model = sys.argv[1:]
    work, connections = KINDS[kind]
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(work(int(port), key, model)) for _ in range(connections)]
    await stop.wait()
    for task in tasks:
        task.cancel()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"statuses": {str(k): v for k, v in counts.items()}, "cpu_s": used.ru_utime + used.ru_stime}))


if __name__ == "__main__":
    asyncio.run(main())
