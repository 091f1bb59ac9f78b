#!/usr/bin/env python3
"""record_data.py FOLDER: records the data that the program of the current commit writes. Build it first.

The tests of later versions start from it (test_versions.py). Its keys are used only by tests.
"""
import argparse
import json
import os
import pathlib
import signal
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent))
from bench.lib import cloud, sse  # noqa: E402
from tests.operations import load, recorded  # noqa: E402


def record(ours):
    keys = {}
    for team in ("research", "support"):
        ours.admin("/teams", {"name": team})
        for name in ("one", "two"):
            keys[f"{team} {name}"] = ours.admin("/keys", {"team": team, "name": name})
    revoked = ours.admin("/keys", {"team": "support", "name": "revoked"})
    ours.admin(f"/keys/{revoked['id']}", method="DELETE")
    secrets = [k["secret"] for k in keys.values()]
    ids = [sse.call(ours.port, "/v1/chat/completions", body=load.body(5 + i), key=secrets[i % 4]).request_id
           for i in range(12)]
    with load.held_open(ours, secrets) as open_ids:
        expected = {"operator": ours.operator_key(), "secrets": secrets, "revoked": revoked["secret"],
                    "teams": sorted(t["name"] for t in ours.admin("/teams")["data"]), "usage": load.usage(ours),
                    "ended": [load.facts(ours, i) for i in ids], "open": [load.facts(ours, i) for i in open_ids]}
        for pid in (ours.process.pid, *ours.children("gateway"), *ours.children("engine")):
            os.kill(pid, signal.SIGKILL)
        ours.process.wait()
    return expected


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    options = parser.parse_args()
    with cloud.Cloud({load.MODEL: cloud.model_path(load.MODEL)}, load.FAKE) as ours:
        expected = record(ours)
        recorded.write(options.folder, ours.data)
    (options.folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
