"""A backup under load, restored to another directory: the same teams, keys and usage."""
import json
import os
import stat
import subprocess

import pytest

from bench.lib import cloud, sse
from tests.operations import load


def restored(ours, backup, where):
    done = subprocess.run([cloud.PENSTOCK, "restore", backup, "--data", where], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    assert f"penstock up --data {where}" in done.stdout
    other = cloud.Cloud({}, load.FAKE, data=where)
    other.start(ready_within=0)
    other.wait_alive()
    return other


@pytest.fixture(scope="module")
def ours(penstock, smollm2):
    with cloud.Cloud({load.MODEL: smollm2}, load.FAKE) as running:
        running.keys = [running.key(team) for team in ("research", "support")]
        yield running


def test_a_backup_under_load_restores_with_the_same_usage_and_keys(ours, tmp_path):
    with load.Load(ours, ours.keys * 2) as under:
        first = ours.run("backup", tmp_path / "first")
        with load.held_open(ours, ours.keys) as open_ids:
            ours.run("backup", tmp_path / "second")
            usage = load.usage(ours)
            ended = [load.facts(ours, i) for i in under.ids]
            running = [ours.request(i).json() for i in open_ids]
    assert "checked" in first.stdout and "teams     2" in first.stdout
    assert all(r["state"] == "running" and r["usage"]["completion_tokens"] > 0 for r in running)
    after = load.usage(ours)

    other = restored(ours, tmp_path / "second", tmp_path / "other")
    try:
        assert [load.facts(other, record["id"]) for record in ended] == ended
        for record in running:
            theirs = other.request(record["id"]).json()
            assert theirs["state"] == "ended" and theirs["outcome"] == "gateway_restarted"
            assert theirs["usage"] == record["usage"]
        # In addition to the two streams, some requests of the load were open.
        known = {i: other.request(i) for i in {*under.ids, *open_ids} - {record["id"] for record in ended}}
        cut = [r.json() for r in known.values() if r.status == 200]
        assert all(r["outcome"] == "gateway_restarted" for r in cut) and len(cut) <= 6
        theirs = load.usage(other)
        assert set(theirs) == set(usage)
        for row, (requests, prompt, output) in usage.items():
            mine = [r["usage"] for r in cut if r["team"] in row]
            assert theirs[row] == [requests + len(mine), prompt + sum(u["prompt_tokens"] for u in mine),
                                   output + sum(u["completion_tokens"] for u in mine)]
        for key in ours.keys:
            assert sse.call(other.port, "/v1/models", key=key).status == 200
        assert sse.call(other.port, "/v1/models", key="sk-penstock-none").status == 401
        assert other.operator_key() == ours.operator_key()
    finally:
        other.stop()
    assert load.usage(ours) == after, "the backup does not change the source"


def test_only_its_owner_can_read_a_backup(ours, tmp_path):
    ours.run("backup", tmp_path / "b")
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o700
    for path in (tmp_path / "b").rglob("*"):
        assert path.is_dir() or stat.S_IMODE(os.lstat(path).st_mode) == 0o600, path
    facts = json.loads((tmp_path / "b/manifest.json").read_text())
    assert {f["name"] for f in facts["files"]} >= {"penstock.db", "journal", "operator.key"}
    assert facts["models"][0]["name"] == load.MODEL and not facts["weights"]


def test_restoring_over_a_running_cloud_or_from_a_damaged_backup_is_refused(ours, tmp_path):
    ours.run("backup", tmp_path / "b")
    refused = ours.run("restore", tmp_path / "b", check=False)
    assert refused.returncode == 1 and f"process {ours.process.pid}" in refused.stdout
    with (tmp_path / "b/penstock.db").open("r+b") as store:
        store.seek(5000)
        byte = store.read(1)
        store.seek(5000)
        store.write(bytes([byte[0] ^ 1]))
    damaged = subprocess.run([cloud.PENSTOCK, "restore", tmp_path / "b", "--data", tmp_path / "other"], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert damaged.returncode == 1 and "penstock.db" in damaged.stdout and "damaged" in damaged.stdout
    assert not (tmp_path / "other").exists()


def test_a_stopped_cloud_can_be_backed_up(penstock, tmp_path):
    stopped = cloud.Cloud({}, load.FAKE, data=tmp_path / "data")
    stopped.start(ready_within=0)
    stopped.wait_alive()
    key = stopped.key("red")
    stopped.stop()
    stopped.run("backup", tmp_path / "b", "--models")
    other = restored(stopped, tmp_path / "b", tmp_path / "other")
    try:
        assert sse.call(other.port, "/v1/models", key=key).status == 200
    finally:
        other.stop()
    empty = stopped.run("backup", tmp_path / "c", "--data", tmp_path / "nothing", check=False)
    assert empty.returncode != 0 and not (tmp_path / "nothing").exists()
