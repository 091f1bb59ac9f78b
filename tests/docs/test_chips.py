"""docs/chips.md states the same guarantees for each kind of engine as running engines report."""
import json
import subprocess

import pytest

from bench.lib import cloud, sse

PAGE = cloud.ROOT / "docs/chips.md"
COLUMNS = {"reclaim at a token": "reclaim", "resume": "resume", "exact usage": "exact_usage", "hard budget": "hard_budget",
           "many models": "many_models", "message text": "message_text", "training": "training"}


def promised():
    """Rows of the page's first table: {"`native`…": {"reclaim": "yes", …}}."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    rows = {}
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) != len(head):
            break
        rows[cells[0]] = {COLUMNS[column]: cell for column, cell in zip(head[1:], cells[1:])}
    return rows


def of_kind(kind):
    found = [row for name, row in promised().items() if name.startswith(kind)]
    assert len(found) == 1, kind
    return found[0]


def told_by(ours):
    return json.loads(ours.run("engine", "ls", "--json").stdout)["data"][0]["guarantees"]


def test_native_keeps_what_the_page_says(live):
    assert told_by(live) == of_kind("`native`")
    assert "penstock-1" in live.run("engine", "ls", "--guarantees").stdout


def test_an_attached_engine_keeps_what_the_page_says_and_models_and_usage_say_the_same(live, smollm2):
    settings = {"engine.url": f"http://127.0.0.1:{live.port}", "engine.url_key": live.key(),
                "engine.upstream_models": "small=smollm2-135m"}
    with cloud.Cloud({"small": smollm2}, settings=settings) as ours:
        promised_here = of_kind("attached by URL")
        assert told_by(ours) == promised_here
        assert sse.call(ours.port, "/v1/models/small", key=ours.key()).json()["guarantees"] == promised_here
        assert json.loads(ours.run("model", "ls", "--guarantees", "--json").stdout)["data"] == [
            {"name": "small", "guarantees": promised_here}]

        answer = sse.call(ours.port, "/v1/chat/completions", key=ours.key(), timeout=60, body={
            "model": "small", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 6, "ignore_eos": True})
        assert answer.json()["usage"]["completion_tokens"] == 6, answer.body
        record = sse.call(ours.port, f"/v1/requests/{answer.request_id}", key=ours.key()).json()
        assert (record["exact_usage"], record["reported_tokens"]) == (promised_here["exact_usage"], 6)
        row = ours.admin("/usage")["data"][0]
        assert (row["exact_usage"], row["reported_tokens"], row["output_tokens"]) == ("partly", 6, 6)
        assert "REPORTED" in ours.run("usage").stdout


def test_doctor_says_of_configured_and_running_engines_what_the_page_says(penstock, live, tmp_path):
    def said(*settings, data=tmp_path):
        done = subprocess.run([penstock, "doctor", "--data", data, *settings], text=True, stdout=subprocess.PIPE)
        line = next(line for line in done.stdout.splitlines() if "Guarantees:" in line)
        return {name.strip().replace(" ", "_"): kept for part in line.split("Guarantees: ")[1].split("; ")
                for names, kept in [part.rsplit(": ", 1)] for name in names.split(",")}

    assert said() == of_kind("`native`")
    assert said("--listen", f"127.0.0.1:{live.port}", data=live.data) == of_kind("`native`")
    assert said("--set", "engine.url=http://127.0.0.1:9") == of_kind("attached by URL")


def test_ggml_keeps_what_the_page_says(penstock, smollm2):
    if not (cloud.BUILD / "runner/ggml/libpenstock_ggml.so").exists():
        pytest.skip("the ggml plug-in is not built")
    with cloud.Cloud({"small": smollm2}, settings={"engine.runner": "ggml", "engine.ggml_device": "CPU"}) as ours:
        assert told_by(ours) == of_kind("`ggml`")
