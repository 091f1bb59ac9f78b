#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the http bench."""
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.http.cases import CASES, CHANNELS, KEPT, NEW_SUITES, OLD_SUITES  # noqa: E402
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, percentile  # noqa: E402

ANSWER_MS = 100.0
GREW_MIB = 4 * 16 * 2  # four bodies of at most 16 MiB, in buffers that grow


def faults(case, channel, row):
    """What is wrong with the answers to a case; empty: nothing."""
    if row is None:
        return ["it was not run"]
    answers = list(row["answers"])
    statuses = [a["status"] for a in answers]
    if case.statuses == (100,):  # an interim answer, then the real one
        if statuses[:2] != [100, 200] and statuses[:1] != [200]:
            return [f"answers {statuses}"]
        answers = answers[statuses.index(200):]
        statuses = [a["status"] for a in answers]
    elif 100 in statuses:
        return [f"answers {statuses}: 100 was not asked for"]
    found = []
    if not statuses or (case.statuses != (100,) and statuses[0] not in case.statuses):
        found.append(f"answers {statuses}, not {case.statuses}")
    expected = 2 if case.end == KEPT else 1
    if len(statuses) > expected:
        found.append(f"{len(statuses)} answers: a body was read as a request")
    if case.end == KEPT and statuses[1:] != [200]:
        found.append(f"the next request was answered {statuses[1:]}")
    if row["end"] != case.end:
        found.append(f"the connection was {row['end']}")
    headers = answers[0]["headers"] if answers else {}
    has = case.has + ((("strict-transport-security", "max-age="),) if channel == "tls" and case.name == "headers of an answer" else ())
    found += [f"{name}: {headers.get(name)}" for name, text in has if text not in headers.get(name, "")]
    found += [f"{name} is there" for name in case.lacks if name in headers]
    if case.name.startswith("a path without /v1") and answers:
        message = json.loads(answers[0]["body"] or "{}").get("error", {}).get("message", "")
        if "/v1/chat/completions" not in message or "\n" in message or "/admin/v1/teams" in message:
            found.append(f"message: {message}")
    return found


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("http")
    verdict.report("machine", rows[0].get("cpu", "?"))
    by_case = {(r["channel"], r["group"], r["name"]): r for r in rows if r["row"] == "case"}
    for channel in CHANNELS:
        for group in dict.fromkeys(case.group for case in CASES):
            of_group = [case for case in CASES if case.group == group]
            wrong = {case.name: faults(case, channel, by_case.get((channel, group, case.name))) for case in of_group}
            wrong = {name: why for name, why in wrong.items() if why}
            verdict.holds(f"{channel}: {group}", len(of_group) - len(wrong), len(of_group))
            for name, why in wrong.items():
                verdict.report(f"{channel}: {group}: {name}", "; ".join(why))
        one = {r["row"]: r for r in rows if r.get("channel") == channel and r["row"] != "case"}
        idle, ended, decoding = one.get("idle", {}), one.get("half close", {}), one.get("decoding", {})
        verdict.holds(f"{channel}: a connection is good after {idle.get('seconds', '?')} s", int(idle.get("statuses") == [200, 200]), 1)
        record = json.loads(ended.get("record") or "{}")
        verdict.holds(f"{channel}: the end of the client's bytes ends its request", int(record.get("outcome") == "cancelled" and 0 < record.get("usage", {}).get("completion_tokens", 0) < 1000), 1, note=str(record.get("outcome")))
        times = decoding.get("times_s")
        if not times:
            verdict.missing(f"{channel}: decoding", "no row")
            continue
        verdict.at_most(f"{channel}: p99 of others' answers while bodies are decoded", percentile(times, 0.99) * 1e3, ANSWER_MS, " ms")
        verdict.at_most(f"{channel}: memory that decoding adds", decoding["grew_mib"], GREW_MIB, " MiB")
    suites = {r["suite"]: r["taken"] for r in rows if r["row"] == "suite"}
    verdict.holds("tls: suites with CBC are refused", sum(suites.get(s) is False for s in OLD_SUITES), len(OLD_SUITES))
    verdict.holds("tls: suites with authenticated encryption are taken", sum(suites.get(s) is True for s in NEW_SUITES), len(NEW_SUITES))
    verdict.finish()


main()
