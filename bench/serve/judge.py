#!/usr/bin/env python3
"""judge.py ROWS [--record]: judges the raw rows of the serve bench. Reads nothing but the rows and recorded.json,
llama.cpp's own figures by kind of CPU. If llama.cpp's figures differ from its record by more than a quarter, the
machine was busy, and the comparison does not count."""
import json
import pathlib
import sys
from collections import defaultdict

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, median, percentile  # noqa: E402

MODELS, STREAMS, SIDES = ("smollm2-135m", "qwen2.5-coder-0.5b"), (1, 4, 16), ("penstock", "llama.cpp")
HALF, WITHIN = 0.5, 0.25
RECORDED = pathlib.Path(__file__).with_name("recorded.json")


def engine_figures(rows):
    """(model, streams, side) → {"ttft_s", "tok_s"}, medians over the runs."""
    runs = defaultdict(list)
    for row in rows:
        if row["part"] == "engine" and "kind" in row:
            runs[row["model"], row["streams"], row["side"], row["run"]].append(row)
    figures = defaultdict(lambda: defaultdict(list))
    for (model, streams, side, _), steps in runs.items():
        firsts = [step["at"] for step in steps if step["kind"] == "prefill" for _ in step["sampled"]]
        decode = [step for step in steps if step["kind"] == "decode"]
        figure = figures[model, streams, side]
        figure["ttft_s"].append(sum(firsts) / len(firsts) / 1e9)
        figure["tok_s"].append(sum(s["tokens"] for s in decode) / (sum(s["ns"] for s in decode) / 1e9))
    return {key: {name: median(values) for name, values in figure.items()} for key, figure in figures.items()}


def server_figures(rows, verdict):
    """The same figures from HTTP requests; a failed request makes its row short."""
    bursts, broken = defaultdict(list), defaultdict(int)
    for row in rows:
        if row["part"] == "server":
            bursts[row["model"], row["streams"], row["side"], row["run"]].append(row)
    figures = defaultdict(lambda: defaultdict(list))
    for (model, streams, side, _), requests in bursts.items():
        if any(r["status"] != 200 or r["ended"] != "whole" or not r["tokens"] or r["first"] is None for r in requests):
            broken[model, side] += 1
            continue
        begin, end = min(r["started"] for r in requests), max(r["started"] + r["last"] for r in requests)
        figure = figures[model, streams, side]
        figure["ttft_s"].append(sum(r["first"] for r in requests) / len(requests))
        figure["tok_s"].append(sum(r["tokens"] for r in requests) / (end - begin))
    for (model, side), count in broken.items():
        verdict.missing(f"server {model} {side}", f"{count} bursts with failed requests")
    return {key: {name: median(values) for name, values in figure.items()} for key, figure in figures.items()}


def compare(verdict, part, figures, kernels):
    for model in MODELS:
        for streams in STREAMS:
            ours, theirs = (figures.get((model, streams, side)) for side in SIDES)
            for name, better in (("ttft_s", "low"), ("tok_s", "high")):
                row = f"{part} {model} {streams} streams {'TTFT' if name == 'ttft_s' else 'tok/s'}"
                if ours is None or theirs is None:
                    verdict.missing(row, "no rows")
                    continue
                ratio = theirs[name] / ours[name] if better == "low" else ours[name] / theirs[name]
                unit = "s" if name == "ttft_s" else ""
                verdict.at_least(row, ratio, HALF, "x llama.cpp",
                                 f"{ours[name]:.3g}{unit} vs {theirs[name]:.3g}{unit} [{kernels.get(model, '?')}]")


def check_peer(verdict, part, figures, recorded):
    for (model, streams, side), figure in sorted(figures.items()):
        known = recorded.get(f"{part} {model} {streams}")
        if side != "llama.cpp" or known is None:
            continue
        for name, value in figure.items():
            verdict.at_most(f"{part} {model} {streams} streams: llama.cpp's own {name}, difference from its record",
                            abs(value / known[name] - 1), WITHIN, "", f"{value:.3g}, recorded {known[name]:.3g}")


def judge_memory(verdict, rows):
    for model in MODELS:
        row = next((r for r in rows if r["part"] == "memory" and r["model"] == model and r["field"] == "VmHWM"), None)
        if row is None:
            verdict.missing(f"memory {model}", "no rows")
            continue
        size = row["file_bytes"]
        verdict.at_least(f"memory {model}, peak of the whole cloud", row["llama"] / row["penstock"], HALF, "x llama.cpp",
                         f"{row['penstock'] / size:.2f} x the file, llama-server {row['llama'] / size:.2f} x")


