"""The state of a cloud when something went wrong: a lost store, a killed backup, a revoked key, names alike."""
import json
import subprocess
import threading
import time

import pytest

from bench.lib import cloud, sse
from tests.operations import load


@pytest.fixture()
def ours(penstock, smollm2):
    with cloud.Cloud({load.MODEL: smollm2}, {**load.FAKE, "engine.runner": "fake?step_ms=20&paced=1"}) as running:
        yield running


def up(data):
    return subprocess.run([cloud.PENSTOCK, "up", "--data", data, "--listen", f"127.0.0.1:{cloud.free_port()}"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)


def test_a_lost_store_is_not_replaced_by_an_empty_cloud(ours):
    backup = ours.data / "backups/monday"
    ours.run("backup", backup)
    partial = ours.data / "backups/tuesday.partial.4000000"
    partial.mkdir()
    assert ours.run("stop").stdout.endswith("stopped\n") and ours.process.wait(20) == 0
    for spoil in (lambda store: store.write_bytes(b""), lambda store: store.unlink()):
        spoil(ours.data / "penstock.db")
        done = up(ours.data)
        assert done.returncode == 1 and "[PS5002]" in done.stdout, done.stdout
        assert f"penstock restore {backup} --data" in done.stdout and f"mv {ours.data}/operator.key" in done.stdout
    (ours.data / "operator.key").rename(ours.data / "operator.key.old")  # as the message says
    ours.start()
    assert ours.admin("/teams")["data"] == [] and not partial.exists() and backup.exists()


def test_revoking_a_key_ends_its_stream_and_rotating_it_does_not(ours):
    key = ours.key("red")
    known = ours.admin("/keys")["data"]
    old = next(k for k in known if k["team"] == "red")["id"]
    body = {"model": load.MODEL, "messages": [{"role": "user", "content": "x"}], "max_tokens": 200, "ignore_eos": True, "stream": True}
    answers = []

    def stream(secret):
        answers.append(sse.call(ours.port, "/v1/chat/completions", body=body, key=secret))

    def running():
        return sse.call(ours.port, "/v1/live", key=ours.operator_key()).json()["pool"]["running"]

    def change_during_a_stream(secret, change):
        reader = threading.Thread(target=stream, args=(secret,))
        reader.start()
        deadline = time.monotonic() + 20
        while running() == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        changed = change()
        reader.join()
        return changed

    renewed = change_during_a_stream(key, lambda: ours.admin(f"/keys/{old}/rotate", {"overlap": 0}))
    assert answers[0].done and answers[0].finish_reason() == "length"
    change_during_a_stream(renewed["secret"], lambda: ours.admin(f"/keys/{renewed['id']}", method="DELETE"))
    assert not answers[1].done and "was revoked" in answers[1].error(), answers[1]
    assert sse.call(ours.port, f"/admin/v1/keys/{old}/rotate", body={}, key=ours.operator_key()).status == 409  # it has expired


def test_names_are_one_however_they_are_written(ours):
    ours.admin("/teams", {"name": "Caf\u00e9"})
    for name in ("CAF\u00c9", "cafe\u0301"):
        assert sse.call(ours.port, "/admin/v1/teams", body={"name": name}, key=ours.operator_key()).status == 409
    for name in ("a\u202eb", "a\u200bb", "a\u0007b"):
        answer = sse.call(ours.port, "/admin/v1/teams", body={"name": name}, key=ours.operator_key())
        assert answer.status == 400 and json.loads(answer.body)["error"]["message"].isprintable()
    key = ours.admin("/keys", {"team": "cafe\u0301", "name": "ci"})
    for wrong in (key["prefix"] + "x" * 34, key["prefix"][:-1], key["secret"][:-1] + "_"):
        assert sse.call(ours.port, f"/admin/v1/keys/{wrong}", method="DELETE", key=ours.operator_key()).status == 404
    assert sse.call(ours.port, f"/admin/v1/keys/{key['prefix']}", method="DELETE", key=ours.operator_key()).status == 200
