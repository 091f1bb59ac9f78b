"""The commands of the documentation: every fenced `sh` block of a page, with the kinds in its info string.

    sh            needs nothing special              sh terminal   keeps running in its own terminal
    sh host       needs root, a network or systemd   sh python     needs OpenAI's client for Python
    sh example    is not run as it stands            sh node       needs OpenAI's client for Node
"""
import dataclasses
import pathlib
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PORT = "127.0.0.1:8700"  # the address in the pages


@dataclasses.dataclass
class Block:
    page: str
    line: int
    kinds: frozenset
    text: str
    section: str

    def at(self, address):
        """The block's text for a cloud at another address."""
        return self.text.replace(PORT, address)


def pages():
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page):
    found, section, fence = [], "", None
    for number, line in enumerate(pathlib.Path(page).read_text().splitlines(), 1):
        if fence is None and line.startswith("#"):
            section = line.lstrip("# ")
        elif fence is None and (opened := re.match(r"```(\w.*)?$", line)):
            fence = (number, (opened[1] or "").split(), [])
        elif fence is not None and line == "```":
            began, info, lines = fence
            if info[:1] == ["sh"]:
                found.append(Block(pathlib.Path(page).name, began, frozenset(info[1:]), "\n".join(lines) + "\n", section))
            fence = None
        elif fence is not None:
            fence[2].append(line)
    return found


def commands(text):
    """The commands of a block; continued lines (a backslash, a pipe, a here-document) stay together."""
    found, lines, until = [], [], None
    for line in text.splitlines():
        lines.append(line)
        if until is None and (here := re.search(r"<<'?(\w+)'?", line)):
            until = here[1]
            continue
        if until is not None:
            if line != until:
                continue
            until = None
        if line.endswith(("\\", "|")) or not line.strip():
            continue
        found.append("\n".join(lines).strip("\n"))
        lines = []
    return found


class Shell:
    """One bash process that gets its commands from this program."""

    END = "-- done --"

    def __init__(self, argv, **options):
        self.process = subprocess.Popen(argv, text=True, errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, **options)

    def type(self, text):
        """Returns (status, output, seconds); status None: the shell itself has ended. stdin of commands is empty."""
        began = time.monotonic()
        script = "{\n%s\n} </dev/null\ntyped=$?; echo; echo \"%s $typed\"\n" % (text.rstrip("\n"), self.END)
        self.process.stdin.write(script)
        self.process.stdin.flush()
        output = ""
        for line in self.process.stdout:
            if line.startswith(self.END):
                return int(line.split()[-1]), output.removesuffix("\n"), time.monotonic() - began
            output += line
        return None, output, time.monotonic() - began

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
