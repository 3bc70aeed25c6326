"""Runs the real products with the snippets of docs/products.md, unchanged except for the port.

    NODE=node VERTEX_GATEWAY=target/debug/vertex-gateway .venv/bin/python -m pytest tests/sdk/products

The programs are those of `target/llm`, `.venv`, `target/openai-2` and `tests/sdk/node/node_modules`.
"""

import os
import subprocess
from pathlib import Path

import pytest
from sidecar import BINARY, ROOT, Control, Process

from page import Section

NODE = Path(os.environ.get("NODE", "node"))
MODULES = ROOT / "tests/sdk/node/node_modules"
SAID = "This is the Vertex AI emulator. You said: "
# No product may call another host, and those that try must not wait for it.
NO_CALLS_OUT = "http://127.0.0.1:9"
# Products that start slowly, on a machine that does other things.
PATIENCE = 120


class Gateway(Process, Control):
    def __init__(self):
        super().__init__("--emulator", "--listen", "127.0.0.1:0")
        self.control_url = self.read("emulator listening on ")
        self.root = self.read("listening on ")


@pytest.fixture
def gateway():
    gateway = Gateway()
    try:
        yield gateway
    finally:
        assert gateway.stop() == 0


class Home:
    """A home with the files of a section, and a working folder."""

    def __init__(self, title, gateway, folder):
        self.section = Section(title, gateway.root)
        self.home = folder / "home"
        self.work = folder / "work"
        self.home.mkdir()
        self.work.mkdir()
        # The emulator's text for any argument of a tool, such as a path.
        (self.work / "example").write_text("the text of the file\n")
        self.section.write(self.home)

    def run(self, *command, **env):
        """Runs a command, and returns its output."""
        bins = [ROOT / "target/llm/bin", MODULES / ".bin", *([NODE.parent] if NODE.is_absolute() else [])]
        ran = subprocess.run(
            command,
            cwd=self.work,
            env={
                "HOME": str(self.home),
                "PATH": ":".join([*map(str, bins), os.environ["PATH"]]),
                "TERM": "dumb",
                "HTTPS_PROXY": NO_CALLS_OUT,
                "https_proxy": NO_CALLS_OUT,
                "NO_PROXY": "127.0.0.1,localhost",
                "no_proxy": "127.0.0.1,localhost",
                **env,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        assert ran.returncode == 0, ran.stdout
        return ran.stdout

    def script(self, prompt="hello"):
        """Runs the commands of the section with this prompt."""
        (script,) = self.section.programs
        assert "hello" in script
        return self.run("bash", "-euc", script.replace("hello", f"{prompt}"))


@pytest.fixture
def home(gateway, tmp_path):
    return lambda title: Home(title, gateway, tmp_path)


def served(gateway):
    """The methods and the statuses of the requests that reached Vertex AI."""
    return [(request["path"].rsplit("/", 1)[-1], request["status"]) for request in gateway.requests()]


def test_llm_responds_and_calls_a_tool(home, gateway):
    llm = home("llm")
    assert SAID + "hello" in llm.script()
    said = llm.run("llm", "-m", "vertex", "-T", "llm_version", "call the tool llm_version")
    assert SAID + "call the tool llm_version The tool said: 0." in said
    assert served(gateway) == [("completions", 200)] * 3


def test_continue_responds_and_reads_a_file(home, gateway):
    cn = home("Continue")
    assert SAID + "hello" in cn.script()
    assert "the text of the file" in cn.script("call the tool Read")
    assert served(gateway) == [("completions", 200)] * 3


def test_codex_responds(home, gateway):
    assert SAID + "hello" in home("Codex").script()
    assert ("responses", 200) in served(gateway)


def test_codex_responds_at_once_under_run(home):
    codex = home("Codex")
    (codex.home / ".codex/config.toml").unlink()
    run = [BINARY, "run", "--emulator", "--", "codex", "exec", "--skip-git-repo-check"]
    assert SAID + "hello" in codex.run(*run, "--model", "xai/grok-4.1-fast-reasoning", "hello")


def test_claude_code_responds(home, gateway):
    # The message has the text of the user after that of the program.
    said = home("Claude Code").script()
    assert SAID in said and said.endswith(" hello\n"), said
    assert ("claude-sonnet-5:streamRawPredict", 200) in served(gateway)


def test_gemini_cli_responds(home, gateway):
    gemini = home("Gemini CLI")
    (script,) = gemini.section.programs
    # A folder that the user has not trusted is not read without a question.
    said = gemini.run("bash", "-euc", script, GEMINI_CLI_TRUST_WORKSPACE="true")
    assert SAID in said and said.endswith(" hello\n"), said
    assert ("gemini-2.5-flash:streamGenerateContent", 200) in served(gateway)


@pytest.mark.parametrize(
    ("title", "python"), [("LangChain", ROOT / ".venv/bin/python"), ("LlamaIndex", ROOT / "target/openai-2/bin/python")]
)
def test_the_program_in_python_runs(title, python, home):
    library = home(title)
    (program,) = library.section.programs
    assert library.run(python, "-c", program) == SAID + "hello\n"


def test_the_program_in_javascript_runs(home):
    sdk = home("Vercel AI SDK")
    (program,) = sdk.section.programs
    # Packages are looked up beside the program.
    file = MODULES.parent / "products-page.mjs"
    file.write_text(program)
    try:
        assert sdk.run(str(NODE), str(file)) == SAID + "hello\n"
    finally:
        file.unlink()
