"""Runs the Python programs in the documents, unchanged except for the port."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENTS = ["README.md", "docs/clients.md"]
PROGRAMS = [
    pytest.param(program, id=f"{name}-{number}")
    for name in DOCUMENTS
    for number, program in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL), 1
    )
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_runs(program, gateway, capsys):
    address = "http://127.0.0.1:8080/v1"
    assert address in program
    exec(program.replace(address, gateway.url), {})
    assert "This is the Vertex AI emulator. You said: hello\n" in capsys.readouterr().out
