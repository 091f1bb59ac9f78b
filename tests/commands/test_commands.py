"""The program as people type it: help, mistakes, lists, and what each says to do."""
import json
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

from bench.lib import cloud

COMMANDS = ["up", "status", "model pull", "model import", "model ls", "model show", "model load", "model unload",
            "model rm", "chat", "team create", "team ls", "key create", "key ls", "key rotate", "key revoke", "usage",
            "doctor", "config"]


def penstock(*words, data=None, env=None):
    command = [cloud.PENSTOCK, *words] + (["--data", data] if data else [])
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                          env={**os.environ, **(env or {})})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_shows_an_example(penstock_binary, command):
    done = penstock(*command.split(), "--help")
    assert done.returncode == 0
    assert "Example:\n" in done.stdout
    assert f"penstock {command}" in done.stdout.split("Example:")[1]


@pytest.fixture(scope="module")
def penstock_binary():
    if not cloud.PENSTOCK.exists():
        pytest.fail(f"{cloud.PENSTOCK} is not built")


def test_an_unknown_command_is_a_usage_error(penstock_binary):
    assert penstock("frobnicate").returncode == 2


def test_the_commands_of_a_cloud_that_does_not_run_say_how_to_start_it(penstock_binary, tmp_path):
    (tmp_path / "operator.key").write_text("sk-penstock-x\n")
    port = str(cloud.free_port())
    for command in (["status"], ["team", "ls"], ["key", "ls"], ["usage"], ["chat", "m", "hello"]):
        done = penstock(*command, "--url", f"http://127.0.0.1:{port}", data=tmp_path)
        assert done.returncode == 1
        assert "penstock up" in done.stderr, done.stderr


def test_a_missing_operator_key_is_explained(penstock_binary, tmp_path):
    done = penstock("team", "ls", data=tmp_path)
    assert done.returncode == 1 and "operator.key" in done.stderr and "penstock up" in done.stderr


def test_a_slip_in_a_setting_names_it(penstock_binary, tmp_path):
    done = penstock("config", env={"PENSTOCK_ENGINE_MEMORY": "lots"})
    assert done.returncode == 1 and "PENSTOCK_ENGINE_MEMORY" in done.stderr
    done = penstock("config", "--set", "engine.memroy=1GiB")
    assert done.returncode == 1 and "engine.memory" in done.stderr
    config = tmp_path / "penstock.toml"
    config.write_text("[gateway]\nmax_waiting = 7\n")
    shown = json.loads(penstock("config", "--json", "--config", config).stdout)
    assert shown["gateway.max_waiting"] == {"value": "7", "from": str(config)}


def test_lists_are_tables_and_json(penstock_binary, tmp_path):
    assert "no models yet" in penstock("model", "ls", data=tmp_path).stdout
    assert json.loads(penstock("model", "ls", "--json", data=tmp_path).stdout) == {"data": []}
    known = json.loads(penstock("model", "pull", "--json", data=tmp_path).stdout)["data"]
    demo = next(m for m in known if m["name"] == "smollm2-135m")
    assert demo["pulled_by_us"] and re.fullmatch("[0-9a-f]{64}", demo["sha256"]) and demo["licence"] == "Apache-2.0"
    assert all(m["sha256"] == "" and m["size"] == 0 for m in known if not m["pulled_by_us"])


def test_a_port_in_use_names_its_owner(penstock_binary, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = penstock("up", "--listen", f"127.0.0.1:{port}", data=tmp_path)
    assert done.returncode == 1
    assert f"process {os.getpid()}" in done.stderr and "--listen" in done.stderr


def test_files_that_are_no_models_are_refused_by_name(penstock_binary, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    done = penstock("model", "import", bad, data=tmp_path / "data")
    assert done.returncode == 1 and "bad.gguf" in done.stderr
    assert not list((tmp_path / "data/models").glob("bad*"))


def test_doctor_finds_a_key_that_others_can_read_and_says_what_mends_it(penstock_binary, tmp_path):
    key = tmp_path / "operator.key"
    key.write_text("sk\n")
    key.chmod(0o644)
    done = penstock("doctor", "--json", "--listen", f"127.0.0.1:{cloud.free_port()}", data=tmp_path)
    found = {f["subject"]: f for f in json.loads(done.stdout)["data"]}
    assert done.returncode == 1 and found["key"]["mend"] == f"chmod 600 {key}"


def test_teams_keys_and_usage_go_through_the_commands(live):
    url = ("--url", f"http://127.0.0.1:{live.port}")

    def run(*words):
        done = penstock(*words, *url, data=live.data)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "commands" in run("team", "create", "commands")
    created = json.loads(run("key", "create", "--team", "commands", "--name", "ci", "--expires", "1h", "--json"))
    assert any(t["name"] == "commands" for t in json.loads(run("team", "ls", "--json"))["data"])
    assert created["prefix"] in run("key", "ls", "--team", "commands")
    answer = json.loads(run("chat", "smollm2-135m", "Say hello.", "--max-tokens", "5", "--json", "--key", created["secret"]))
    assert answer["tokens"] >= 1 and answer["first_token_s"] > 0
    story = run("usage", "--request", answer["request"])
    assert "team commands" in story and "ended as" in story
    row = json.loads(run("usage", "--team", "commands", "--json"))["data"][0]
    assert row["requests"] == 1 and row["output_tokens"] == answer["tokens"]
    rotated = json.loads(run("key", "rotate", str(created["id"]), "--json"))
    old = penstock("chat", "smollm2-135m", "hi", *url, "--key", created["secret"], data=live.data)
    assert old.returncode == 1 and old.stderr.strip()
    run("key", "revoke", str(rotated["id"]))
    gone = penstock("chat", "smollm2-135m", "hi", *url, "--key", rotated["secret"], data=live.data)
    assert gone.returncode == 1 and "revoked" in gone.stderr
    assert "smollm2-135m" in run("status") and "ready" in run("model", "ls")


def test_a_wrong_model_name_lists_ours(live):
    done = penstock("chat", "smollm-135m", "hi", "--url", f"http://127.0.0.1:{live.port}", data=live.data)
    assert done.returncode == 1 and "smollm2-135m" in done.stderr


def test_the_operator_key_is_made_once_for_its_owner_alone(penstock_binary, tmp_path):
    def start():
        ours = cloud.Cloud({}, data=tmp_path, settings={"engine.runner": "fake"})
        ours.start(ready_within=0)
        deadline = time.monotonic() + 60
        while not (tmp_path / "operator.key").exists() or "operator" not in subprocess.run(
                [cloud.PENSTOCK, "key", "ls", "--data", tmp_path, "--url", f"http://127.0.0.1:{ours.port}"],
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout:
            assert time.monotonic() < deadline, ours.tail()
            time.sleep(0.1)
        return ours

    first = start()
    first.stop()
    key = (tmp_path / "operator.key").read_text()
    assert stat.S_IMODE((tmp_path / "operator.key").stat().st_mode) == 0o600
    assert (tmp_path / "up.log").read_text().count(key.strip()) == 1
    second = start()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(30) == 0
    assert (tmp_path / "operator.key").read_text() == key
    assert (tmp_path / "up.log").read_text().count(key.strip()) == 1


def test_the_repository_names_no_package_registry():
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    registries = ["pypi" + ".org", "files.python" + "hosted.org", "registry." + "npmjs.org", "crates" + ".io/api"]
    found = [f"{path.relative_to(root)}: {name}" for folder in ("app", "tools", "docs") for path in (root / folder).rglob("*")
             if path.is_file() for name in registries if name in path.read_text(errors="ignore")]
    assert not found
