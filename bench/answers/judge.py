#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the answers bench."""
import math
import pathlib
import sys
from collections import defaultdict

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict  # noqa: E402

LINES, CONVERSATIONS, POSITIONS = 50_000, 200, 10_000
KL_RATIO, TOP_POINTS, PERPLEXITY = 1.1, 0.5, 0.005
QUALITY_MODELS = ("smollm2-135m", "qwen2.5-coder-0.5b")
NOT_AVAILABLE = "no registry"  # tests/answers writes this where the files cannot be obtained; else the row is short


def of(rows, part):
    return [row for row in rows if row.get("part") == part]


def judge_claims(verdict, rows):
    binaries = defaultdict(list)
    for row in of(rows, "claims"):
        binaries[row["binary"]].append(row)
    if not binaries:
        verdict.missing("claims", "no rows")
    for binary, tests in binaries.items():
        failed = [t["test"] for t in tests if not t["held"]]
        verdict.holds(f"claims of {binary}", len(tests) - len(failed), len(tests), ", ".join(failed[:3]))


def judge_equal(verdict, rows, part, count, least):
    """Rows that count the equal cases among `count`; all must be equal, and at least `least` must be compared."""
    mine = of(rows, part)
    if not mine:
        verdict.missing(part, "no rows")
    for row in mine:
        name = f"{part} {row['model']}" + (f", {row['from']}, special {str(row['special']).lower()}" if "from" in row else "")
        if "unmeasured" in row:
            if NOT_AVAILABLE in row["unmeasured"] or "no chat template" in row["unmeasured"]:
                verdict.report(name, f"unmeasured: {row['unmeasured']}")
            else:
                verdict.missing(name, row["unmeasured"])
        else:
            verdict.holds(name, row["equal"], max(row[count], least))


def judge_quality(verdict, rows):
    for model in QUALITY_MODELS:
        mine = [r for r in of(rows, "quality") if r["model"] == model]
        reasons = [r["unmeasured"] for r in mine if "unmeasured" in r]
        mine = [r for r in mine if "kl" in r and "peer_kl" in r]
        if not mine:
            verdict.missing(f"quality {model}", (reasons or ["no rows of llama.cpp to compare with"])[0])
            continue
        def mean(key):
            values = [float(r[key]) for r in mine if key in r]
            return sum(values) / len(values)
        kernel = mine[0]["kernel"]
        verdict.at_least(f"quality {model}: positions", len(mine), POSITIONS)
        verdict.at_most(f"quality {model}: mean KL from the f32 forward", mean("kl") / mean("peer_kl"), KL_RATIO, "x llama.cpp",
                        f"{mean('kl'):.5f} vs {mean('peer_kl'):.5f} nats (aim 0.003) [{kernel}]")
        behind = 100 * (mean("peer_top") - mean("top"))
        verdict.at_most(f"quality {model}: top token behind llama.cpp's", max(behind, 0.0), TOP_POINTS, " points",
                        f"{100 * mean('top'):.2f}% vs {100 * mean('peer_top'):.2f}% (aim 98%)")
        off = abs(math.exp(mean("nll") - mean("truth_nll")) - 1)
        verdict.at_most(f"quality {model}: perplexity difference from the f32 forward", off, PERPLEXITY, "",
                        f"{math.exp(mean('nll')):.4f} vs {math.exp(mean('truth_nll')):.4f}")


def judge_batches(verdict, rows):
    plan = next(iter(of(rows, "batch plan")), None)
    if plan is None or not plan["isas"]:
        verdict.missing("batch equals alone", plan["unmeasured"] if plan else "no rows")
        return
    groups = defaultdict(list)
    for row in of(rows, "batch"):
        groups[row["model"], row["isa"], row["arrangement"]].append(row)
    whole, short = plan["models"]
    due = [(short, isa) for isa in plan["isas"]] + [(whole, isa) for isa in plan["isas"] if isa != "reference"]
    for model, isa in due:
        truth = {r["index"]: r["bits"] for r in groups[model, isa, "alone"]}
        for arrangement in ("together", "together, cached", "together, cached, preempted", "together, preempted"):
            mine = groups[model, isa, arrangement]
            name = f"batch {model} {isa}: {arrangement} = alone"
            preempted = max((r["preemptions"] for r in mine), default=0)
            hits = sum(r["cached"] or 0 for r in mine)
            if len(truth) < plan["requests"] or not mine:
                verdict.missing(name, f"{len(truth)} requests ran alone, {len(mine)} together")
            elif "preempted" in arrangement and preempted == 0:
                verdict.missing(name, "nothing was preempted")
            elif "cached" in arrangement and "preempted" not in arrangement and hits == 0:
                verdict.missing(name, "no prompt token came from the cache")
            else:
                same = [r["bits"] is not None and r["bits"] == truth[r["index"]] for r in mine]
                verdict.holds(name, sum(same), len(same),
                              f"{hits} tokens from the cache, {preempted} preemptions [{mine[0]['kernel']}]")
    for model, arrangement, isas in ((whole, "alone", plan["isas"][1:]), (short, "alone", plan["isas"]),
                                     (whole, "one short request", plan["isas"])):
        bits = defaultdict(set)
        kernels = set()
        for isa in isas:
            for row in groups[model, isa, arrangement]:
                bits[row["index"]].add(row["bits"])
                kernels.add(row["kernel"])
        same = sum(len(each) == 1 and None not in each for each in bits.values())
        if len(isas) > 1:
            verdict.holds(f"batch {model}: {', '.join(isas)} agree on {arrangement}",
                          same if len(kernels) == len(isas) else 0, len(bits), f"kernels that ran: {', '.join(sorted(kernels))}")


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("answers")
    judge_claims(verdict, rows)
    judge_equal(verdict, rows, "tokens", "lines", LINES)
    judge_equal(verdict, rows, "templates", "conversations", CONVERSATIONS)
    judge_quality(verdict, rows)
    judge_batches(verdict, rows)
    verdict.finish()


main()
