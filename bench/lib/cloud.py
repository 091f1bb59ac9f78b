"""A cloud on loopback for benches and tests: `penstock up` in a new data directory, with teams, keys and models."""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import sse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("PENSTOCK_BUILD", ROOT / "build/release")).absolute()
PENSTOCK = BUILD / "app/penstock"
MODELS = pathlib.Path(os.environ.get("PENSTOCK_BENCH_MODELS", "~/.cache/penstock-dev")).expanduser()


def model_path(name):
    """The bench model's file, or None."""
    path = MODELS / f"{name}.gguf"
    return path if path.exists() else None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Cloud:
    """with Cloud(models={"m": path}) as cloud: …

    models:   names → files; each is imported (linked, if the data directory allows it).
    settings: by setting name, as in penstock.toml: {"engine.runner": "fake"}.
    command:  the command that starts it; for a gateway alone: ("gateway", "--engine-socket", PATH).
    """

    def __init__(self, models, settings=None, env=None, data=None, keep=False, command=("up",)):
        self.models, self.settings = dict(models), dict(settings or {})
        self.env = {**os.environ, **(env or {})}
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="penstock-bench-"))
        self.keep, self.command = keep, list(command)
        self.port = free_port()
        self.process = None
        self._keys = {}

    def __enter__(self):
        try:
            self.import_models()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()
        if not self.keep:
            shutil.rmtree(self.data, ignore_errors=True)

    def run(self, *arguments, check=True):
        """Runs one command of the program with this cloud's data directory."""
        done = subprocess.run([PENSTOCK, *arguments, "--data", self.data], env=self.env, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if check and done.returncode != 0:
            raise RuntimeError(f"penstock {' '.join(map(str, arguments))}: status {done.returncode}\n{done.stdout}")
        return done

    def import_models(self):
        for name, path in self.models.items():
            self.run("model", "import", str(path), "--name", name)

    def start(self, ready_within=60.0):
        self.data.mkdir(parents=True, exist_ok=True)
        command = [PENSTOCK, *self.command, "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
        for name, value in self.settings.items():
            command += ["--set", f"{name}={value}"]
        self.began = time.monotonic()
        self.log = (self.data / "up.log").open("ab")
        self.process = subprocess.Popen(command, env=self.env, stdout=self.log, stderr=subprocess.STDOUT)
        if ready_within:
            self.wait_ready(ready_within)

    def wait_ready(self, within=60.0):
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if sse.call(self.port, "/readyz", timeout=5).status == 200:
                return time.monotonic() - self.began
            time.sleep(0.02)
        raise RuntimeError(f"the cloud was not ready within {within} s:\n{self.tail()}")

    def wait_engines(self, count, within=60.0):
        """Until `count` engines have a model ready: the cloud itself is ready with the first one."""
        def ready():
            return sum(e["connected"] and any(m["state"] == "ready" for m in e["models"])
                       for e in self.admin("/status")["engines"])
        deadline = time.monotonic() + within
        while ready() < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"fewer than {count} engines were ready within {within} s:\n{self.tail()}")
            time.sleep(0.05)

    def wait_alive(self, within=60.0):
        """Waits until it answers at all, with or without models."""
        deadline = time.monotonic() + within
        while sse.call(self.port, "/livez", timeout=5).status != 200 or not (self.data / "operator.key").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the cloud did not answer within {within} s:\n{self.tail()}")
            time.sleep(0.02)

    def tail(self):
        logs = [self.data / "up.log", *sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                         for log in logs if log.exists())

    def stop(self, within=20.0):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(within)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    # ---- people ----

    def operator_key(self):
        return (self.data / "operator.key").read_text().strip()

    def admin(self, path, body=None, method=None):
        answer = sse.call(self.port, "/admin/v1" + path, body=body, key=self.operator_key(), method=method)
        if answer.status not in (200, 201):
            raise RuntimeError(f"/admin/v1{path}: {answer.status} {answer.body.decode(errors='replace')}")
        return answer.json()

    def key(self, team="bench"):
        """A key of that team, created on first use."""
        if team not in self._keys:
            self.admin("/teams", {"name": team})
            self._keys[team] = self.admin("/keys", {"team": team, "name": "bench"})["secret"]
        return self._keys[team]

    def request(self, request_id):
        return sse.call(self.port, f"/admin/v1/requests/{request_id}", key=self.operator_key())

    # ---- processes ----

    def children(self, kind):
        """Pids of the supervisor's children of a kind: "gateway" or "engine"."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except (OSError, ValueError, IndexError):
                continue
            if parent == self.process.pid and kind in words[1:3]:
                found.append(int(entry.name))
        return found

    def memory(self, kind, field="VmRSS"):
        """Sum of the memory of all children of a kind, in bytes."""
        total = 0
        for pid in self.children(kind):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            total += next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(field))
        return total

    def engine(self):
        """The first engine as the gateway reports it, with its kernel and runner."""
        engines = self.admin("/status")["engines"]
        return engines[0] if engines else {}
