#!/usr/bin/env python3
"""judge.py ROWS: every check of every client must pass, and every client must have run."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict  # noqa: E402

CLIENTS = {"openai-python": 25, "openai-node": 15, "ai-sdk": 10}  # with the minimum number of checks of each

verdict = Verdict("clients")
rows = read_rows(sys.argv[1])
for client, fewest in CLIENTS.items():
    mine = [row for row in rows if row["client"].startswith(client)]
    if len(mine) < fewest:
        verdict.missing(client, f"{len(mine)} checks ran, at least {fewest} must run")
    for row in mine:
        verdict.holds(f"{client}: {row['check']}", int(row["ok"]), 1, row.get("detail", ""))
    if mine:
        first = mine[0]
        verdict.report(client, f"{first['client']}, {first.get('model')}, runner {first.get('runner')}, kernel {first.get('kernel')}")
for row in rows:
    if row["client"] == "all":
        verdict.missing("model", row["detail"])
verdict.finish()
