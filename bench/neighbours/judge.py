#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the neighbours bench."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, median, percentile  # noqa: E402

KINDS = ["large bodies", "half-sent bodies", "exploding template", "reports", "long streams"]
REPORTED = {"long streams"}  # who shares sequences with whom is not decided by the gateway's threads
TIMES = {"header_s": "response header", "first_s": "first token"}
FACTOR, LEAST_REQUESTS = 1.5, 1000


def good(rows, kind):
    return [r for r in rows if r["row"] == "request" and r["kind"] == kind and r["status"] == 200 and r["done"] and r["first_s"]]


def of_kind(rows, kind):
    return [r for r in rows if r["row"] == "request" and r["kind"] == kind]


def judge_kind(verdict, rows, kind, alone, step_s):
    answers, asked = good(rows, kind), of_kind(rows, kind)
    if len(asked) < LEAST_REQUESTS:
        verdict.missing(f"{kind}: requests", f"{len(asked)} of at least {LEAST_REQUESTS}")
        return
    if kind not in REPORTED:
        verdict.holds(f"{kind}: requests answered", len(answers), len(asked))
    for field, name in TIMES.items():
        times = [r[field] for r in answers]
        if not times:
            continue
        p99 = percentile(times, 0.99)
        note = f"median {median(times) * 1e3:.1f} ms, alone p99 {alone[field] * 1e3:.1f} ms"
        if kind in REPORTED:
            verdict.report(f"{kind}: p99 of the {name}", f"{p99 * 1e3:.1f} ms, {note}")
        else:
            verdict.at_most(f"{kind}: p99 of the {name}", p99 * 1e3, (FACTOR * alone[field] + step_s) * 1e3, " ms", note)


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("neighbours")
    plan = rows[0]
    verdict.report("machine", f"{plan.get('cpu')}, load {plan.get('load', 0):.1f}")
    quiet = good(rows, "alone")
    if not quiet:
        verdict.missing("alone", "no request was answered")
        verdict.finish()
    alone = {field: percentile([r[field] for r in quiet], 0.99) for field in TIMES}
    for kind in KINDS:
        judge_kind(verdict, rows, kind, alone, plan["step_ms"] / 1e3)
    for row in (r for r in rows if r["row"] == "kind"):
        if row["kind"] not in REPORTED and row["restarted"]:
            verdict.missing(f"{row['kind']}: the gateway keeps running", "it was restarted")
        verdict.report(row["kind"], f"{row['seconds']:.1f} s; CPU: gateway {row['gateway_cpu_s']:.1f} s, misbehaving team "
                                    f"{row.get('cpu_s', 0):.1f} s, asker {row['asker_cpu_s']:.1f} s; gateway's largest memory "
                                    f"{row['gateway_mib']} MiB; its answers: {row.get('statuses', {})} {row.get('error', '')}")
    verdict.finish()


main()
