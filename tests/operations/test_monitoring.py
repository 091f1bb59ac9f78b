"""The monitoring files in packaging/monitoring name only metrics that exist, and are well-formed."""
import json
import re
import shutil
import subprocess

import pytest

from bench.lib import cloud, sse

FILES = cloud.ROOT / "packaging/monitoring"
SUFFIXES = ("_bucket", "_sum", "_count")


def named(text):
    for name in set(re.findall(r"\bpenstock_[a-z_]+\b", text)):
        yield next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)


@pytest.fixture(scope="module")
def offered(live):
    """What /metrics says after a request: families of counters without a sample are left out."""
    body = {"model": "smollm2-135m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}
    assert sse.call(live.port, "/v1/chat/completions", body=body, key=live.key("watched")).status == 200
    answer = sse.call(live.port, "/metrics")
    assert answer.status == 200
    return answer.body.decode()


@pytest.mark.parametrize("path", [FILES / "alerts.yml", FILES / "grafana.json", cloud.ROOT / "docs/monitoring.md"],
                         ids=lambda path: path.name)
def test_every_metric_that_is_named_exists(offered, path):
    names = set(named(path.read_text()))
    assert len(names) >= 5
    missing = names - set(re.findall(r"^# TYPE (\w+)", offered, re.MULTILINE))
    assert not missing


def test_every_label_that_the_dashboard_sums_by_exists(offered):
    for panel in json.loads((FILES / "grafana.json").read_text())["panels"]:
        for target in panel["targets"]:
            metric = re.search(r"penstock_\w+", target["expr"])[0]
            labels = re.findall(r"by \(([^)]*)\)", target["expr"]) + re.findall(r"{{(\w+)}}", target["legendFormat"])
            for label in {label.strip() for found in labels for label in found.split(",")} - {"instance"}:
                assert re.search(rf"^{metric}{{.*\b{label}=", offered, re.MULTILINE), f"{metric} has no label {label}"


def test_the_dashboard_has_what_grafana_requires():
    board = json.loads((FILES / "grafana.json").read_text())
    assert board["title"] and board["uid"] and board["schemaVersion"] >= 36
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        assert panel["type"] in ("timeseries", "stat") and panel["title"] and panel["targets"]
        assert set(panel["gridPos"]) == {"h", "w", "x", "y"} and panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
        assert panel["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("words", [("rules", "alerts.yml"), ("config", "prometheus.yml")], ids=lambda words: words[0])
def test_promtool_accepts_the_files(words):
    if not shutil.which("promtool"):
        pytest.skip("no promtool here (Debian: prometheus)")
    done = subprocess.run(["promtool", "check", words[0], FILES / words[1]], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
