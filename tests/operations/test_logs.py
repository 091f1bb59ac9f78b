"""Logs at the most detailed level: what they contain, and what they must never contain."""
import json
import re
import time

import pytest

from bench.lib import cloud, sse
from tests.operations import load

MARKER = "xylophone-marker-7731"


@pytest.fixture(scope="module")
def ours(penstock, smollm2):
    with cloud.Cloud({load.MODEL: smollm2}, load.FAKE) as running:
        yield running


def logs(ours):
    return {path.name: path.read_text(errors="replace") for path in (ours.data / "logs").glob("*.log")}


def eventually(holds, within=10):
    deadline = time.monotonic() + within
    while not holds():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.1)


def test_no_level_logs_a_prompt_an_answer_or_a_key(ours):
    key = ours.key("secretive")
    assert "trace" in ours.run("log", "trace", "--url", f"http://127.0.0.1:{ours.port}").stdout
    chat = {**load.body(20), "messages": [{"role": "user", "content": f"{MARKER} {MARKER}"}]}
    answer = sse.call(ours.port, "/v1/chat/completions", body=chat, key=key)
    assert answer.text()
    for wrong in ({**chat, "messages": MARKER}, {**chat, "n": MARKER}, {**chat, "messages": [{"role": MARKER}]}):
        assert sse.call(ours.port, "/v1/chat/completions", body=wrong, key=key).status == 400
    sse.call(ours.port, "/v1/completions", body={"model": load.MODEL, "prompt": MARKER, "max_tokens": 3}, key=key)
    sse.call(ours.port, f"/admin/v1/keys/{key}", key=ours.operator_key(), method="DELETE")
    assert sse.call(ours.port, "/v1/models", key=key).status == 401
    eventually(lambda: "trace" in logs(ours)["engine-cpu0.log"] and "debug" in logs(ours)["gateway.log"])
    time.sleep(1.5)  # the gateway's log is written in batches
    for name, text in logs(ours).items():
        assert MARKER not in text, name
        assert key not in text and ours.operator_key() not in text, name
        words = " ".join(answer.text().split()[:4])
        assert words and words not in text, name
    for line in logs(ours)["gateway.log"].splitlines():
        json.loads(line)


def test_a_temporary_level_ends_in_gateway_and_engine(ours):
    url = ("--url", f"http://127.0.0.1:{ours.port}")
    ours.run("log", "info", *url)
    ours.run("log", "debug", "--during", "2s", *url)
    assert "debug for" in ours.run("status", *url).stdout
    eventually(lambda: "the log level is now debug" in logs(ours)["engine-cpu0.log"])
    eventually(lambda: "for" not in ours.run("log", *url).stdout)
    eventually(lambda: logs(ours)["engine-cpu0.log"].rstrip().endswith("the log level is now info"))
    assert ours.admin("/log") == {part: {"level": "info", "for_seconds": 0} for part in ("gateway", "engine")}


def test_top_prints_one_frame_without_a_terminal(ours):
    ours.key("watched")
    frame = ours.run("top", "--once", "--interval", "200ms", "--url", f"http://127.0.0.1:{ours.port}").stdout
    assert "is ready" in frame and "cpu0" in frame and "\x1b" not in frame


def test_top_shows_each_role_what_it_may_see(ours):
    for team in ("seen", "unseen"):
        ours.admin("/teams", {"name": team})
    url = f"http://127.0.0.1:{ours.port}"
    for role, team, named in (("finance", None, True), ("team_lead", "seen", False), ("developer", "seen", False)):
        key = ours.admin("/keys", {"role": role, "name": role, **({"team": team} if team else {})})["secret"]
        frame = ours.run("top", "--once", "--interval", "200ms", "--url", url, "--key", key).stdout
        assert f"{url} is ready" in frame and "cpu0" in frame, frame
        assert ("all other teams" in frame) != named and "unseen" not in frame, frame
        assert re.search(r"^seen +- +- +0 +0 +-$", frame, re.M) if role == "developer" else not re.search(r"^seen +-", frame, re.M), frame
