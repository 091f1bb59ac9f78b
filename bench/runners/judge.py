#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the runners bench. Reads nothing but the rows."""
import pathlib
import sys
from collections import defaultdict

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, median  # noqa: E402

SIDES, CLAIMS, STREAMS, OVERHEAD = ("native", "ggml-CPU", "ggml-Vulkan"), 9, (1, 4, 16), 0.05
# A near tie: the largest gap between the best two tokens' log-probabilities, on native, at which runners may differ.
# Two runners round differently: a little on tiny f32 models; more on a 4-bit model, where both use 8-bit activations.
NEAR_TIE = {"llama": 0.1, "qwen3": 0.1, "qwen3moe": 0.1, "smollm2-135m": 0.5}
# Debian 12's Mesa (22.3, LLVM 15) crashes in one of its own threads when it compiles ggml's expert matmul.
MESA_CRASHES = {("qwen3moe", "ggml-Vulkan")}
PROMPTS = {("smollm2-135m", "ggml-Vulkan"): 4}  # Vulkan in software is slow: four short prompts; 20 elsewhere


def judge_claims(verdict, rows):
    for side in SIDES:
        claims = [r for r in rows if r["part"] == "claim" and r["side"] == side]
        if any(r["skipped"] for r in claims):
            verdict.missing(f"scheduling claims on {side}", "skipped; run ./dev setup --ggml vulkan and ./dev build")
        else:
            verdict.holds(f"scheduling claims on {side}", sum(r["held"] for r in claims), max(len(claims), CLAIMS))


def agreement(truth, other, near):
    """Whether the two are equal up to native's first near tie, the number of equal tokens, and the gap there."""
    for place, (a, b) in enumerate(zip(truth["ids"], other["ids"])):
        if a != b:
            return truth["gaps"][place] < near, place, truth["gaps"][place]
    return True, len(other["ids"]), None


def judge_text(verdict, rows):
    said = defaultdict(dict)
    for row in rows:
        if row["part"] == "text" and "request" in row and row["request"] < 900:
            said[row["model"], row["side"]][row["request"]] = row
    for model, near in NEAR_TIE.items():
        for side in SIDES[1:]:
            prompts = PROMPTS.get((model, side), 20)
            name = f"greedy text, {model} on {side}, prompts equal to native up to a near tie"
            truth, other = said.get((model, "native"), {}), said.get((model, side), {})
            found = [agreement(truth[n], other[n], near) for n in range(prompts) if n in truth and n in other]
            died = next((r["why"] for r in rows if r["part"] == "died" and (r["model"], r["side"]) == (model, side)), None)
            if died and (model, side) in MESA_CRASHES:
                verdict.report(name, f"{died}: Mesa's software rasteriser crashed")
                continue
            if died or not found:
                verdict.missing(name, died or "no rows")
                continue
            ties = [gap for _, _, gap in found if gap is not None]
            verdict.holds(name, sum(good for good, _, _ in found), prompts,
                          f"{sum(same for _, same, _ in found)} of {sum(len(other[n]['ids']) for n in other if n < prompts)} "
                          f"tokens equal; tie < {near}, {len(ties)} prompts reached one, widest {max(ties, default=0):.3f}")
    done = {(r["model"], r["side"]): r for r in rows if r["part"] == "text" and r.get("done")}
    for (model, side), row in sorted(done.items()):
        verdict.report(f"trace, {model} on {side}", f"{row['computed']} tokens computed, {row['prefix_hit_tokens']} found in "
                       f"the prefix cache, {row['preemptions']} preemptions")


def judge_overhead(verdict, rows):
    runs = defaultdict(lambda: [0, 0])
    for row in rows:
        if row["part"] == "overhead":
            run = runs[row["streams"], row["round"]]
            run[0] += row["ns"]
            run[1] += row["bare_ns"]
    for streams in STREAMS:
        ratios = [ours / bare - 1 for (n, _), (ours, bare) in runs.items() if n == streams]
        name = f"step time with planner and runner ÷ plain llama_decode loop - 1, {streams} streams"
        if not ratios:
            verdict.missing(name, "no rows")
            continue
        steps = [r for r in rows if r["part"] == "overhead" and r["streams"] == streams]
        verdict.at_most(f"share of a step outside llama_decode, {streams} streams",
                        median([(r["ns"] - r["chip_ns"]) / r["chip_ns"] for r in steps]), OVERHEAD, "",
                        f"{median([r['ns'] - r['chip_ns'] for r in steps]) / 1e3:.0f} us, sampling included")
        verdict.at_most(name, median(ratios), OVERHEAD, "",
                        f"rounds {' '.join(f'{ratio:+.1%}' for ratio in ratios)}; a step "
                        f"{median([r['ns'] for r in steps]) / 1e6:.2f} ms, plain loop {median([r['bare_ns'] for r in steps]) / 1e6:.2f} ms")


def report_kept(verdict, rows):
    kept = [r for r in rows if r["part"] == "kept"]
    alone = [r["ns"] for r in rows if r["part"] == "overhead" and r["streams"] == 4]
    if kept and alone:
        verdict.report(f"a step of 4 streams with {kept[0]['kept']} tokens of cached prefixes",
                       f"{median([r['ns'] for r in kept]) / 1e6:.2f} ms, without {median(alone) / 1e6:.2f} ms")


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("runners")
    machine = next(r for r in rows if r["part"] == "machine")
    print(f"{machine['cpu']}; load before the run {machine['load']}\n")
    judge_claims(verdict, rows)
    judge_text(verdict, rows)
    judge_overhead(verdict, rows)
    report_kept(verdict, rows)
    for side, kernel, chip in sorted({(r["side"], r["kernel"], r.get("chip", "")) for r in rows if r["part"] == "driver"}):
        verdict.report(side, f"kernel {kernel}, chip {chip or '-'}")
    verdict.finish()


main()
