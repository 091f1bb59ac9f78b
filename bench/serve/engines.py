"""Engine compared with engine: the same model file, one batch at a time, in alternation."""
import json
import subprocess

from bench.lib import cloud, peer

SHAPES = [(1, 128, 32), (4, 128, 32), (16, 128, 32)]  # streams, prompt tokens, tokens to decode
THREADS = 2


class Driver:
    """A program that speaks driver_protocol.h."""

    def __init__(self, command):
        self.process = subprocess.Popen([str(word) for word in command], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.hello = self._read()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} ended with status {self.process.wait()}")
        return json.loads(line)

    def run(self, streams, prompt, decode):
        """All rows of one run; the last one has "done"."""
        self.process.stdin.write(f"{streams} {prompt} {decode}\n")
        self.process.stdin.flush()
        rows = [self._read()]
        while "done" not in rows[-1]:
            rows.append(self._read())
        return rows

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def measure(rows, models, rounds, say):
    for model, path in models.items():
        say(f"engine compared with engine: {model}")
        drivers = {"llama.cpp": Driver([peer.driver(), peer.folder() / "lib", path, THREADS]),
                   "penstock": Driver([cloud.BUILD / "bench/bench_engine_driver", path, THREADS])}
        for side, driver in drivers.items():
            driver.run(1, 32, 4)  # warm-up: wakes threads and fills caches; writes no row
            rows.add(part="engine", event="ready", side=side, model=model, file_bytes=path.stat().st_size, **driver.hello)
        for turn in range(rounds):
            for streams, prompt, decode in SHAPES:
                for side in sorted(drivers, reverse=turn % 2 == 1):
                    run = f"{model}/{streams}/{turn}"
                    for row in drivers[side].run(streams, prompt, decode):
                        rows.add(part="engine", side=side, model=model, streams=streams, run=run,
                                 runner=drivers[side].hello["runner"], kernel=drivers[side].hello["kernel"], **row)
        for driver in drivers.values():
            driver.close()
