"""The judges themselves: a bench with missing or bad rows must not pass."""
import json
import subprocess
import sys

import pytest

from bench.lib import cloud


def judge(tmp_path, name, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run([sys.executable, cloud.ROOT / f"bench/{name}/judge.py", path], text=True, stdout=subprocess.PIPE)
    return done.returncode, done.stdout.strip().splitlines()[-1]


EMPTY = {"answers": [{"part": "plan"}], "clients": [{"client": "none", "check": "x", "ok": True}],
         "console": [{"part": "picture", "name": "one.png", "bytes": 1}],
         "crash": [{"row": "plan", "kills": 50, "seed": 1, "model": "m"}],
         "http": [{"row": "plan", "cpu": "some", "cases": 150}],
         "mixed": [{"row": "plan", "rounds": 1, "model": "m", "seed": 1, "cpu": "some"}],
         "neighbours": [{"row": "plan", "cpu": "some", "load": 0.0, "requests": 1000, "step_ms": 20}],
         "runners": [{"part": "machine", "cpu": "some", "load": "0", "parts": ["claims"]}],
         "serve": [{"part": "machine", "cpu": "some", "load": "0", "parts": ["engine", "server", "gateway"]}]}


@pytest.mark.parametrize("name", EMPTY)
def test_a_bench_without_rows_is_short_and_names_one(tmp_path, name):
    status, last = judge(tmp_path, name, EMPTY[name])
    assert status == 1
    assert last.startswith(f"{name}: 0.00 of its bar at ") and last.endswith("(needs 1.00): short")


def test_one_failed_check_makes_clients_short(tmp_path):
    rows = [{"client": c, "check": f"c{i}", "ok": True, "runner": "native", "kernel": "avx2"}
            for c in ("openai-python", "openai-node", "ai-sdk") for i in range(30)]
    assert judge(tmp_path, "clients", rows)[0] == 0
    assert judge(tmp_path, "clients", rows + [{**rows[0], "ok": False}])[0] == 1


def console_rows(**changed):
    claim = {"part": "walk", "ok": True, "detail": "", "model": "m", "runner": "native", "kernel": "avx2"}
    claims = [{**claim, "seat": seat, "theme": theme, "check": f"axe {i}"}
              for seat in ("operator", "team_lead", "developer", "finance") for theme in ("light", "dark") for i in range(40)]
    load = {"part": "load", "running": 500, "cpu": "some", "load": "0"}
    update = {"part": "busy", "clock": "cpu", "updates": 1, "ms": 1000, "task_ms": 5.0, "script_ms": 1.0, "layout_ms": 1.0,
              "style_ms": 0.1, "rows": 20, "shown": "1 to 20 of 500", **changed}
    return [*claims, {"part": "picture", "name": "one.png", "bytes": 1000}, load, *[update] * 60, load]


@pytest.mark.parametrize("changed, good", [({}, True), ({"task_ms": 8.5}, False), ({"ms": 400}, False), ({"rows": 0}, False)])
def test_console_judges_what_an_update_costs(tmp_path, changed, good):
    assert (judge(tmp_path, "console", console_rows(**changed))[0] == 0) == good


def test_one_failed_claim_makes_console_short(tmp_path):
    rows = console_rows()
    assert judge(tmp_path, "console", [{**rows[0], "ok": False}, *rows[1:]])[0] == 1


def crash_rows(**changed):
    kill = {"row": "kill", "kind": "engine", "at": 10.0, "streaming": [1], "recovered_s": 1.0}
    quiet = {"row": "request", "serial": 2, "id": "r2", "status": 200, "ended": "whole", "done": True, "finish": "length",
             "error": "", "started": 11.5, "stopped": 12.0, "delivered": 7, "last_event": 1, "record_state": "ended",
             "outcome": "length", "billed": 7}
    met = {**quiet, "serial": 1, "id": "r1", "started": 9.0, "stopped": 10.1}
    away = {**quiet, "serial": 3, "id": "r3", "started": 19.0, "stopped": 20.1, "ended": "cut", "done": False, "finish": None,
            "outcome": "cancelled", "billed": 6}
    return [{"row": "plan", "kills": 2, "seed": 1, "model": "m"}, kill,
            {**kill, "kind": "gateway", "at": 20.0, "streaming": [3]}, {**met, **changed}, quiet, away]


@pytest.mark.parametrize("changed, good", [({}, True), ({"billed": 8}, False), ({"billed": 6}, False),
                                           ({"done": False, "finish": None, "error": "the engine died"}, False)])
def test_crash_judges_bills_and_errors_of_each_request(tmp_path, changed, good):
    assert (judge(tmp_path, "crash", crash_rows(**changed))[0] == 0) == good


def mixed_rows(pool=95, ours=1.0, finish="length"):
    rows = [{"row": "plan", "rounds": 1, "model": "m", "seed": 1, "cpu": "some"}]
    rows += [{"row": "alone", "round": 0, "engine": e, "tokens": t, "seconds": 1} for e, t in (("a", 50), ("b", 30), ("c", 20))]
    rows += [{"row": "pool", "round": 0, "tokens": pool, "seconds": 1, "computed": {}}]
    request = {"row": "request", "round": 0, "status": 200, "ended": "whole", "error": "", "finish": "length", "took_s": 3.0}
    rows += [{**request, "policy": p, "first_token_s": s} for p, s in (("round robin", 2.0), ("least connections", 1.5))] * 20
    return rows + [{**request, "policy": "penstock", "first_token_s": ours, "finish": finish}] * 20


@pytest.mark.parametrize("changed, good", [({}, True), ({"pool": 85}, False), ({"ours": 1.6}, False), ({"finish": None}, False)])
def test_mixed_judges_throughput_and_waits(tmp_path, changed, good):
    assert (judge(tmp_path, "mixed", mixed_rows(**changed))[0] == 0) == good


def http_rows(**changed):
    from bench.http import cases

    def answer(status, case=None):
        headers = {name: text for name, text in (case.has if case else ())} | {"strict-transport-security": "max-age=1"}
        body = '{"error":{"message":"did you forget /v1? The path is /v1/chat/completions"}}' if case else ""
        return {"status": status, "headers": headers, "body": body}

    rows = [{"row": "plan", "cpu": "some"}]
    for channel in cases.CHANNELS:
        for case in cases.CASES:
            answers = [answer(case.statuses[0], case)] + ([answer(200)] if case.end == cases.KEPT else [])
            answers = [answers[0], answer(200), answer(200)] if case.statuses == (100,) else answers
            rows.append({"row": "case", "channel": channel, "group": case.group, "name": case.name, "answers": answers, "end": case.end,
                         **changed.get(case.name, {})})
        rows += [{"row": "idle", "channel": channel, "seconds": 65.0, "statuses": [200, 200], **changed.get("idle", {})},
                 {"row": "half close", "channel": channel, "record": '{"outcome":"cancelled","usage":{"completion_tokens":9}}', **changed.get("half close", {})},
                 {"row": "decoding", "channel": channel, "times_s": [0.001] * 200, "grew_mib": 10, **changed.get("decoding", {})}]
    rows += [{"row": "suite", "suite": s, "taken": False, **changed.get("suite", {})} for s in cases.OLD_SUITES]
    return rows + [{"row": "suite", "suite": s, "taken": True} for s in cases.NEW_SUITES]


OK = {"status": 200, "headers": {}, "body": ""}


@pytest.mark.parametrize("changed, good", [
    ({}, True), ({"transfer-encoding: gzip": {"answers": [{**OK, "status": 400}, OK]}}, False),  # a body read as a request
    ({"transfer-encoding: gzip": {"end": "kept"}}, False), ({"none": {"answers": [OK]}}, False), ({"a slash at the end": {"answers": [OK]}}, False),
    ({"cors, by default": {"answers": [{**OK, "headers": {"access-control-allow-origin": "*"}}, OK]}}, False),
    ({"headers of an answer": {"answers": [OK, OK]}}, False), ({"idle": {"statuses": [200]}}, False), ({"half close": {"record": '{"outcome":"length"}'}}, False),
    ({"decoding": {"times_s": [0.2] * 200}}, False), ({"suite": {"taken": True}}, False)])
def test_http_judges_status_connection_and_what_was_read_as_a_request(tmp_path, changed, good):
    assert (judge(tmp_path, "http", http_rows(**changed))[0] == 0) == good
