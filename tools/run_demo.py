#!/usr/bin/env python3
"""The second half of `./dev run`: gets a model, starts the cloud, and shows two teams using it.

The first run stores the chosen model and each team's key in STATE/demo.json (0600); later runs read them from
there. Everything goes through the program's own commands and its HTTP API.
"""
import argparse
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
PREFERRED, FALLBACK = "qwen2.5-coder-0.5b", "smollm2-135m"
TEAMS = {
    "research": "In two sentences: why is the sky blue?",
    "support": "Write one friendly sentence that thanks a customer for waiting.",
}


TERMINAL = sys.stderr.isatty()


def say(text=""):
    print(text, file=sys.stderr, flush=True)


def phase(number, what):
    say(f"\033[1m[{number}/5] {what}\033[0m" if TERMINAL else f"[{number}/5] {what}")


class Demo:
    def __init__(self, options):
        self.penstock = str(pathlib.Path(options.penstock).resolve())
        self.state = pathlib.Path(options.data).resolve()
        self.url = f"http://{options.listen}"
        self.listen = options.listen
        self.file = self.state / "demo.json"
        self.known = json.loads(self.file.read_text()) if self.file.exists() else {}

    def remember(self, **what):
        self.known.update(what)
        scratch = self.file.with_suffix(".new")
        scratch.unlink(missing_ok=True)
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(self.known, out, indent=2)
        scratch.replace(self.file)

    def command(self, *words, capture=True):
        base = [self.penstock, *words, "--data", str(self.state), "--url", self.url]
        return subprocess.run(base, stdout=subprocess.PIPE if capture else None, text=True, check=False)

    def asked(self, *words):
        done = self.command(*words, "--json")
        if done.returncode != 0:
            sys.exit(1)  # the command has printed the reason
        return json.loads(done.stdout)

    # ---- phase 3: a model --------------------------------------------------------------------------

    def get_model(self):
        installed = {m["name"] for m in self.asked("model", "ls")["data"]}
        model = self.known.get("model")
        if model in installed:
            say(f"  {model} (chosen on the first run)")
            return model
        for model in (PREFERRED, FALLBACK):
            if model in installed or self.command("model", "pull", model, "--pull-connect-timeout", "4s",
                                                  capture=False).returncode == 0:
                self.remember(model=model)
                if model == FALLBACK:
                    say(f"  {model} is a demo model: it shows that everything works, not what a good model can do")
                return model
            if model == PREFERRED:
                say(f"  {model} cannot be downloaded here; using the demo model instead:")
        sys.exit("no model could be downloaded; `penstock model import FILE` installs a file that you have")

    # ---- phase 4: the cloud ------------------------------------------------------------------------

    def start(self):
        began = time.monotonic()
        cloud = subprocess.Popen([self.penstock, "up", "--data", str(self.state), "--listen", self.listen])
        while not self.ready():
            if cloud.poll() is not None:
                sys.exit(f"the cloud ended with status {cloud.returncode}")
            if time.monotonic() - began > 600:
                cloud.terminate()
                sys.exit(f"the cloud was not ready after 10 minutes; see {self.state}/logs")
            time.sleep(0.1)
        return cloud

    def ready(self):
        try:
            connection = self.connect(2)
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def connect(self, timeout):
        parts = urllib.parse.urlsplit(self.url)
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)

    # ---- phase 5: two teams ------------------------------------------------------------------------

    def team_keys(self):
        keys = self.known.get("keys", {})
        existing = {t["name"] for t in self.asked("team", "ls")["data"]}
        for team in TEAMS:
            if team in existing and team in keys:
                continue
            if team not in existing:
                self.asked("team", "create", team)
            keys[team] = self.asked("key", "create", "--team", team, "--name", "demo")["secret"]
            self.remember(keys=keys)
            say(f"  created team '{team}' and its key (stored in {self.file}, which only you can read)")
        return keys

    def ask(self, team, key, model, prompt):
        say(f"\n  {team} asks: {prompt}")
        body = json.dumps({"model": model, "max_tokens": 96, "stream": True, "temperature": 0,
                           "stream_options": {"include_usage": True},
                           "messages": [{"role": "user", "content": prompt}]})
        connection = self.connect(300)
        began = time.monotonic()
        connection.request("POST", "/v1/chat/completions", body,
                           {"Authorization": f"Bearer {key}", "Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(f"  HTTP {answer.status}: {answer.read().decode(errors='replace')}")
        first, usage, column = None, {}, 0
        sys.stderr.write("  ")
        for line in answer:
            if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                continue
            chunk = json.loads(line[6:])
            if "error" in chunk:
                sys.exit(f"\n  the answer ended with an error: {chunk['error'].get('message')}")
            usage = chunk.get("usage") or usage
            for choice in chunk.get("choices", []):
                if text := choice["delta"].get("content"):
                    first = first or time.monotonic()
                    column = show_wrapped(text, column)
        ended = time.monotonic()
        tokens = usage.get("completion_tokens", 0)
        rate = (tokens - 1) / (ended - first) if first and tokens > 1 and ended > first else 0.0
        say(f"\n  -> first token after {(first or ended) - began:.2f} s, {rate:.1f} tokens/s "
            f"({usage.get('prompt_tokens', 0)} prompt tokens, {tokens} output tokens)")

    def name_the_best(self, model):
        """Names the best model of the catalogue that this machine could run, if it is not the demo's model."""
        catalogue = self.asked("model", "ls", "--catalogue")
        best = next((m for m in catalogue["data"] if m["name"] == catalogue["best"]), None)
        if best and best["name"] != model:
            say(f"  This machine could run {best['name']}: about {best['likely_size'] / 1e9:.1f} GB, "
                f"about {best['fit']['tokens_per_second']:.0f} tokens/s for one user. To install it:\n\n"
                f"  {self.penstock} model pull {best['name']} --data {self.state}\n")

    def show_next_steps(self, keys, model):
        key = keys[next(iter(TEAMS))]
        say(f"\n  The cloud serves OpenAI's API at {self.url}/v1. Try:\n")
        say(f"  curl {self.url}/v1/chat/completions -H 'Authorization: Bearer {key}' \\\n"
            f"    -H 'Content-Type: application/json' \\\n"
            f"    -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}]}}'\n")


def show_wrapped(text, column):
    """Prints a piece of an answer as it arrives, indented and wrapped at about 100 columns."""
    for character in text:
        if character == "\n" or (character == " " and column > 90):
            sys.stderr.write("\n  ")
            column = 0
        else:
            sys.stderr.write(character)
            column += 1
    sys.stderr.flush()
    return column


def run(demo, once):
    began = time.monotonic()
    demo.state.mkdir(parents=True, exist_ok=True)
    (demo.state / ".gitignore").write_text("*\n")
    phase(3, "model")
    model = demo.get_model()
    phase(4, "cloud")
    cloud = demo.start()
    try:
        phase(5, "two teams use it")
        keys = demo.team_keys()
        for team, prompt in TEAMS.items():
            demo.ask(team, keys[team], model, prompt)
        say("\n  What each team has used:")
        sys.stdout.flush()
        for line in demo.command("usage").stdout.splitlines():
            say("  " + line)
        demo.show_next_steps(keys, model)
        demo.name_the_best(model)
        say(f"  model, cloud and answers: {time.monotonic() - began:.1f} s")
        if once:
            cloud.send_signal(signal.SIGTERM)
        else:
            say("  The cloud runs until you press Ctrl-C.")
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # the cloud gets the signal too, and stops by itself
        return cloud.wait()
    finally:
        if cloud.poll() is None:
            cloud.terminate()
            cloud.wait()


def main():
    parser = argparse.ArgumentParser(prog="./dev run", description="From a fresh clone to a running cloud.")
    parser.add_argument("--once", action="store_true", help="show it, then stop with status 0")
    parser.add_argument("--listen", default=os.environ.get("PENSTOCK_LISTEN", "127.0.0.1:8700"), help="HOST:PORT")
    parser.add_argument("--data", default=str(ROOT / ".penstock"), help="the directory that holds all state")
    parser.add_argument("--penstock", default=str(ROOT / "build/release/app/penstock"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    try:
        sys.exit(run(Demo(options), options.once))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
