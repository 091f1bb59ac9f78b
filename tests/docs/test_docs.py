"""Runs the documentation: every command of every page, in order, as a new user would.

Blocks that need root, a network or systemd (`sh host`) are run by `./dev bench newcomer` in a bare Debian.
"""
import functools
import http.server
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from bench.lib import cloud, docs, sse

FETCHED = cloud.MODELS / "clients"
PAGES = [page for page in docs.pages() if any("host" not in b.kinds and "example" not in b.kinds for b in docs.blocks(page))]
KINDS = {"host", "terminal", "python", "node", "example"}


class Reader:
    """A user with an empty home directory who types a page's commands into one shell."""

    def __init__(self, home, mirror):
        self.home, self.port = home, cloud.free_port()
        bin_folder = home / "bin"
        bin_folder.mkdir()
        (bin_folder / "penstock").symlink_to(cloud.PENSTOCK)
        self.env = {"HOME": str(home), "PATH": f"{bin_folder}:/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8",
                    "PENSTOCK_LISTEN": f"127.0.0.1:{self.port}", "PENSTOCK_PULL_MIRRORS": mirror}
        self.clouds = []
        self.shell = docs.Shell(["bash", "--noprofile", "--norc", "-o", "pipefail"], cwd=home, env=self.env)

    def type(self, block):
        for command in docs.commands(block.at(f"127.0.0.1:{self.port}")):
            status, output, _ = self.shell.type(command)
            assert status == 0, f"{block.page}:{block.line}: status {status}\n$ {command}\n{output}"
            assert '{"error"' not in output, f"{block.page}:{block.line}: refused\n$ {command}\n{output}"

    def start(self, block):
        words = block.at(f"127.0.0.1:{self.port}").split()
        log = (self.home / "terminal.log").open("a")
        self.clouds.append(subprocess.Popen(words, cwd=self.home, env=self.env, stdout=log, stderr=log))
        deadline = time.monotonic() + 60
        while sse.call(self.port, "/readyz", timeout=5).status != 200:
            assert self.clouds[-1].poll() is None and time.monotonic() < deadline, (self.home / "terminal.log").read_text()
            time.sleep(0.05)

    def stop(self):
        """Stops the clouds as Ctrl-C does; returns their exit statuses."""
        statuses = []
        for process in self.clouds:
            process.send_signal(signal.SIGINT)
            statuses.append(process.wait(60))
        self.clouds = []
        return statuses

    def leave(self):
        for process in self.clouds:
            process.kill()
            process.wait()
        self.shell.close()


@pytest.fixture(scope="module")
def mirror(smollm2, tmp_path_factory):
    """Serves the model from this machine over HTTP, so that the pages' `model pull` needs no network."""
    folder = tmp_path_factory.mktemp("mirror")
    (folder / "smollm2-135m.gguf").symlink_to(smollm2)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture
def reader(tmp_path, mirror):
    user = Reader(tmp_path, mirror)
    yield user
    user.leave()


