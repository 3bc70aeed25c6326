"""Programs under `vertex-gateway run`, which set neither a base URL nor a key."""

import subprocess
import sys

import pytest

from clients.subjects import MODEL
from conftest import clean_environment
from sidecar import BINARY, PATIENCE

ECHO = "This is the Vertex AI emulator. You said: "
OPENAI = f"""
import openai
question = [{{"role": "user", "content": "hello"}}]
response = openai.OpenAI(max_retries=0).chat.completions.create(model={MODEL!r}, messages=question)
print(response.choices[0].message.content)
"""
GENAI = """
from google import genai
client = genai.Client()
print(client.models.generate_content(model="gemini-2.5-flash", contents="hello").text)
"""
ANTHROPIC = """
import anthropic
question = [{"role": "user", "content": "hello"}]
client = anthropic.Anthropic(max_retries=0)
message = client.messages.create(model="claude-sonnet-5", max_tokens=1000, messages=question)
print(message.content[0].text)
"""
REFUSED = """
import openai
try:
    openai.OpenAI(api_key="unused", max_retries=0).models.list()
except openai.AuthenticationError as error:
    print(error.code)
"""


def run(*command, env=None):
    run = [BINARY, "run", "--emulator", "--", *command]
    env = clean_environment() | (env or {})
    return subprocess.run(run, env=env, capture_output=True, text=True, timeout=2 * PATIENCE)


@pytest.mark.parametrize("program", [OPENAI, GENAI, ANTHROPIC], ids=["openai", "genai", "anthropic"])
def test_a_client_without_any_setting_gets_a_response(program):
    # These would select other services and other keys.
    other = {"GOOGLE_GENAI_USE_VERTEXAI": "true", "GOOGLE_API_KEY": "other"}
    done = run(sys.executable, "-c", program, env=other)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{ECHO}hello\n", "")


def test_another_key_is_refused():
    done = run(sys.executable, "-c", REFUSED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "invalid_api_key\n", "")


def test_the_exit_code_is_that_of_the_program():
    done = run(sys.executable, "-c", "raise SystemExit(9)")
    assert (done.returncode, done.stdout, done.stderr) == (9, "", "")
