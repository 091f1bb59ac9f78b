"""Talks to text_driver (text_driver.cc describes the frames)."""
import json
import struct
import subprocess


class Failure(Exception):
    """Penstock refused, with this message."""


class Driver:
    def __init__(self, program, model):
        self.process = subprocess.Popen([program, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, kind, body=b""):
        pipe = self.process.stdin
        pipe.write(kind.encode() + struct.pack("<I", len(body)) + body)
        pipe.flush()
        head = self.process.stdout.read(5)
        if len(head) < 5:
            raise SystemExit(f"text_driver ended with status {self.process.wait()}")
        answer = self.process.stdout.read(struct.unpack("<I", head[1:])[0])
        if head[:1] == b"e":
            raise Failure(answer.decode("utf-8", "replace"))
        return answer

    def encode(self, line, special):
        answer = self.ask("s" if special else "p", line)
        return list(struct.unpack(f"<{len(answer) // 4}i", answer))

    def decode(self, ids):
        return self.ask("d", struct.pack(f"<{len(ids)}i", *ids))

    def compile(self, source):
        self.ask("T", source.encode())

    def render(self, context):
        return self.ask("r", json.dumps(context, ensure_ascii=False).encode()).decode()

    def about(self):
        return self.ask("n").decode()

    def close(self):
        self.process.stdin.close()
        self.process.wait()
