#!/usr/bin/env python3
"""judge.py ROWS: every check of every walk must pass, and the page must use very little CPU time of its viewer."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, percentile  # noqa: E402

# Minimum number of checks for each role; finance has no chat.
SEATS, THEMES = {"operator": 35, "team_lead": 35, "developer": 35, "finance": 25}, ("light", "dark")
STREAMS, UPDATES = 500, 50
SHARE, UPDATE_MS, PICTURE_BYTES = 0.01, 8.0, 150 << 10


def judge_walks(verdict, rows):
    claims = [row for row in rows if row["part"] == "walk"]
    for seat, due in SEATS.items():
        for theme in THEMES:
            mine = [row for row in claims if (row.get("seat"), row.get("theme")) == (seat, theme)]
            name = f"walk as {seat}, {theme}"
            if len(mine) < due:
                verdict.missing(name, f"{len(mine)} checks ran, at least {due} must run")
                continue
            failed = [row["check"] for row in mine if not row["ok"]]
            verdict.holds(name, len(mine) - len(failed), len(mine), "; ".join(failed))
    axe = [row for row in claims if row["check"].startswith("axe")]
    verdict.holds("views where axe finds no serious fault", sum(row["ok"] for row in axe), len(axe))
    for row in claims:
        if row["check"].startswith("time to first token") and row["ok"]:
            verdict.report(f"{row['seat']}, {row['theme']}", row["detail"])
    if claims:
        first = claims[0]
        verdict.report("walked", f"{first.get('model')}, runner {first.get('runner')}, kernel {first.get('kernel')}, {len(claims)} checks")


def judge_pictures(verdict, rows):
    pictures = [row for row in rows if row["part"] == "picture"]
    if not pictures:
        verdict.missing("pictures", "none was taken")
    else:
        verdict.at_most("largest picture", max(row["bytes"] for row in pictures) / 1024, PICTURE_BYTES / 1024, " KB")


def judge_busy(verdict, rows):
    running = [row["running"] for row in rows if row["part"] == "load"]
    mine = [row for row in rows if row["part"] == "busy" and row["clock"] == "cpu" and row["updates"] == 1]
    if len(mine) < UPDATES or len(running) < 2:
        verdict.missing("with 500 requests", f"{len(mine)} updates were measured, at least {UPDATES} must be")
        return
    verdict.at_least("requests running during the measurement, minimum", min(running), STREAMS)
    verdict.holds("updates that showed a page of the requests", sum(row["rows"] > 0 and "of 500" in row["shown"] for row in mine), len(mine), mine[-1]["shown"])
    # The browser does not count code after an await as script, so the bar applies to the whole main thread.
    share = sum(row["task_ms"] for row in mine) / sum(row["ms"] for row in mine)
    verdict.at_most("main thread (JavaScript and everything else), share of a core", 100 * share, 100 * SHARE, "%", f"{len(mine)} updates")
    verdict.at_most("main thread per update, p95", percentile([row["task_ms"] for row in mine], 0.95), UPDATE_MS, " ms")
    for field, name in (("script_ms", "JavaScript as the browser counts it,"), ("layout_ms", "layout"), ("style_ms", "style")):
        values = [row[field] for row in mine]
        verdict.report(f"{name} per update, p50 / p95", f"{percentile(values, 0.5):.2f} / {percentile(values, 0.95):.2f} ms")
    wall = [row["task_ms"] for row in rows if row["part"] == "busy" and row["clock"] == "wall"]
    if wall:
        verdict.report("main thread per update in wall time, p95", f"{percentile(wall, 0.95):.2f} ms")
    load = [row for row in rows if row["part"] == "load"]
    verdict.report("machine", f"{load[0]['cpu']}; load {load[0]['load']} then {load[-1]['load']}")


def main():
    verdict = Verdict("console")
    rows = read_rows(sys.argv[1])
    for row in rows:
        if row["part"] == "script":
            verdict.missing(row["name"], row["detail"])
    judge_walks(verdict, rows)
    judge_pictures(verdict, rows)
    judge_busy(verdict, rows)
    verdict.finish()


main()