def judge_gateway(verdict, rows):
    runs = defaultdict(list)
    for row in rows:
        if row["part"] == "gateway":
            runs[row["mode"], row["side"], row["round"]].append(row)

    rates = defaultdict(list)
    ages, lost, total = defaultdict(list), defaultdict(int), defaultdict(int)
    for (mode, side, _), requests in runs.items():
        good = [r for r in requests if r["status"] == 200 and r["whole"]]
        if mode == "unary":
            begin = min(r["start_ns"] for r in requests)
            end = max(r["start_ns"] + r["took_us"] * 1000 for r in requests)
            rates[side].append(len(good) / ((end - begin) / 1e9))
        total[mode, side] += len(requests)
        lost[mode, side] += len(requests) - len(good)
        if mode == "stream":
            lost[mode, side] += sum(len(r.get("ages_us", [])) != 50 for r in good)
            for r in good:
                ages[side].extend(r.get("ages_us", []))
    if not rates["penstock"] or not rates["nginx"]:
        verdict.missing("gateway, 64 connections unary", "no rows")
    else:
        ours, theirs = median(rates["penstock"]), median(rates["nginx"])
        verdict.at_least("gateway, 64 connections unary, requests/s", ours / theirs, 0.09, "x nginx",
                         f"{ours:,.0f} vs {theirs:,.0f} requests/s (aim 0.25)")
    if not ages["penstock"] or not ages["nginx"]:
        verdict.missing("gateway, 1,000 streams of 50 tokens/s", "no rows")
    else:
        ours, theirs = (percentile(ages[side], 0.99) / 1000 for side in ("penstock", "nginx"))
        halves = [percentile(ages[side], 0.5) / 1000 for side in ("penstock", "nginx")]
        verdict.at_most("gateway, 1,000 streams, p99 added delay", ours / theirs, 1.5, "x nginx",
                        f"{ours:.1f} vs {theirs:.1f} ms; p50 {halves[0]:.2f} vs {halves[1]:.2f} ms")
    for mode in ("unary", "stream"):
        sent = total[mode, "penstock"]
        verdict.holds(f"gateway, {mode}: complete answers", sent - lost[mode, "penstock"], sent,
                      f"nginx lost {lost[mode, 'nginx']} of {total[mode, 'nginx']}")
        books = [r for r in rows if r["part"] == "books" and r["mode"] == mode]
        verdict.holds(f"gateway, {mode}: runs whose usage records equal the client's 200s",
                      sum(r["booked"] == r["answered"] for r in books), len(books),
                      "; ".join(f"{r['booked']:,} recorded, {r['answered']:,} answered" for r in books)
                      + (f"; prompts of {books[0]['prompt_tokens']} tokens" if books else ""))


def report(verdict, rows):
    starts = [r["seconds"] for r in rows if r["part"] == "start" and r["status"] == 200]
    verdict.report("start to first answer", f"{median(starts):.2f} s" if starts else "not measured")
    for row in rows:
        if row["part"] == "build":
            verdict.report("clean build, tests", f"{row['build_s']:.0f} s, {row['test_s']:.0f} s")
        if row["part"] == "direct":
            verdict.report("the mock without a proxy", f"{row['mock_requests_per_s']:,.0f} requests/s")
        if row["part"] == "engine" and row.get("event") == "ready":
            verdict.report(f"engine {row['model']} {row['side']}",
                           f"{row['runner']}, kernel {row['kernel']}, {row['rss'] / row['file_bytes']:.2f} x the file resident")


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("serve")
    machine = next(r for r in rows if r["part"] == "machine")
    print(f"{machine['cpu']}; load before the run {machine['load']}\n")
    for row in rows:
        if row["part"] == "missing":
            verdict.missing(row["model"], row["why"])
    kernels = {r["model"]: r["kernel"] for r in rows if r["part"] in ("engine", "server") and r.get("side") == "penstock"}
    figures = {"engine": engine_figures(rows), "server": server_figures(rows, verdict)}
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    if "--record" in sys.argv:
        recorded[machine["cpu"]] = {
            **recorded.get(machine["cpu"], {}),
            **{f"{part} {model} {streams}": {name: round(value, 4) for name, value in figure.items()}
               for part, all_of in figures.items() for (model, streams, side), figure in sorted(all_of.items())
               if side == "llama.cpp"}}
        RECORDED.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n")
    if machine["cpu"] not in recorded:
        verdict.report("llama.cpp's record", "none for this kind of CPU; run `./dev bench serve --record` on an idle machine")
    for part, all_of in figures.items():
        if part in machine["parts"]:
            compare(verdict, part, all_of, kernels)
            check_peer(verdict, part, all_of, recorded.get(machine["cpu"], {}))
        else:
            verdict.missing(part, "this part was not run")
    judge_memory(verdict, rows)
    judge_gateway(verdict, rows)
    report(verdict, rows)
    verdict.finish()


main()
