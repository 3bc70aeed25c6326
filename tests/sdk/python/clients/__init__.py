"""The clients under test, behind one interface. Each adapter uses the calls of its client.

A client gets a base URL and a key, and a model with each call. All other settings are its defaults, except
that its retries are off unless a test enables them, because they would hide a failure.
"""

import os
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

# Clients read these when they are imported. Without them, they send telemetry, and LiteLLM fetches a list
# of prices and reads a file `.env`.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
}


@dataclass(frozen=True)
class Client:
    """A client, whose adapter is imported by the first test that uses it: all of them take half a minute.

    `lacks` gives the reason for each missing action.
    """

    id: str
    package: str
    adapter: str
    lacks: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments, **options):
        module, name = self.adapter.split(":")
        return getattr(import_module(f"clients.{module}"), name)(*arguments, **options)

    @property
    def version(self):
        return version(self.package)

    @property
    def installed(self):
        """Whether this environment has the client. Two clients need an older version of `openai`."""
        try:
            return bool(self.version)
        except PackageNotFoundError:
            return False


NO_FRAMEWORK = "it has no loop that calls tools"

CLIENTS = [
    Client("python-openai", "openai", "openai_python:OpenAI"),
    Client("python-openai-async", "openai", "openai_python:AsyncOpenAI"),
    Client(
        "langchain",
        "langchain-openai",
        "langchain:LangChain",
        lacks={"models": "it has no call that lists models"},
    ),
    Client(
        "litellm",
        "litellm",
        "lite_llm:LiteLLM",
        notes={
            "403": "it has no type of its own for this status, and raises `APIError` with its `status_code`",
            "413": "it has no type of its own for this status, and raises `APIError` with its `status_code`",
            "429_retry_info": "by default the OpenAI SDK beneath it retries, and waits; its own `num_retries` "
            "retries without a wait",
            "embeddings": "`encoding_format` must be set, because it sends `null` by default",
        },
    ),
]
