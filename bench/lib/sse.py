"""A small asyncio HTTP client that reads streams at full speed and records everything that it sees.

It is not a general client: one request per connection; answers with content-length, chunked, or until close. It
exists because a bench must know when each byte arrived and how a connection ended, which other clients hide.
"""
import asyncio
import dataclasses
import json
import time


@dataclasses.dataclass
class Answer:
    status: int = 0            # 0: no response headers arrived
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = b""          # of an answer that is not a stream
    events: list = dataclasses.field(default_factory=list)  # (seconds since start, decoded JSON)
    done: bool = False         # saw [DONE]
    ended: str = ""            # "whole", "cut" (in mid-answer), "refused" (no connection), "closed" (no answer)
    started: float = 0.0       # time.monotonic()
    took: float = 0.0

    @property
    def request_id(self):
        return self.headers.get("x-request-id", "")

    def json(self):
        return json.loads(self.body)

    def error(self):
        """The error message, from the body or from an event within the stream; "" if there is none."""
        for _, event in self.events:
            if "error" in event:
                return event["error"].get("message", "")
        try:
            return json.loads(self.body)["error"]["message"] if self.body else ""
        except (ValueError, KeyError, TypeError):
            return ""

    def text(self):
        if self.body:
            choice = self.json()["choices"][0]
            return choice["message"]["content"] if "message" in choice else choice["text"]
        return "".join(c["delta"].get("content") or "" if "delta" in c else c.get("text", "")
                       for _, e in self.events for c in e.get("choices", []))

    def finish_reason(self):
        if self.body:
            return self.json()["choices"][0]["finish_reason"] if self.status == 200 else None
        reasons = [c.get("finish_reason") for _, e in self.events for c in e.get("choices", [])]
        return next((r for r in reasons if r), None)

    def token_times(self):
        """Arrival time of each event with text, in seconds since the request began."""
        return [at for at, e in self.events for c in e.get("choices", [])
                if (c.get("delta") or {}).get("content") or c.get("text")]


def request_bytes(method, path, port, key=None, body=None, headers=None):
    data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


async def ask(port, path, body=None, key=None, method=None, headers=None, timeout=120.0, on_event=None):
    """Sends one request and reads its answer until it ends in any way. Never raises because of the server."""
    answer = Answer(started=time.monotonic())
    method = method or ("POST" if body is not None else "GET")
    try:
        async with asyncio.timeout(timeout):
            await _exchange(answer, port, request_bytes(method, path, port, key, body, headers), on_event)
    except TimeoutError:
        answer.ended = answer.ended or "timeout"
    except ConnectionRefusedError:
        answer.ended = "refused"
    except (OSError, asyncio.IncompleteReadError, ValueError):
        answer.ended = answer.ended or ("cut" if answer.status else "closed")
    answer.took = time.monotonic() - answer.started
    return answer


async def _exchange(answer, port, request, on_event):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        writer.write(request)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        answer.status = int(head[0].split(" ")[1])
        answer.headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        if "text/event-stream" in answer.headers.get("content-type", ""):
            await _read_events(answer, reader, on_event)
        else:
            answer.body = b"".join([piece async for piece in _pieces(answer, reader)])
        answer.ended = "whole"
    finally:
        writer.close()


async def _pieces(answer, reader):
    """The body's bytes as they arrive, without their framing."""
    if answer.headers.get("transfer-encoding", "").lower() == "chunked":
        while size := int((await reader.readuntil(b"\r\n")).strip() or b"0", 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    elif "content-length" in answer.headers:
        yield await reader.readexactly(int(answer.headers["content-length"]))
    else:
        while piece := await reader.read(1 << 16):
            yield piece


async def _read_events(answer, reader, on_event):
    pending = b""
    async for piece in _pieces(answer, reader):
        now = time.monotonic() - answer.started
        *lines, pending = (pending + piece).split(b"\n")
        for line in lines:
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                answer.done = True
                continue
            answer.events.append((now, json.loads(data)))
            if on_event:
                on_event(answer)


def call(port, path, **arguments):
    """The same, for code that is not asynchronous."""
    return asyncio.run(ask(port, path, **arguments))
