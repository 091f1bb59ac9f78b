"""The program on the command line: help, errors, lists, and the fixes that errors name."""
import fcntl
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import termios
import threading
import time

import pytest

from bench.lib import cloud

COMMANDS = ["up", "stop", "version", "help", "login", "logout", "status", "model pull", "model import", "model ls", "model show", "model load", "model unload",
            "model rm", "chat", "team create", "team ls", "team show", "team rename", "team rm", "connect", "man", "completion", "key create", "key ls", "key rotate", "key revoke", "usage",
            "doctor", "config", "errors", "log", "top", "backup", "restore"]


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


@pytest.mark.parametrize("words, said", [
    (["usage", "--by", "week"], "--by must be one of hour, day, not 'week'"),
    (["usage", "--by"], "--by needs"),
    (["team", "set", "x", "--external", "maybe"], "--external must be one of yes, no, not 'maybe'"),
    (["key", "create", "--role", "king"], "--role must be one of developer, team_lead, finance, operator, not 'king'"),
    (["log", "loud"], "level must be one of error, warning, info, debug, trace, not 'loud'"),
    (["log", "info", "--for", "me"], "--for must be one of gateway, engine, all, not 'me'"),
    (["log", "info", "--during", "x"], "--during must be a time such as 500ms, 30s or 10m, not 'x'"),
    (["top", "--interval", "x"], "--interval must be a time such as 500ms, 30s or 10m, not 'x'"),
    (["chat", "m", "--max-tokens", "-1"], "--max-tokens must be a whole number above 0, not '-1'"),
    (["chat", "m", "--max-tokens", "0.5"], "--max-tokens must be a whole number above 0, not '0.5'"),
    (["chat", "m", "--temperature", "hot"], "--temperature must be a number of 0 or more, not 'hot'"),
    (["model", "import", "f", "--kv", "lots"], "--kv must be a size such as 16MiB or 8GiB, not 'lots'"),
    (["completion", "ksh"], "shell must be one of bash, zsh, fish, not 'ksh'"),
    (["usage", "--sinc", "24h"], "usage has no option '--sinc' (did you mean '--since'?)"),
    (["usage", "a"], "usage: unexpected argument 'a'"),
    (["usag"], "penstock has no command 'usag' (did you mean 'usage'?)"),
    (["serve"], "penstock has no command 'serve' (did you mean 'penstock up'?)"),
    (["list"], "penstock has no command 'list' (did you mean 'penstock model ls'?)"),
    (["run", "m"], "penstock has no command 'run' (did you mean 'penstock chat MODEL'?)"),
    (["ps"], "penstock has no command 'ps' (did you mean 'penstock status'?)"),
    (["team", "list"], "team has no command 'list' (did you mean 'ls'?)"),
    (["key", "remove"], "key has no command 'remove' (did you mean 'revoke'?)"),
    (["key", "create", "--expires", "90"], "--expires must be a time with its unit, such as 90d or 12h, or a day such as 2026-12-31, not '90'"),
    (["key", "create", "--expires", "0d"], "--expires must be a time with its unit"),
    (["key", "create", "--expires", "2020-01-01"], "--expires must be in the future, not '2020-01-01'"),
    (["key", "create", "--expires", "2031-02-30"], "--expires must be a day of the calendar, not '2031-02-30'"),
    (["help", "nothing"], "there is no command 'nothing'"),
    (["model", "pul"], "model has no command 'pul' (did you mean 'pull'?)"),
    (["model"], "missing command; commands are: pull, import, ls,"),
    (["chat"], "chat: model is required"),
    (["up", "--engine-runner", "foo"], "engine.runner must be one of native, ggml, fake, not 'foo'"),
])
def test_an_error_on_the_command_line_is_reported_with_the_allowed_values(penstock_binary, tmp_path, words, said):
    done = penstock(*words, env={"PENSTOCK_DATA": str(tmp_path)})
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("penstock: ") and said in done.stderr, done.stderr
    assert len(done.stderr.splitlines()) <= 2


def test_help_and_version_are_commands_too(penstock_binary):
    assert penstock("version").stdout == penstock("--version").stdout
    assert penstock("help", "model", "pull").stdout == penstock("model", "pull", "--help").stdout
    assert "Quick start" in penstock("help").stdout


def test_commands_without_a_running_cloud_say_how_to_start_it(penstock_binary, tmp_path):
    (tmp_path / "operator.key").write_text("sk-penstock-x\n")
    port = str(cloud.free_port())
    for command in (["status"], ["team", "ls"], ["key", "ls"], ["usage"], ["chat", "m", "hello"]):
        done = penstock(*command, "--url", f"http://127.0.0.1:{port}", data=tmp_path)
        assert done.returncode == 1
        assert "penstock up" in done.stderr and "[PS1006]" in done.stderr, done.stderr


def test_a_missing_operator_key_is_explained(penstock_binary, tmp_path):
    done = penstock("team", "ls", data=tmp_path)
    assert done.returncode == 1 and "operator.key" in done.stderr and "penstock up" in done.stderr


