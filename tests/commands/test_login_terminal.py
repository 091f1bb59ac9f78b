"""`penstock login` at a real terminal: its questions, that it hides the key, and that it restores the terminal."""
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time

import pytest

from bench.lib import cloud

MODEL = "smollm2-135m"


class Terminal:
    """A pseudo-terminal with its own session for one program, like a terminal window."""

    def __init__(self, home, *words):
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PENSTOCK_", "XDG_"))}
        self.home, self.shown = home, ""
        self.ours, self.theirs = pty.openpty()
        self.at_first = termios.tcgetattr(self.theirs)
        # A background process, as tests may be, ignores interrupts, and its children inherit that.
        own = [sys.executable, "-c", "import fcntl, os, signal, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
               "signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"]
        self.process = subprocess.Popen([*own, cloud.PENSTOCK, *map(str, words)], env={**kept, "HOME": str(home)}, cwd=home,
                                        stdin=self.theirs, stdout=self.theirs, stderr=self.theirs, start_new_session=True)
        os.set_blocking(self.ours, False)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)

    def read(self):
        try:
            self.shown += os.read(self.ours, 65536).decode()
        except BlockingIOError:
            time.sleep(0.02)

    def wait_for(self, pattern):
        deadline = time.monotonic() + 60
        while not re.search(pattern, self.shown):
            assert time.monotonic() < deadline, self.shown
            self.read()

    def echoes(self):
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)

    def wait_for_echo_off(self):
        deadline = time.monotonic() + 30
        while self.echoes():
            assert time.monotonic() < deadline, self.shown
            time.sleep(0.02)

    def type(self, text):
        os.write(self.ours, text.encode())

    def end(self):
        """Reads the rest of the output, checks that the terminal is restored, and returns the exit status."""
        deadline = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < deadline, self.shown
            self.read()
        for _ in range(3):
            self.read()
        assert termios.tcgetattr(self.theirs) == self.at_first, "the terminal was not restored"
        return self.process.returncode

    def login_file(self):
        return self.home / ".config/penstock/login.json"


@pytest.fixture(scope="module")
def secured(smollm2):
    """A cloud with a self-signed certificate, and a key for it."""
    from tests.cloud.test_seats import TlsCloud, fingerprint
    with TlsCloud({MODEL: smollm2}, {"engine.runner": "fake", "tls.self_signed": "true"}) as ours:
        ours.run("team", "create", "red")
        yield ours, ours.secret("developer", "red", "ann"), fingerprint(ours)


FINGERPRINT = r"Does `penstock up` or `penstock status` print the same on that machine\? \[y/N\] "
KEY = r"Your key \(sk-penstock-…\): "


def test_the_fingerprint_is_shown_and_the_key_is_not(secured, tmp_path):
    ours, key, fingerprint = secured
    with Terminal(tmp_path, "login", ours.url()) as terminal:
        terminal.wait_for(FINGERPRINT)
        assert fingerprint in terminal.shown and terminal.echoes()
        terminal.type("y\n")
        terminal.wait_for(KEY)
        terminal.wait_for_echo_off()
        terminal.type(key + "\n")
        assert terminal.end() == 0, terminal.shown
        assert "Logged in to" in terminal.shown and "ann (developer of team red)" in terminal.shown
        assert key not in terminal.shown and key[len("sk-penstock-"):] not in terminal.shown
        assert json.loads(terminal.login_file().read_text())["url"] == ours.url()


@pytest.mark.parametrize("answer", ["n\n", "\n", "maybe\n", "Y E S\n", "\x04"])
def test_any_answer_except_yes_refuses(secured, tmp_path, answer):
    ours, _, fingerprint = secured
    with Terminal(tmp_path, "login", ours.url()) as terminal:
        terminal.wait_for(FINGERPRINT)
        terminal.type(answer)
        assert terminal.end() == 1
        assert "add it with --fingerprint" in terminal.shown
        assert not re.search(KEY, terminal.shown) and not terminal.login_file().exists()


def test_with_the_right_fingerprint_there_is_no_question(secured, tmp_path):
    ours, key, fingerprint = secured
    with Terminal(tmp_path, "login", ours.url(), "--fingerprint", fingerprint) as terminal:
        terminal.wait_for_echo_off()
        terminal.type(key + "\n")
        assert terminal.end() == 0, terminal.shown
        assert not re.search(FINGERPRINT, terminal.shown)


@pytest.mark.parametrize("at", ["fingerprint", "key", "half a key"])
def test_ctrl_c_leaves_nothing_behind(secured, tmp_path, at):
    ours, key, _ = secured
    before = ours.run("key", "ls").stdout
    with Terminal(tmp_path, "login", ours.url()) as terminal:
        terminal.wait_for(FINGERPRINT)
        if at != "fingerprint":
            terminal.type("y\n")
            terminal.wait_for(KEY)
            terminal.wait_for_echo_off()
        if at == "half a key":
            terminal.type(key[:20])
        terminal.type("\x03")
        assert terminal.end() == -signal.SIGINT, terminal.shown
        assert key[:20] not in terminal.shown
    assert not list(tmp_path.rglob("login.json*")) and ours.run("key", "ls").stdout == before


@pytest.mark.parametrize("typed", ["\n", "\x04", "sk-penstock-wrong\n"])
def test_without_a_key_or_with_a_wrong_one_login_fails(secured, tmp_path, typed):
    ours, _, fingerprint = secured
    with Terminal(tmp_path, "login", ours.url(), "--fingerprint", fingerprint) as terminal:
        terminal.wait_for_echo_off()
        terminal.type(typed)
        assert terminal.end() == 1
        assert ("not known" if "wrong" in typed else "no key") in terminal.shown
        assert not terminal.login_file().exists()
