"""Next-token distributions on 10,000 tokens of varied text: Penstock's and llama.cpp's compared with an f32
forward on the dequantised weights (quality_driver.cc).

    quality.py --driver quality_driver --out rows.jsonl [--model NAME ...] [--without-peer]

One row for each position of each model; a missing model or an unavailable peer gives a row with the reason.
This script does not judge the rows.

The text: prose, licences, code and headers that every Debian has, sentences in twenty languages, numbers
and markup (lines.py), and conversations that the model itself generates (in the driver).
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import lines

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODELS = pathlib.Path(os.environ.get("PENSTOCK_BENCH_MODELS", "~/.cache/penstock-dev")).expanduser()
NAMES = ("smollm2-135m", "qwen2.5-coder-0.5b")
TOKENS = 512  # of each document

FILES = [  # (name, path, first character)
    ("gpl", "/usr/share/common-licenses/GPL-3", 0),
    ("gpl-terms", "/usr/share/common-licenses/GPL-3", 12_000),
    ("apache", "/usr/share/common-licenses/Apache-2.0", 1_000),
    ("artistic", "/usr/share/common-licenses/Artistic", 0),
    ("fdl", "/usr/share/common-licenses/GFDL-1.3", 5_000),
    ("mozilla", "/usr/share/common-licenses/MPL-2.0", 0),
    ("python-shlex", "/usr/lib/python3.11/shlex.py", 0),
    ("python-textwrap", "/usr/lib/python3.11/textwrap.py", 0),
    ("python-heapq", "/usr/lib/python3.11/heapq.py", 1_000),
    ("python-encoder", "/usr/lib/python3.11/json/encoder.py", 2_000),
    ("python-sched", "/usr/lib/python3.11/sched.py", 0),
    ("c-stdio", "/usr/include/stdio.h", 1_500),
    ("c-errno", "/usr/include/asm-generic/errno.h", 0),
]


def documents(folder):
    """The text files, in order; missing files are skipped (the rows show which were used)."""
    for name, path, begin in FILES:
        if pathlib.Path(path).exists():
            target = folder / f"{name}.txt"
            target.write_bytes(pathlib.Path(path).read_bytes()[begin:begin + 8_000])
            yield target
    random.seed(1)
    mixed = {
        "languages-1": " ".join(list(lines.LANGUAGES.values())[:7]),
        "languages-2": " ".join(list(lines.LANGUAGES.values())[7:14]),
        "languages-3": " ".join(list(lines.LANGUAGES.values())[14:]),
        "code": "\n".join(lines.CODE * 2),
        "numbers": "\n".join(f"{i}. {random.random():.4f} × {random.randint(1, 9999)} = "
                             f"{json.dumps({'id': i, 'ok': i % 3 == 0})}" for i in range(60)),
    }
    for name, text in mixed.items():
        target = folder / f"{name}.txt"
        target.write_text(text)
        yield target


def peer_program():
    """Builds quality_peer.cc, if it changed, in the peer's folder; returns it and the folder of the peer's libraries."""
    peer = pathlib.Path(subprocess.run([ROOT / "tools/get_peer.sh"], check=True, stdout=subprocess.PIPE,
                                       text=True).stdout.strip())
    source, target = pathlib.Path(__file__).with_name("quality_peer.cc"), peer / "bin/quality_peer"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        target.parent.mkdir(exist_ok=True)
        libraries = [peer / "lib" / f"lib{name}.so" for name in ("llama", "ggml", "ggml-base")]
        subprocess.run(["clang++-19", "-std=c++23", "-O2", "-isystem", peer / "include", source, "-o", target,
                        *libraries, f"-Wl,-rpath,{peer / 'lib'}"], check=True)
    return target, peer / "lib"


def measure(program, name, with_peer, scratch):
    common = {"bench": "answers", "part": "quality", "model": name, "runner": "native"}
    path = MODELS / f"{name}.gguf"
    if not path.exists():
        yield common | {"unmeasured": f"{path} does not exist"}
        return
    command = [program, path, scratch / "rows.jsonl", str(TOKENS), *documents(scratch)]
    if with_peer:
        peer, libraries = peer_program()
        command += ["--peer", f"'{peer}' '{libraries}' '{path}'"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        yield common | {"unmeasured": f"quality_driver ended with status {done.returncode}"}
        return
    for line in (scratch / "rows.jsonl").read_text().splitlines():
        yield common | {"kernel": done.stdout.strip()} | json.loads(line)


def summary(rows):
    """For people: the same figures that a judge calculates from the rows."""
    def mean(key):
        values = [float(row[key]) for row in rows if key in row]
        return sum(values) / len(values) if values else float("nan")
    text = f"{len(rows)} positions: KL {mean('kl'):.5f}, top {100 * mean('top'):.2f}%, nll {mean('nll'):.5f} (truth {mean('truth_nll'):.5f})"
    if any("peer_kl" in row for row in rows):
        text += f"; llama.cpp: KL {mean('peer_kl'):.5f}, top {100 * mean('peer_top'):.2f}%, nll {mean('peer_nll'):.5f}"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--without-peer", action="store_true")
    options = parser.parse_args()
    with options.out.open("w") as out:
        for name in options.model or NAMES:
            with tempfile.TemporaryDirectory() as scratch:
                rows = list(measure(options.driver, name, not options.without_peer, pathlib.Path(scratch)))
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n")
            print(f"{name}: {rows[0].get('unmeasured') or summary(rows)}", file=sys.stderr)


if __name__ == "__main__":
    main()