def prepare(reader, page):
    """Prepares what a page assumes: a model, and the clients that it installs in a `sh host` block."""
    if page.name not in ("tutorial.md", "README.md", "install.md"):
        subprocess.run(["penstock", "model", "pull", "smollm2-135m"], env=reader.env, check=True, cwd=reader.home,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = reader.home / "clients/bin"
    client.mkdir(parents=True)
    (client / "python").write_text(f"#!/bin/sh\nexec {sys.executable} \"$@\"\n")
    (client / "python").chmod(0o755)
    if (FETCHED / "node_modules").exists():
        (reader.home / "node_modules").symlink_to(FETCHED / "node_modules")


def runnable(block):
    if "node" in block.kinds and "host" not in block.kinds:
        return shutil.which("node") is not None and (FETCHED / "node_modules").exists()
    return not block.kinds & {"host", "example"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_page_works(penstock, reader, page):
    prepare(reader, page)
    for block in docs.blocks(page):
        if not runnable(block):
            continue
        reader.start(block) if "terminal" in block.kinds else reader.type(block)
    assert set(reader.stop()) <= {0}


def test_blocks_say_how_they_are_run():
    for page in docs.pages():
        for block in docs.blocks(page):
            assert block.kinds <= KINDS, f"{page.name}:{block.line}"


def test_every_command_on_a_page_is_in_a_block_that_is_run():
    """A fence without `sh` must not contain commands, because nothing would run them."""
    for page in docs.pages():
        for info, fence in re.findall(r"^```(.*?)\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
            command = re.search(r"^(sudo |penstock |\./dev |curl )", fence, re.MULTILINE)
            assert info.startswith("sh") or not command, f"{page.name}: {fence}"


def test_links_lead_somewhere():
    for page in docs.pages():
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith(("http:", "https:")):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_files_that_contributing_names_exist():
    """Its walk through the code must not name files that were moved."""
    page = (docs.ROOT / "docs/contributing.md").read_text()
    for name in re.findall(r"`([\w.-]+/[\w./-]*)`", page):
        if not name.startswith("build/") and "NAME" not in name:
            assert (docs.ROOT / name).exists(), name


# ---- the command reference ---------------------------------------------------------------------------


def test_the_command_reference_is_what_the_program_says(penstock):
    done = subprocess.run([penstock, "--config", "/dev/null", "man", "--markdown"], stdout=subprocess.PIPE, text=True)
    assert (docs.ROOT / "docs/commands.md").read_text() == done.stdout, \
        "make it again: build/release/app/penstock man --markdown > docs/commands.md"


# Examples that cannot be run here unchanged, and what runs instead (None: nothing).
STAND_INS = {
    "penstock up": None,  # the cloud is already running
    "penstock stop": None,  # later commands need it
    "penstock engine drain cpu0": "penstock engine drain cpu0 --force",  # it is the only one
    "penstock up --listen 0.0.0.0:8700 --tls-self-signed --data /srv/penstock --engine-memory 48GiB": None,
    "penstock login https://cloud.example:8700": None,  # needs another machine: tests/cloud/test_seats.py
    "penstock logout --revoke": 'env -u XDG_CONFIG_HOME HOME="$PWD" penstock logout --revoke',  # does not touch the user's own login
    "penstock model pull smollm2-135m": None,  # this cloud already serves it
    "penstock chat smollm2-135m": "penstock chat smollm2-135m < /dev/null",
    "penstock model pull hf:Qwen/Qwen3-0.6B-GGUF/Qwen3-0.6B-Q8_0.gguf --name qwen3": None,  # needs the hub
    "penstock usage --request req_0123456789": 'penstock usage --request "$REQUEST"',
    "penstock key rotate 3": 'penstock key rotate "$ID"',
    "penstock key rotate 3 --overlap 0": 'penstock key rotate "$ID" --overlap 0',
    "penstock key revoke 3": 'penstock key revoke "$ID"',
    "penstock doctor": "penstock doctor",
    "penstock model rm smollm2-135m": "penstock model rm smollm2-135m --yes",  # the cloud serves it
}


def test_every_example_of_the_commands_works(penstock, smollm2, tmp_path):
    """Runs the examples of --help, in the order of the reference, in one cloud."""
    examples = [line for block in docs.blocks(docs.ROOT / "docs/commands.md") for line in block.text.splitlines()]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/penstock").symlink_to(penstock)
    (tmp_path / "my-model.gguf").symlink_to(smollm2)
    with cloud.Cloud({"smollm2-135m": smollm2}, data=tmp_path / "data") as ours:
        env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PENSTOCK_DATA": str(ours.data),
               "PENSTOCK_LISTEN": f"127.0.0.1:{ours.port}"}

        def run(line):
            done = subprocess.run(["bash", "-c", line], env=env, cwd=tmp_path, text=True, timeout=120,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            assert done.returncode == 0, f"{line}\n{done.stdout}"
            return done.stdout

        run("penstock team create research-of-others")
        run("penstock team create support")
        created = run("penstock key create --team research-of-others --json")
        env["ID"] = re.search(r'"id": (\d+)', created)[1]
        env["REQUEST"] = re.search(r"req_\w+", run("penstock chat smollm2-135m hi --max-tokens 2 --json"))[0]
        removed = "penstock model rm smollm2-135m"
        ran = [line for line in dict.fromkeys(examples) if line != removed] + [removed]
        for line in ran:
            if (line := STAND_INS.get(line, line)) is not None:
                run(line)
        assert len(ran) > 20


# ---- man pages and completions -----------------------------------------------------------------------


def test_the_man_pages_are_clean(penstock, tmp_path):
    done = subprocess.run([penstock, "--config", "/dev/null", "man", "--folder", tmp_path])
    assert done.returncode == 0
    pages = sorted(tmp_path.iterdir())
    assert {"penstock.1", "penstock-model-pull.1", "penstock.toml.5"} <= {page.name for page in pages}
    if not shutil.which("man"):
        pytest.skip("no man here")
    for page in pages:
        done = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", page], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"})
        assert done.returncode == 0 and done.stderr == "", f"{page.name}: {done.stderr}"
        assert "SYNOPSIS" in done.stdout or page.suffix == ".5"


def completed_in_bash(penstock, words, env):
    """The completions that bash offers after these words; the last word is incomplete."""
    script = f"""
. <({penstock} completion bash)
compopt() {{ :; }}
COMP_WORDS=({' '.join(f"'{w}'" for w in words)}); COMP_CWORD={len(words) - 1}
_penstock
printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(["bash", "-c", script], text=True, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_flags_and_names(live):
    env = {**os.environ, "PENSTOCK_DATA": str(live.data), "PENSTOCK_LISTEN": f"127.0.0.1:{live.port}"}
    live.key("completers")
    penstock = str(cloud.PENSTOCK)

    def offered(*words):
        return completed_in_bash(cloud.PENSTOCK, [penstock, *words], env)

    assert {"up", "model", "usage"} <= set(offered("")) and "gateway" not in offered("")
    assert offered("model", "pu") == ["pull"]
    assert offered("--data", "/tmp", "model", "pull", "--sha") == ["--sha256"]
    assert offered("chat", "") == offered("usage", "--model", "") == ["smollm2-135m"]
    assert "completers" in offered("key", "ls", "--team", "")
    assert "qwen3-4b" in offered("model", "pull", "qwen3")
    assert offered("--data", "/us") == ["/usr"]
    assert "--sha256" in offered("model", "pull", "-") and "--kv" in offered("model", "import", "-")


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_other_shells_read_their_completions(penstock, shell, tmp_path):
    script = subprocess.run([penstock, "completion", shell], stdout=subprocess.PIPE, check=True).stdout
    if not shutil.which(shell):
        pytest.skip(f"no {shell} here")
    (tmp_path / "script").write_bytes(script)
    done = subprocess.run([shell, "-n", tmp_path / "script"], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0 and done.stderr == ""
    if shell == "fish":
        done = subprocess.run(["fish", "-c", f"source {tmp_path}/script; complete -C 'penstock model pu'"], text=True,
                              env={**os.environ, "PATH": f"{penstock.parent}:{os.environ['PATH']}"},
                              stdout=subprocess.PIPE)
        assert done.stdout.startswith("pull\t")
