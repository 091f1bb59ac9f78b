"""This version with data of earlier versions, and with data of a later one."""
import sqlite3
import subprocess

import pytest

from bench.lib import cloud, sse
from tests.operations import load, recorded


def started(data):
    ours = cloud.Cloud({}, load.FAKE, data=data)
    ours.start(ready_within=0)
    ours.wait_alive()
    return ours


def check(ours, expected):
    """Usage and keys are unchanged; open requests have ended with what their clients had received."""
    assert sorted(t["name"] for t in ours.admin("/teams")["data"]) == expected["teams"]
    for secret in expected["secrets"]:
        assert sse.call(ours.port, "/v1/models", key=secret).status == 200
    assert sse.call(ours.port, "/v1/models", key=expected["revoked"]).status == 401
    assert [load.facts(ours, record["id"]) for record in expected["ended"]] == expected["ended"]
    for record in expected["open"]:
        assert load.facts(ours, record["id"]) == {**record, "outcome": "gateway_restarted"}
    wanted = {row: list(values) for row, values in expected["usage"].items()}
    for record in expected["open"]:
        row = wanted[f"{record['team']} {record['model']}"]
        row[0] += 1
        row[1] += record["usage"]["prompt_tokens"]
        row[2] += record["usage"]["completion_tokens"]
    assert load.usage(ours) == wanted


@pytest.mark.parametrize("recording", sorted(p.name for p in recorded.HERE.glob("data_v*")))
def test_an_upgrade_keeps_usage_and_keys_and_a_backup_of_the_old_state(penstock, tmp_path, recording):
    expected = recorded.build(recording, tmp_path / "data")
    ours = started(tmp_path / "data")
    try:
        check(ours, expected)
        assert "upgraded from version" in (tmp_path / "data/up.log").read_text()
    finally:
        ours.stop()
    backups = list((tmp_path / "data/backups").glob("before-v*"))
    assert len(backups) == 1
    done = subprocess.run([penstock, "restore", backups[0], "--data", tmp_path / "before"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    store = sqlite3.connect(tmp_path / "before/penstock.db")
    assert f"data_v{store.execute('PRAGMA user_version').fetchone()[0]}" == recording
    store.close()
    again = started(tmp_path / "before")  # back to the old state, and upgraded again
    try:
        check(again, expected)
    finally:
        again.stop()


def test_data_of_a_later_version_is_refused_with_the_way_back(penstock, tmp_path):
    recorded.build("data_v1", tmp_path / "data")
    started(tmp_path / "data").stop()
    store = sqlite3.connect(tmp_path / "data/penstock.db")
    store.executescript("PRAGMA user_version=99; INSERT INTO upgrades VALUES(99, '9.9.9', 1);")
    store.close()
    done = subprocess.run([penstock, "up", "--data", tmp_path / "data", "--listen", f"127.0.0.1:{cloud.free_port()}"],
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    assert done.returncode == 1
    assert "Penstock 9.9.9" in done.stdout and "99" in done.stdout
    backup = done.stdout.split("penstock restore ")[1].split(" --data")[0]
    back = subprocess.run([penstock, "restore", backup, "--data", tmp_path / "back"], stdout=subprocess.PIPE)
    assert back.returncode == 0
