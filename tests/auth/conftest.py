"""Runs all clients once, and prints the table of their results at the end."""

from pathlib import Path

import pytest
from clients import CLIENTS, WAYS, run_all
from sidecar import BINARY
from table import EXPECTED, Fails

if not Path(BINARY).is_file():
    pytest.exit(
        f"no gateway at {BINARY}: build it with `cargo build --release -p vertex-gateway`, "
        "or set VERTEX_GATEWAY to one",
        returncode=2,
    )


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    return run_all(tmp_path_factory.mktemp("auth"))


def pytest_terminal_summary(terminalreporter):
    """Prints the expected table. The tests compare every cell of it with the results."""
    write = terminalreporter.write_line
    write("")
    write(f"{'':24}{'':50}{WAYS[0]:12}{WAYS[1]}")
    reasons = []
    for client in CLIENTS:
        for flow, cells in EXPECTED[client].items():
            marks = []
            for cell in cells:
                if not isinstance(cell, Fails):
                    marks.append("yes")
                    continue
                if cell.why not in reasons:
                    reasons.append(cell.why)
                marks.append(f"no ({reasons.index(cell.why) + 1})")
            write(f"{client:24}{flow:50}{marks[0]:12}{marks[1]}")
    for number, why in enumerate(reasons, 1):
        write(f"({number}) {why}")
