"""Runs the Python programs in the documents, unchanged except for the port."""

import json
import re
from pathlib import Path

import pytest

from native import has

ROOT = Path(__file__).parents[3]
DOCUMENTS = ["README.md", "docs/clients.md"]
PROGRAMS = [
    pytest.param(program, id=f"{name}-{number}")
    for name in DOCUMENTS
    for number, program in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL), 1
    )
    # LangChain's packages for Gemini have an environment of their own.
    if ("langchain_google" in program) == has("langchain-google-genai")
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_runs(program, gateway, capsys, monkeypatch, tmp_path):
    address = "http://127.0.0.1:8080"
    assert address in program
    # The credentials of the machine, which one of the clients needs.
    key = tmp_path / "key.json"
    key.write_text(json.dumps(gateway.control("GET", "service_account_key")))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    exec(program.replace(address, gateway.root), {})
    assert "This is the Vertex AI emulator. You said: hello\n" in capsys.readouterr().out
