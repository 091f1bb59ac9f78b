"""A proxy between an engine and its gateway: a Unix socket that forwards messages and injects faults on demand.

Modes: "pass"; "cut" (both ends are closed, once); "silent" (nothing is forwarded); "garbage" (the next bytes to the
gateway are random); "wrong" (every token that the engine emits becomes another one).
"""
import asyncio
import pathlib
import struct
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def wire():
    """The protocol's message classes, generated from engine/wire.proto."""
    out = ROOT / "build/bench/chaos"
    out.mkdir(parents=True, exist_ok=True)
    subprocess.run(["protoc", f"-I{ROOT}/engine", f"--python_out={out}", "wire.proto"], check=True)
    sys.path.insert(0, str(out))
    import wire_pb2  # noqa: E402
    return wire_pb2


class Proxy:
    def __init__(self, path, gateway, messages, draw):
        self.path, self.gateway, self.wire, self.draw = path, gateway, messages, draw
        self.mode = "pass"
        self.open = asyncio.Event()
        self.open.set()
        self.writers = set()

    async def start(self):
        self.server = await asyncio.start_unix_server(self._serve, self.path)

    def set(self, mode):
        self.mode = mode
        if mode == "silent":
            self.open.clear()
        else:
            self.open.set()
        if mode == "cut":
            for writer in list(self.writers):
                writer.close()
            self.mode = "pass"

    async def _serve(self, engine_reader, engine_writer):
        try:
            reader, writer = await asyncio.open_unix_connection(self.gateway)
        except OSError:
            engine_writer.close()
            return
        self.writers |= {writer, engine_writer}
        await asyncio.gather(self._pump(engine_reader, writer, self._harm), self._pump(reader, engine_writer, None))
        self.writers -= {writer, engine_writer}

    async def _pump(self, reader, writer, change):
        try:
            while True:
                size = await reader.readexactly(4)
                frame = await reader.readexactly(struct.unpack("<I", size)[0])
                await self.open.wait()
                data = change(frame) if change else size + frame
                writer.write(data)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, RuntimeError):
            pass
        finally:
            writer.close()

    def _harm(self, frame):
        if self.mode == "garbage":
            self.mode = "pass"
            return bytes(self.draw.getrandbits(8) for _ in range(64))
        if self.mode == "wrong":
            message = self.wire.FromEngine.FromString(frame)
            for event in message.step.tokens:
                event.ids[:] = [token + 1 for token in event.ids]
                if event.text:
                    event.text = b" wrong"
                for logprob in event.logprobs:
                    logprob.token += 1
            frame = message.SerializeToString()
        return struct.pack("<I", len(frame)) + frame
