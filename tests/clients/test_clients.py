"""The client scripts of this folder as tests: always OpenAI's client for Python, and those for Node if the
bench has downloaded them (get_clients.sh)."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from bench.lib import cloud

HERE = pathlib.Path(__file__).resolve().parent
FETCHED = cloud.MODELS / "clients"


@pytest.fixture(scope="module")
def busy(penstock, smollm2):
    """A cloud that runs one request and queues one; a third is refused."""
    with cloud.Cloud({"smollm2-135m": smollm2}, {"engine.max_sequences": 1, "gateway.max_waiting": 1}) as ours:
        yield ours


def failed_checks(command, live, busy):
    env = {**os.environ, "PENSTOCK_URL": f"http://127.0.0.1:{live.port}", "PENSTOCK_MODEL": "smollm2-135m",
           "PENSTOCK_KEY": live.key(), "PENSTOCK_OPERATOR_KEY": live.operator_key(), "PENSTOCK_CLIENTS": str(FETCHED),
           "PENSTOCK_BUSY_URL": f"http://127.0.0.1:{busy.port}", "PENSTOCK_BUSY_KEY": busy.key()}
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=400)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert rows, done.stderr[-2000:]
    return [f"{row['check']}: {row['detail']}" for row in rows if not row["ok"]]


def test_openais_client_for_python(live, busy):
    pytest.importorskip("openai")
    assert failed_checks([sys.executable, HERE / "openai_python.py"], live, busy) == []


@pytest.mark.parametrize("script", ["openai_node.mjs", "ai_sdk.mjs"])
def test_clients_for_node(live, busy, script):
    if not shutil.which("node") or not (FETCHED / "node_modules").exists():
        pytest.skip("no Node, or its clients were not downloaded (tests/clients/get_clients.sh)")
    assert failed_checks(["node", HERE / script], live, busy) == []
