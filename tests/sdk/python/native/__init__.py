"""The clients of Gemini's and of Anthropic's protocol, and of Vertex AI's own provider in OpenAI's SDKs.

Each adapter uses the calls of its client. A client gets the sidecar's address, and a key or a token that means
nothing. All other settings are its defaults, except that its retries are off unless a test enables them.
"""

import os
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

# Clients read these when they are imported. Without them, LiteLLM fetches a list of prices, and the libraries of
# Google look for a metadata server.
os.environ |= {
    "DO_NOT_TRACK": "1",
    "LANGSMITH_TRACING": "false",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_MODE": "PRODUCTION",
    "NO_GCE_CHECK": "true",
    "OTEL_SDK_DISABLED": "true",
}


@dataclass(frozen=True)
class Native:
    """A client, whose adapter is imported by the first test that uses it.

    `oldest` is the first major version of the package that has the client. LangChain's packages need an older
    `google-genai` than the newest, so they have an environment of their own. `lacks` gives the reason for each
    missing action, and `unable` the reason for each one that the client does not manage against any server.
    """

    id: str
    package: str
    adapter: str
    oldest: int = 0
    langchain: bool = False
    lacks: dict[str, str] = field(default_factory=dict)
    unable: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments, **options):
        module, name = self.adapter.split(":")
        return getattr(import_module(f"native.{module}"), name)(*arguments, **options)

    @property
    def version(self):
        return version(self.package)

    @property
    def installed(self):
        """Whether this environment has the client."""
        if not has(self.package) or self.langchain != has("langchain-google-genai"):
            return False
        return int(self.version.partition(".")[0]) >= self.oldest


def has(package):
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


LITELLM = {"403": "it raises `BadRequestError` with its `status_code`"}

NATIVE = [
    Native("google-genai", "google-genai", "google_genai:Developer"),
    Native("google-genai-vertex", "google-genai", "google_genai:Vertex"),
    Native("litellm-gemini", "litellm", "lite_llm:Gemini", notes=LITELLM),
    Native("litellm-claude", "litellm", "lite_llm:Claude", notes=LITELLM),
    Native("anthropic", "anthropic", "anthropic_python:Anthropic"),
    Native("anthropic-vertex", "anthropic", "anthropic_python:AnthropicVertex"),
    Native(
        "openai-vertex",
        "openai",
        "openai_vertex:OpenAIVertex",
        oldest=3,
        lacks={"count_tokens": "Vertex AI does not have OpenAI's call for it"},
    ),
    Native(
        "langchain-genai",
        "langchain-google-genai",
        "langchain_google:GenAI",
        langchain=True,
        unable={
            "count_tokens": "it sends a content without a role, which the Developer API takes and Vertex AI refuses"
        },
    ),
    Native("langchain-vertexai", "langchain-google-vertexai", "langchain_google:VertexAI", langchain=True),
    Native(
        "langchain-claude",
        "langchain-google-vertexai",
        "langchain_google:AnthropicVertex",
        langchain=True,
        lacks={"count_tokens": "it has no call for it"},
    ),
]
