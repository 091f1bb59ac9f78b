"""The gateway alone compared with nginx as a plain proxy: the same answers from an upstream that has them ready."""
import json
import pathlib
import resource
import signal
import sqlite3
import subprocess
import tempfile
import time

from bench.lib import cloud, sse
from bench.lib.prompts import words

CONNECTIONS, STREAMS = 64, 1000
SECONDS = 5
UNARY_TOKENS, PACED_TOKENS = 16, 50
PROMPT_TOKENS = 75
MODEL = "smollm2-135m"  # only its tokenizer and template are used, not its weights


def bodies(path, stream, count, prompt_words):
    with open(path, "w") as file:
        for i in range(count):
            body = {"model": MODEL, "messages": [{"role": "user", "content": words(prompt_words, i)}],
                    "max_tokens": PACED_TOKENS if stream else UNARY_TOKENS}
            if stream:
                body["stream"] = True
            file.write(json.dumps(body, separators=(",", ":")) + "\n")


def record_answers(ours, scratch):
    """Records Penstock's answers for the mock, so that nginx forwards the same bytes. Returns the prompt's tokens."""
    def first_body(name):
        return json.loads(pathlib.Path(scratch, name).read_text().splitlines()[0])
    unary = sse.call(ours.port, "/v1/chat/completions", body=first_body("unary.jsonl"), key=ours.key())
    assert unary.status == 200, unary.body
    pathlib.Path(scratch, "unary.json").write_bytes(unary.body)
    stream = sse.call(ours.port, "/v1/chat/completions", body=first_body("stream.jsonl"), key=ours.key())
    assert stream.done, f"the stream did not end: {stream.error() or stream.ended}"
    lines = [json.dumps(e, separators=(",", ":"), ensure_ascii=False) for _, e in stream.events]
    tokens = [i for i, (_, e) in enumerate(stream.events) if e["choices"] and (e["choices"][0]["delta"].get("content"))]
    token = stream.events[tokens[1]][1]
    token["choices"][0]["delta"]["content"] = "@"
    opening = lines[:tokens[0]] or [lines[0]]
    parts = [opening[0], json.dumps(token, separators=(",", ":")), *lines[tokens[-1] + 1:], "[DONE]"]
    pathlib.Path(scratch, "stream.parts").write_text("\n".join(parts) + "\n")
    return unary.json()["usage"]["prompt_tokens"]


class Proxy:
    """nginx in front of the mock with minimal settings: keep-alive on both sides, no log, no buffering."""

    def __init__(self, scratch):
        self.mock_port, self.port = cloud.free_port(), cloud.free_port()
        config = pathlib.Path(scratch, "nginx.conf")
        config.write_text(f"""
worker_processes 2; worker_rlimit_nofile 20000; pid {scratch}/nginx.pid; error_log {scratch}/nginx.log; daemon off;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {scratch}/body; proxy_temp_path {scratch}/proxy; fastcgi_temp_path {scratch}/fastcgi;
  uwsgi_temp_path {scratch}/uwsgi; scgi_temp_path {scratch}/scgi;
  upstream mock {{ server 127.0.0.1:{self.mock_port}; keepalive 1024; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{self.port} backlog=4096; keepalive_requests 100000000;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; }}
  }}
}}""")
        self.mock = subprocess.Popen([cloud.BUILD / "bench/bench_mock_upstream", str(self.mock_port),
                                      f"{scratch}/unary.json", f"{scratch}/stream.parts"])
        self.nginx = subprocess.Popen(["nginx", "-e", f"{scratch}/nginx.log", "-c", config])
        deadline = time.monotonic() + 10
        while sse.call(self.port, "/", body={}, timeout=2).status != 200:
            if time.monotonic() > deadline:
                raise RuntimeError(f"nginx did not start; see {scratch}/nginx.log")
            time.sleep(0.05)

    def stop(self):
        for process in (self.nginx, self.mock):
            process.send_signal(signal.SIGTERM)
            process.wait()


def load(port, mode, connections, scratch, key):
    """The rows of one run, as bench/serve/load.cc writes them."""
    out = f"{scratch}/rows"
    subprocess.run([cloud.BUILD / "bench/bench_load", str(port), mode, str(connections), str(SECONDS),
                    f"{scratch}/{mode}.jsonl", out, key], check=True)
    with open(out) as file:
        return [json.loads(line) for line in file]


def recorded(ours):
    """The number of requests in the store that ended well."""
    with sqlite3.connect(f"file:{ours.data}/penstock.db?mode=ro", uri=True) as store:
        return store.execute("SELECT count(*) FROM requests WHERE outcome IN ('stop', 'length')").fetchone()[0]


def recorded_after(ours, expected):
    """The store's count once it has reached `expected`, or its count after 10 s."""
    deadline = time.monotonic() + 10
    while (count := recorded(ours)) < expected and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.3)  # surplus records would appear now
    return recorded(ours) if count >= expected else count


class GatewayAlone(cloud.Cloud):
    """A gateway with the instant engine; ready once that engine has connected."""

    def __init__(self, model_path, scratch):
        self.socket = f"{scratch}/engine.sock"
        super().__init__({MODEL: model_path}, command=("gateway", "--engine-socket", self.socket))
        self.instant = None

    def start(self, ready_within=60.0):
        super().start(ready_within=None)
        self.instant = subprocess.Popen([cloud.BUILD / "bench/bench_instant_engine", self.socket])
        self.wait_ready(ready_within)

    def stop(self, within=20.0):
        if self.instant:
            self.instant.kill()
            self.instant.wait()
        super().stop(within)


def measure(rows, model_path, rounds, say):
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as scratch, GatewayAlone(model_path, scratch) as ours:
        template = 30  # tokens that SmolLM2's template adds; the loop below adjusts the prompt
        count = PROMPT_TOKENS - template
        for _ in range(4):
            bodies(f"{scratch}/unary.jsonl", False, 1000, count)
            bodies(f"{scratch}/stream.jsonl", True, 1000, count)
            prompt_tokens = record_answers(ours, scratch)
            if prompt_tokens == PROMPT_TOKENS:
                break
            count += PROMPT_TOKENS - prompt_tokens
        proxy = Proxy(scratch)
        try:
            known = recorded_after(ours, 0)
            for mode, connections in (("unary", CONNECTIONS), ("stream", STREAMS)):
                for turn in range(rounds):
                    for side, port in (("nginx", proxy.port), ("penstock", ours.port)):
                        say(f"gateway alone: {mode}, {side}")
                        answered = load(port, mode, connections, scratch, ours.key())
                        for row in answered:
                            rows.add(part="gateway", mode=mode, side=side, round=turn, runner="instant", kernel="none", **row)
                        if side == "penstock":
                            whole = sum(r["status"] == 200 and r["whole"] for r in answered)
                            now = recorded_after(ours, known + whole)
                            rows.add(part="books", mode=mode, round=turn, answered=whole, booked=now - known,
                                     prompt_tokens=prompt_tokens, runner="instant", kernel="none")
                            known = now
            rows.add(part="direct", mock_requests_per_s=direct(proxy, scratch))
        finally:
            proxy.stop()


def direct(proxy, scratch):
    """Requests per second of the load generator and the mock without a proxy between them."""
    rows = load(proxy.mock_port, "unary", CONNECTIONS, scratch, "none")
    return len(rows) / SECONDS
