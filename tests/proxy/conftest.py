"""Runs the sidecar once in a network where Google's names lead to the emulator, and prints the table of the
results at the end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sidecar import BINARY, ROOT
from table import CREDENTIALS, WAYS

if not Path(BINARY).is_file():
    pytest.exit(
        f"no gateway at {BINARY}: build it with `cargo build --release -p vertex-gateway`, "
        "or set VERTEX_GATEWAY to one",
        returncode=2,
    )

# The longest time of all flows, in seconds.
PATIENCE = 300
RESULTS = {}


@pytest.fixture(scope="session")
def results():
    script = Path(__file__).with_name("at_google.py")
    command = [BINARY, "emulator", "--as-google", "--credential", "metadata", "--", sys.executable, str(script)]
    paths = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={"PATH": paths, "VERTEX_GATEWAY": BINARY, "PYTHONPATH": str(ROOT / "tests" / "python")},
        timeout=PATIENCE,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    RESULTS.update((line["name"], line) for line in map(json.loads, run.stdout.splitlines()))
    return RESULTS


def pytest_terminal_summary(terminalreporter):
    write = terminalreporter.write_line
    write("")
    write(f"{'':16}" + "".join(f"{way:40}" for way in WAYS))
    for credential in CREDENTIALS:
        cells = [RESULTS.get(f"{credential}, {way}", {"status": "not run"}) for way in WAYS]
        shown = [f"{cell['status']} {' '.join(cell.get('short', []))}" for cell in cells]
        write(f"{credential:16}" + "".join(f"{text:40}" for text in shown))
