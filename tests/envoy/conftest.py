"""Starts the programs for each test."""

import os
import subprocess
from pathlib import Path

import pytest
from sidecar import BINARY
from world import World

FOREIGN = ("GOOGLE_", "GCLOUD_", "VERTEX_", "OPENAI_")


def has_ext_authz():
    if not Path(BINARY).is_file():
        return False
    command = [BINARY, "ext-authz", "--help"]
    return subprocess.run(command, capture_output=True).returncode == 0


if not has_ext_authz():
    pytest.exit(
        f"no gateway with ext-authz at {BINARY}: build it with `cargo build --release -p "
        "vertex-gateway --features ext-authz`, or set VERTEX_GATEWAY to one",
        returncode=2,
    )


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Removes the variables that the SDK reads."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    try:
        yield world
    finally:
        world.close()
