#!/usr/bin/env python3
"""judge.py ROWS: the time to the first answer without the model's download, and every step and check."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict  # noqa: E402

FIRST_ANSWER = {"clone": 900, "package": 120, "tarball": 120}  # seconds

verdict = Verdict("newcomer")
rows = read_rows(sys.argv[1])
for part, bar in FIRST_ANSWER.items():
    typed = [row for row in rows if row["part"] == part and "command" in row]
    until = next((i for i, row in enumerate(typed) if row["answered"]), None)
    if until is None:
        verdict.missing(f"{part}: first answer", "no answer" if typed else "did not run")
        continue
    to_answer = typed[:until + 1]
    download = sum(row["seconds"] for row in to_answer if row["download"])
    verdict.at_most(f"{part}: first answer", sum(row["seconds"] for row in to_answer) - download, bar, " s",
                    f"{len(to_answer)} commands typed" + (f"; plus {download:.1f} s for the model's download" if download else ""))
    for row in (r for r in typed if r.get("again")):
        verdict.at_most(f"{part}: second run", row["seconds"], 10, " s")
    verdict.holds(f"{part}: commands that worked", sum(row["status"] == 0 for row in typed), len(typed))
for row in rows:
    if "check" in row:
        verdict.holds(f"{row['part']}: {row['check']}", int(row["ok"]), 1, "" if row["ok"] else row["detail"])
    if row.get("check") == "systemd-analyze security":
        verdict.report("exposure", row["detail"])
    if row["part"] == "sizes":
        verdict.report(row["file"], f"{row['bytes'] / 1e6:.1f} MB")
verdict.finish()