def test_an_error_in_a_setting_names_it(penstock_binary, tmp_path):
    done = penstock("config", env={"PENSTOCK_ENGINE_MEMORY": "lots"})
    assert done.returncode == 2 and "PENSTOCK_ENGINE_MEMORY" in done.stderr
    done = penstock("config", "--set", "engine.memroy=1GiB")
    assert done.returncode == 2 and "engine.memory" in done.stderr
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
    assert f"process {os.getpid()}" in done.stderr and "--listen" in done.stderr and "[PS1001]" in done.stderr


def test_files_that_are_not_models_are_refused_by_name(penstock_binary, tmp_path):
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    done = penstock("model", "import", bad, data=tmp_path / "data")
    assert done.returncode == 1 and "bad.gguf" in done.stderr
    assert not list((tmp_path / "data/models").glob("bad*"))


def test_doctor_finds_a_key_that_others_can_read_and_names_the_fix(penstock_binary, tmp_path):
    key = tmp_path / "operator.key"
    key.write_text("sk\n")
    key.chmod(0o644)
    done = penstock("doctor", "--json", "--listen", f"127.0.0.1:{cloud.free_port()}", data=tmp_path)
    found = {f["subject"]: f for f in json.loads(done.stdout)["data"]}
    assert done.returncode == 1 and found["key"]["fix"] == f"chmod 600 {key}"


def doctor(data, *more):
    done = penstock("doctor", "--json", "--listen", f"127.0.0.1:{cloud.free_port()}", *more, data=data)
    said = json.loads(done.stdout)
    assert done.returncode == (0 if said["good"] else 1)
    return said


def test_doctor_finds_no_problem_in_a_fresh_directory(penstock_binary, tmp_path):
    done = penstock("doctor", "--listen", f"127.0.0.1:{cloud.free_port()}", data=tmp_path / "fresh")
    assert done.returncode == 0 and "No problems found" in done.stdout and "BAD" not in done.stdout
    assert "cores" in done.stdout and "memory reads" in done.stdout and "operator key" in done.stdout
    assert doctor(tmp_path / "fresh", "--quick")["machine"]["read_bytes_per_second"] > 0


def test_the_commands_that_doctor_prints_fix_the_problems(penstock_binary, tmp_path):
    (tmp_path / "models/half").mkdir(parents=True)
    (tmp_path / "operator.key").write_text("sk\n")
    (tmp_path / "operator.key").chmod(0o644)
    tmp_path.chmod(0o777)
    bad = [f for f in doctor(tmp_path)["data"] if f["level"] == "BAD"]
    assert sorted(f["subject"] for f in bad) == ["data", "key", "model"]
    for finding in bad:
        subprocess.run(finding["fix"], shell=True, check=True)
    assert doctor(tmp_path)["good"]


def test_doctor_finds_a_model_whose_bytes_have_changed(penstock_binary, smollm2, tmp_path):
    copy = tmp_path / "mine.gguf"
    shutil.copyfile(smollm2, copy)  # an import may share the file, so the original is not touched
    data = tmp_path / "data"
    assert penstock("model", "import", copy, "--name", "mine", data=data).returncode == 0
    assert doctor(data)["good"]
    with (data / "models/mine/model.gguf").open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)[0]
        file.seek(1_000_000)
        file.write(bytes([byte ^ 1]))
    bad = next(f for f in doctor(data)["data"] if f["level"] == "BAD")
    assert bad["subject"] == "model" and "bytes have changed" in bad["words"]
    assert bad["fix"] == f"penstock model rm mine && penstock model import {copy} --name mine"
    assert doctor(data, "--quick")["good"]


def test_the_catalogue_shows_which_models_fit(penstock_binary, tmp_path):
    def listed(*settings):
        said = json.loads(penstock("model", "ls", "--catalogue", "--json", *settings, data=tmp_path).stdout)
        return said["best"], {m["name"]: m["fit"] for m in said["data"]}

    best, fits = listed()
    assert fits["smollm2-135m"]["fits"] == "yes" and fits["smollm2-135m"]["users"] > 0
    assert fits["smollm2-135m"]["tokens_per_second"] > fits[best]["tokens_per_second"] > 0
    best, fits = listed("--engine-memory", "200MiB")
    assert fits["qwen3-8b"]["fits"] == "no" and fits["smollm2-135m"]["fits"] == "yes" and best == "smollm2-135m"


def test_a_pull_that_does_not_fit_is_refused_with_the_flag_that_forces_it(penstock_binary, tmp_path):
    done = penstock("model", "pull", "smollm2-135m", "--engine-memory", "50MiB", data=tmp_path)
    assert done.returncode == 1 and "does not fit" in done.stderr and "--anyway" in done.stderr
    assert not list((tmp_path / "models").glob("smollm2*"))


class SlowFiles(http.server.BaseHTTPRequestHandler):
    """Serves one file of zeros in about two seconds."""
    BYTES = bytes(4_000_000)

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.BYTES)))
        self.end_headers()
        for start in range(0, len(self.BYTES), 200_000):
            self.wfile.write(self.BYTES[start:start + 200_000])
            time.sleep(0.15)

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.BYTES)))
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def slow_pull(penstock_binary, tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), SlowFiles)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield [str(cloud.PENSTOCK), "model", "pull", f"http://127.0.0.1:{server.server_port}/zeros.gguf", "--sha256",
           hashlib.sha256(SlowFiles.BYTES).hexdigest(), "--data", str(tmp_path)]
    server.shutdown()


