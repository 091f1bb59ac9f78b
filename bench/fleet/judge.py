#!/usr/bin/env python3
"""judge.py ROWS: the goodput of our placement divided by that of the best other policy."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict  # noqa: E402

OURS = "expected cost"


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("fleet")
    for row in rows:
        if row["row"] == "missing":
            verdict.missing("simulation", row["why"])
    runs = [r for r in rows if r["row"] == "policy"]
    for load in sorted({r["load"] for r in runs}):
        here = [r for r in runs if r["load"] == load]
        ours = next(r for r in here if r["policy"] == OURS)
        best = max((r for r in here if r["policy"] != OURS), key=lambda r: r["good"])
        verdict.at_least(f"load {load}: good requests ÷ those of {best['policy']}", ours["good"] / best["good"], 1.0, "x",
                         f"{ours['good'] / ours['requests']:.4f} of all against {best['good'] / best['requests']:.4f}")
        verdict.holds(f"load {load}: requests that ended", ours["finished"], ours["requests"],
                      f"{ours['deaths']} chips died, {ours['resumed']} answers continued on another chip")
        for run in here:
            busy = ", ".join(f"{k['name']} {k['busy']:.2f}" for k in run["kinds"])
            verdict.report(f"load {load}, {run['policy']}", f"good {run['good'] / run['requests']:.4f}; TTFT {run['first_p50']:.2f}/"
                           f"{run['first_p99']:.2f} s, per token {run['pace_p50'] * 1e3:.0f}/{run['pace_p99'] * 1e3:.0f} ms (p50/p99); busy: {busy}")
    for run in runs:
        if run["violations"]:
            verdict.missing(f"{run['policy']}", f"{run['violations']} violations")
    verdict.finish()


main()
