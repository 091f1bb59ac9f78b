"""A Python with the packages that benches compare with (gguf, tokenizers, transformers, jinja2, numpy)."""
import subprocess
import sys

from . import cloud

REQUIREMENTS = cloud.ROOT / "bench/answers/requirements.txt"


def python():
    """The interpreter's path; installs the packages once into $PENSTOCK_BENCH_MODELS."""
    folder, want = cloud.MODELS / "answers-venv", REQUIREMENTS.read_text()
    done = folder / ".done"
    if not done.exists() or done.read_text() != want:
        print("  Python packages to compare with", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/pip", "install", "-q", "--disable-pip-version-check", "-r", REQUIREMENTS],
                       check=True, stdout=sys.stderr)
        done.write_text(want)
    return folder / "bin/python"