def test_progress_is_a_bar_on_a_terminal(slow_pull):
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    process = subprocess.Popen(slow_pull, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 65536)
        except OSError:  # the last process has closed the other end
            break
        if not block:
            break
        shown += block
    process.wait()
    os.close(ours)
    frames = [f for f in shown.decode().split("\r") if "zeros" in f and "%" in f]
    assert len(frames) > 5, shown
    assert re.search(r"zeros +\[#+\.+\] +\d+% .* MB/s .* left", "\n".join(frames)), frames
    assert all(len(f.strip("\n").replace("\x1b[K", "")) < 90 for f in frames)


def test_progress_is_plain_lines_without_a_terminal(slow_pull):
    done = subprocess.run(slow_pull, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert "\r" not in done.stderr and "\x1b" not in done.stderr
    assert re.search(r"^  zeros +\d+%  .* of 4\.0 MB", done.stderr, re.MULTILINE), done.stderr
    assert done.returncode == 1 and "GGUF" in done.stderr  # zeros are not a model


def test_teams_keys_and_usage_work_through_the_commands(live):
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
    trace = run("usage", "--request", answer["request"])
    assert "team commands" in trace and "ended as" in trace
    row = json.loads(run("usage", "--team", "commands", "--json"))["data"][0]
    assert row["requests"] == 1 and row["output_tokens"] == answer["tokens"]
    overlapped = json.loads(run("key", "rotate", str(created["id"]), "--json"))
    for secret in (created["secret"], overlapped["secret"]):  # the default overlap is a day
        assert json.loads(run("status", "--json", "--key", secret))["seat"]["role"] == "developer"
    assert "the old one takes no more requests" in penstock("key", "rotate", str(created["id"]), "--overlap", "0", *url,
                                               data=live.data).stderr
    rotated = json.loads(run("key", "rotate", str(overlapped["id"]), "--overlap", "0", "--json"))
    old = penstock("chat", "smollm2-135m", "hi", *url, "--key", created["secret"], data=live.data)
    assert old.returncode == 1 and old.stderr.strip()
    run("key", "revoke", str(rotated["id"]))
    gone = penstock("chat", "smollm2-135m", "hi", *url, "--key", rotated["secret"], data=live.data)
    assert gone.returncode == 1 and "revoked" in gone.stderr and "[PS4003]" in gone.stderr
    assert "smollm2-135m" in run("status") and "ready" in run("model", "ls")


def test_an_error_about_a_model_name_lists_the_installed_ones(live):
    done = penstock("chat", "smollm-135m", "hi", "--url", f"http://127.0.0.1:{live.port}", data=live.data)
    assert done.returncode == 1 and "smollm2-135m" in done.stderr and "[PS3005]" in done.stderr


def test_an_error_code_is_explained_in_the_terminal(penstock_binary):
    assert "The port is in use" in penstock("errors").stdout
    told = penstock("errors", "PS1001").stdout
    assert "Why:" in told and "What to do:" in told
    assert penstock("errors", "PS0").returncode == 1


@pytest.mark.parametrize("journal", [False, True])
def test_the_operator_key_is_created_and_shown_once_and_never_in_a_journal(penstock_binary, tmp_path, journal):
    def start():
        ours = cloud.Cloud({}, data=tmp_path, settings={"engine.runner": "fake"},
                           env={"JOURNAL_STREAM": "8:1"} if journal else {})
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
    assert "operator.key" in (tmp_path / "up.log").read_text()
    second = start()
    second.process.send_signal(signal.SIGTERM)
    assert second.process.wait(30) == 0
    assert (tmp_path / "operator.key").read_text() == key
    assert (tmp_path / "up.log").read_text().count(key.strip()) == (0 if journal else 1)


def test_a_cloud_that_was_never_ready_stops_immediately(penstock_binary, tmp_path):
    ours = cloud.Cloud({}, data=tmp_path, settings={"engine.runner": "fake"})
    ours.start(ready_within=0)
    deadline = time.monotonic() + 60
    while "not ready yet" not in (tmp_path / "up.log").read_text():
        assert time.monotonic() < deadline, ours.tail()
        time.sleep(0.1)
    ours.process.send_signal(signal.SIGTERM)
    assert ours.process.wait(20) == 0  # not a minute, for which an unanswered request waits


def test_the_repository_names_no_package_registry():
    root = pathlib.Path(__file__).resolve().parent.parent.parent
    registries = ["pypi" + ".org", "files.python" + "hosted.org", "registry." + "npmjs.org", "crates" + ".io/api"]
    found = [f"{path.relative_to(root)}: {name}" for folder in ("app", "tools", "docs") for path in (root / folder).rglob("*")
             if path.is_file() for name in registries if name in path.read_text(errors="ignore")]
    assert not found
