#!/usr/bin/env python3
"""crates.py CARGO > FILE: the licences of the Rust crates that are linked into the program, from the crates' own files."""
import json
import pathlib
import subprocess
import sys

MANIFEST = pathlib.Path(__file__).resolve().parent.parent / "text/rust/Cargo.toml"
NAMES = ("licen", "copying", "notice", "unlicense")

metadata = json.loads(subprocess.run(
    [sys.argv[1], "metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu",
     "--manifest-path", MANIFEST], check=True, stdout=subprocess.PIPE, text=True).stdout)
for package in sorted(metadata["packages"], key=lambda p: (p["name"], p["version"])):
    if package["source"] is None:
        continue  # ours
    folder = pathlib.Path(package["manifest_path"]).parent
    print(f"{'=' * 100}\n{package['name']} {package['version']}: {package['license'] or 'see below'}\n")
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name.lower().startswith(NAMES):
            print(f"--- {path.name}\n{path.read_text(errors='replace')}")
