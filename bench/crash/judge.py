#!/usr/bin/env python3
"""judge.py ROWS: judges the raw rows of the crash bench.

A kill cuts a stream if the stream was delivering at that moment and did not end complete with a finish reason. The
death of an engine must cut no stream: the restarted engine continues the answer where it stopped. delivered: tokens
that the reader got from its socket; billed: what the cloud reports afterwards.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib.rows import read_rows  # noqa: E402
from bench.lib.verdict import Verdict, median  # noqa: E402

RECOVER_S = 5.0


def whole(request):
    return request["status"] == 200 and request["ended"] == "whole" and request["done"] and request["finish"]


def kill_of(request, kills):
    """The last kill during this request, or None."""
    within = [k for k in kills if request["started"] <= k["at"] <= request["stopped"]]
    return within[-1] if within else None


def judge_kills(verdict, kills, requests, due):
    by_serial = {r["serial"]: r for r in requests}
    for kind in ("engine", "gateway"):
        mine = [k for k in kills if k["kind"] == kind]
        cut = [sum(not whole(by_serial[s]) for s in k["streaming"] if s in by_serial) for k in mine]
        times = [k["recovered_s"] for k in mine]
        if not mine or None in times:
            verdict.missing(f"{kind}: answers again", f"never after {times.count(None)} of {len(mine)} kills")
        else:
            verdict.at_most(f"{kind}: slowest answer after a kill", max(times), RECOVER_S, "s",
                            f"median {median(times):.2f} s of {len(times)} kills")
        met = sum(bool(k["streaming"]) for k in mine)
        verdict.holds(f"{kind}: kills during streams", met, len(mine), f"{sum(cut)} streams cut")
    verdict.holds("kills made", len(kills), due)


def judge_requests(verdict, requests, kills):
    after_engine, after_gateway, untouched = [], [], []
    for request in requests:
        kill = kill_of(request, kills)
        where = untouched if kill is None else after_engine if kill["kind"] == "engine" else after_gateway
        where.append(request)

    said = [r for r in after_engine if whole(r)]
    verdict.holds("engine killed: answers that are complete nevertheless", len(said), len(after_engine),
                  "; ".join(sorted({r["error"][:90] for r in after_engine if r["error"]})[:2]))
    # A refused request already got an answer with the reason; it has no record to look up.
    broken = [r for r in after_gateway if not whole(r) and r["status"] == 200]
    known = [r for r in broken if r["record_state"] == "ended" and r["outcome"] and r["billed"] is not None]
    verdict.holds("gateway killed: broken requests with a known outcome and usage", len(known), len(broken),
                  ", ".join(sorted({r["outcome"] for r in known})))
    verdict.report("requests refused while the gateway was down",
                   str(sum(r["ended"] in ("refused", "closed") and not r["id"] for r in requests)))
    # Between kills no request may fail; refusals happen while a gateway is down.
    odd = [r for r in untouched if not whole(r) and not r["error"] and r["ended"] not in ("refused", "closed")]
    verdict.holds("requests without a kill that ended well", len(untouched) - len(odd), len(untouched))


def judge_bills(verdict, requests):
    streams = [r for r in requests if r["id"] and r["billed"] is not None]
    verdict.holds("billed is not more than delivered", sum(r["billed"] <= r["delivered"] for r in streams), len(streams),
                  f"worst {max((r['billed'] - r['delivered'] for r in streams), default=0):+d} tokens")
    verdict.holds("billed is at most one event less than delivered",
                  sum(r["delivered"] - r["billed"] <= r["last_event"] for r in streams), len(streams),
                  f"worst {max((r['delivered'] - r['billed'] for r in streams), default=0)} tokens")
    exact = [r for r in streams if whole(r)]
    verdict.holds("complete streams are billed exactly", sum(r["billed"] == r["delivered"] for r in exact), len(exact))


def main():
    rows = read_rows(sys.argv[1])
    verdict = Verdict("crash")
    plan = rows[0]
    kills = [r for r in rows if r["row"] == "kill" and "at" in r]
    requests = [r for r in rows if r["row"] == "request"]
    for row in rows:
        if row["row"] == "missing":
            verdict.missing("model", row["why"])
    judge_kills(verdict, kills, requests, plan["kills"])
    judge_requests(verdict, requests, kills)
    judge_bills(verdict, requests)
    first = next(iter(requests), {})
    verdict.report("ran", f"seed {plan['seed']}, {plan['model']}, runner {first.get('runner')}, kernel {first.get('kernel')}, "
                   f"{len(requests)} requests")
    verdict.finish()


main()
