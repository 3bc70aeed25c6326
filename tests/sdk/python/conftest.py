"""A separate `vertex-gateway --emulator` for each test, and the control API of its emulator."""

import json
import os
import subprocess
import tempfile
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from sidecar import BINARY, PATIENCE, Control, Process  # Imported first, so that no call leaves this machine.

import pytest
from results import Results


# The gateway under test must not get the settings of the person who runs the tests.
FOREIGN = (
    "ANTHROPIC_",
    "GCLOUD_",
    "GEMINI_",
    "GOOGLE_",
    "LANGCHAIN_",
    "LANGSMITH_",
    "OPENAI_",
    "VERTEX_",
    "VERTEXAI_",
)
FOREIGN_NAMES = {"CLOUD_ML_REGION", "PROJECT_ID", "LOCATION", "ENDPOINT"}


def clean_environment():
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN)
        and name not in FOREIGN_NAMES
        and not name.lower().endswith("_proxy")
    }


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """Removes the variables that the SDK reads."""
    kept = clean_environment()
    for name in set(os.environ) - set(kept):
        monkeypatch.delenv(name)


if not Path(BINARY).is_file():
    pytest.exit(
        f"no gateway at {BINARY}: build it with `cargo build --release -p vertex-gateway`, "
        "or set VERTEX_GATEWAY to one",
        returncode=2,
    )


class Gateway(Process, Control):
    """A running gateway. `url` is the base URL for an SDK of OpenAI, `root` the same without a version,
    `emulator` that of the emulator, and `vertex_url` the base URL of Vertex AI itself, without the gateway."""

    def __init__(self, *arguments):
        env = clean_environment() | {"VERTEX_GATEWAY_LOG": "warn"}
        super().__init__("--emulator", "--listen", "127.0.0.1:0", *arguments, env=env)
        self.control_url = self.emulator = self.read("emulator listening on ")
        self.root = self.read("listening on ")
        self.url = f"{self.root}/v1"
        upstream = "v1/projects/emulator/locations/us-central1/endpoints/openapi"
        self.vertex_url = f"{self.emulator}/{upstream}"

    @classmethod
    @contextmanager
    def running(cls, *arguments):
        gateway = cls(*arguments)
        try:
            yield gateway
        finally:
            code = gateway.stop()
        assert code == 0, f"vertex-gateway ended with {code}"

    def set_stream(self, **behavior):
        return self.set_faults(stream=behavior)

    def set_chat(self, **behavior):
        return self.control("PUT", "chat", behavior)

    def set_fault(self, **fault):
        return self.set_faults(api=fault)

    def token(self):
        """An access token for a client without the gateway."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as key:
            json.dump(self.control("GET", "service_account_key"), key)
            key.flush()
            return subprocess.check_output(
                [BINARY, "token", "--credentials", key.name],
                env=clean_environment(),
                text=True,
                timeout=PATIENCE,
            ).strip()

    def newest_token_at_work(self):
        """The number of the newest token, if a request has been served with it, else 0.

        In the first case the gateway uses that token, and is not fetching another one.
        """
        served = [r["token_generation"] for r in self.requests() if r["status"] == 200]
        newest = max(served, default=0)
        return newest if newest == self.stats()["token_mints"] else 0

    def billed(self, text, model):
        """The tokens that Google bills for the response of a model to a text."""
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        with self.client() as client:
            return client.chat.completions.create(**body).usage.total_tokens

    # The SDK does not retry, because a retry would hide a failure. Not every environment has it.

    def client(self):
        import openai

        return openai.OpenAI(base_url=self.url, api_key="unused", max_retries=0)

    def async_client(self):
        import openai

        return openai.AsyncOpenAI(base_url=self.url, api_key="unused", max_retries=0)


@pytest.fixture
def start():
    """Starts a gateway with more arguments. It ends with the test, and must exit with the code 0."""
    with ExitStack() as running:
        yield lambda *arguments: running.enter_context(Gateway.running(*arguments))


@pytest.fixture
def gateway(start):
    return start()


@pytest.fixture
def connect():
    """Creates a client that is closed at the end of the test."""
    with ExitStack() as made:
        yield lambda kind, *arguments, **options: made.enter_context(
            closing(kind(*arguments, **options))
        )


@pytest.fixture
def client(gateway):
    with gateway.client() as client:
        yield client


def pytest_configure(config):
    # Workers of xdist do not write results. The controller gets their reports.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results())
