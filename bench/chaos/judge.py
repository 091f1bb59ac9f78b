#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the chaos bench."""
import collections
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, median, percentile  # noqa: E402

RECOVER_S = 5.0
SLACK_S = 3.0  # for the canary's own answer on busy chips


def whole(request):
    return request["status"] == 200 and request["ended"] == "whole" and request["done"] and request["finish"]


def within(request, fault):
    return request["started"] <= fault["over"] and fault["at"] <= request["stopped"]


def judge_faults(verdict, faults, period, moved):
    by_kind = collections.defaultdict(list)
    for fault in faults:
        by_kind[fault["fault"]].append(fault)
    for kind, mine in sorted(by_kind.items()):
        if "skipped" in mine[0]:
            verdict.report(kind, mine[0]["skipped"])
            continue
        times = [f["recovered_s"] for f in mine]
        if None in times:
            verdict.missing(f"{kind}: a new request is answered", f"after {times.count(None)} of {len(mine)} it never was")
        else:
            verdict.at_most(f"{kind}: slowest answer to a new request", max(times), RECOVER_S, "s",
                            f"median {median(times):.2f} s of {len(times)}")
    if by_kind["aside"]:
        verdict.at_least("requests that moved to another engine, per drained engine", moved / len(by_kind["aside"]), 1, "")
    caught = [f.get("caught_s") for f in by_kind["wrong"]]
    if not caught or None in caught:
        verdict.missing("wrong answers detected", f"{caught.count(None)} of {len(caught)} never")
    else:
        verdict.at_most("wrong answers: time to detection", max(caught), period + SLACK_S, "s", f"{len(caught)} times")


def judge_requests(verdict, requests, faults, truth):
    ended = [r for r in requests if whole(r) or r["error"]]
    verdict.holds("requests that ended complete or with a clear error", len(ended), len(requests))
    failed = [r for r in requests if not whole(r)]
    causes = collections.Counter(next((f["fault"] for f in faults if "over" in f and within(r, f)), "none") for r in failed)
    verdict.report("requests that failed", f"{len(failed)} of {len(requests)}: " + ", ".join(f"{n} during {c}" for c, n in causes.most_common()))
    for error in sorted({r["error"][:140] for r in failed})[:4]:
        verdict.report("  for example", error)
    wrong_times = [f for f in faults if f["fault"] == "wrong" and "over" in f]
    good = [r for r in requests if whole(r)]
    undisturbed = [r for r in good if not any(within(r, f) for f in wrong_times)]
    same = [r for r in undisturbed if r["text"] == truth[r["prompt"]]]
    verdict.holds("answers equal to an undisturbed engine's, to the bit", len(same), len(undisturbed))
    wrong = [r for r in good if any(within(r, f) for f in wrong_times) and r["text"] != truth[r["prompt"]]]
    verdict.report("wrong answers before the engine was detected", f"{len(wrong)}")
    silences = [r["silence"] for r in good]
    verdict.at_most("longest pause within a complete answer, p99", percentile(silences, 0.99), RECOVER_S + 1, "s",
                    f"median {median(silences):.2f} s, worst {max(silences):.1f} s")


def judge_bills(verdict, requests):
    ids = collections.Counter(r["id"] for r in requests if r["id"])
    verdict.holds("requests with exactly one record", sum(n == 1 for n in ids.values()), len(ids))
    billed = [r for r in requests if r["billed"] is not None]
    verdict.holds("billed is not more than delivered", sum(r["billed"] <= r["delivered"] for r in billed), len(billed))
    good = [r for r in billed if whole(r)]
    verdict.holds("complete answers are billed exactly", sum(r["billed"] == r["delivered"] for r in good), len(good))
    verdict.holds("answered requests that have an ended record afterwards", sum(r["state"] == "ended" for r in requests if r["status"] == 200),
                  sum(r["status"] == 200 for r in requests))


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("chaos")
    plan = rows[0]
    for row in rows:
        if row["row"] == "missing":
            verdict.missing("model", row["why"])
    faults = [r for r in rows if r["row"] == "fault"]
    requests = [r for r in rows if r["row"] == "request"]
    truth = {r["prompt"]: r["text"] for r in rows if r["row"] == "truth"}
    if requests:
        judge_faults(verdict, faults, plan["period"], sum(r.get("moved", 0) for r in rows if r["row"] == "end"))
        judge_requests(verdict, requests, faults, truth)
        judge_bills(verdict, requests)
    verdict.report("ran", f"seed {plan['seed']}, {plan['minutes']} min, {plan['model']}, {len(faults)} faults, {len(requests)} requests")
    verdict.finish()


main()
