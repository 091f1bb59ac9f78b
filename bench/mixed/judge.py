#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the mixed bench."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, median, percentile  # noqa: E402

SHARE = 0.9  # of the sum of the engines' throughput alone


def judge_throughput(verdict, alone, pool, rounds):
    shares = []
    for number in range(rounds):
        parts = [r["tokens"] / r["seconds"] for r in alone if r["round"] == number]
        whole = [r["tokens"] / r["seconds"] for r in pool if r["round"] == number]
        if len(parts) == 3 and whole and sum(parts) > 0:
            shares.append(whole[0] / sum(parts))
    if len(shares) < max(rounds, 1):
        return verdict.missing("the pool's throughput ÷ the sum of its engines alone", f"{len(shares)} of {rounds} rounds")
    verdict.at_least("the pool's throughput ÷ the sum of its engines alone", median(shares), SHARE, "",
                     ", ".join(f"{s:.2f}" for s in shares))


def judge_waits(verdict, requests):
    by_policy = {}
    for request in requests:
        by_policy.setdefault(request["policy"], []).append(request)
    ours = by_policy.get("penstock", [])
    whole = [r for r in requests if r["status"] == 200 and r["ended"] == "whole" and r["finish"]]
    verdict.holds("complete answers", len(whole), len(requests))
    firsts = {policy: [r["first_token_s"] for r in mine if r["first_token_s"] is not None]
              for policy, mine in by_policy.items()}
    for policy in ("least connections", "round robin"):
        mine = firsts.get(policy, [])
        if not mine or not firsts.get("penstock"):
            verdict.missing(f"TTFT, p95, compared with {policy}", "no requests")
            continue
        verdict.at_most(f"TTFT, p95, compared with {policy}", percentile(firsts["penstock"], 0.95),
                        percentile(mine, 0.95), " s", f"of {len(mine)} requests")
    for policy, mine in firsts.items():
        if mine:
            verdict.report(policy, f"TTFT p50 {median(mine):.2f} s, p95 {percentile(mine, 0.95):.2f} s, "
                           f"whole answer p95 {percentile([r['took_s'] for r in by_policy[policy]], 0.95):.2f} s")
    return ours


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("mixed")
    plan = rows[0]
    of = lambda kind: [r for r in rows if r["row"] == kind]  # noqa: E731
    for row in of("missing"):
        verdict.missing("model", row["why"])
    judge_throughput(verdict, of("alone"), of("pool"), plan["rounds"])
    judge_waits(verdict, of("request"))
    seen = {}
    for row in of("engine"):
        seen[row["name"]] = f"{row['runner']} {row['kernel']} at {row['quota']} of core {row['cores']}"
    for name, words in seen.items():
        rates = [r["tokens"] / r["seconds"] for r in of("alone") if r["engine"] == name]
        verdict.report(f"engine {name}", f"{words}: {median(rates):.1f} tokens/s alone" if rates else words)
    verdict.report("ran", f"{plan['model']}, {plan['rounds']} rounds, seed {plan['seed']}, {plan['cpu']}")
    verdict.finish()


main()
