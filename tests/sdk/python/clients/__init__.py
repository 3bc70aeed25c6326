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

    `openai` is the major version of the `openai` package that it requires. `lacks` gives the reason for each
    missing action.
    """

    id: str
    package: str
    adapter: str
    openai: int = 3
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
        """Whether this environment has the client."""
        try:
            return bool(self.version) and version("openai").startswith(f"{self.openai}.")
        except PackageNotFoundError:
            return False


NO_VECTORS = {"float_embeddings": "it has no call for vectors"}
NO_TOOLS = {
    action: "its agents write the names of tools into a prompt"
    for action in (
        "tool_loop",
        "tool_loop_streamed",
        "parallel_calls",
        "parallel_calls_streamed",
        "streamed_arguments",
    )
}

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
    Client(
        "pydantic-ai",
        "pydantic-ai-slim",
        "pydantic_ai:PydanticAI",
    ),
    Client(
        "openai-agents",
        "openai-agents",
        "openai_agents:AgentsSDK",
        lacks=NO_VECTORS,
    ),
    Client(
        "openai-agents-responses",
        "openai-agents",
        "openai_agents:AgentsSDKResponses",
        lacks=dict.fromkeys(
            ["blocked", "stream_error"],
            "no source shows such a response of Vertex AI's Responses API",
        )
        | NO_VECTORS,
    ),
    Client(
        "autogen",
        "autogen-agentchat",
        "autogen:AutoGen",
        lacks=NO_VECTORS,
    ),
    Client("semantic-kernel", "semantic-kernel", "semantic_kernel:SemanticKernel"),
    Client("haystack", "haystack-ai", "haystack:Haystack"),
    Client(
        "llama-index",
        "llama-index-llms-openai-like",
        "llama_index:LlamaIndex",
        openai=2,
        lacks={"float_embeddings": "its vectors are another package"},
    ),
    Client(
        "smolagents",
        "smolagents",
        "small_agents:Smolagents",
        lacks=NO_VECTORS,
        notes={"blocked": "its streams have no finish reason"},
    ),
    Client(
        "instructor",
        "instructor",
        "instructor_python:Instructor",
        openai=2,
        lacks=dict.fromkeys(NO_TOOLS, "it returns the arguments of a tool, and calls none")
        | dict.fromkeys(["stream_error", "keep_alive"], "its streams have objects, not text")
        | {
            "blocked": "it raises the same error for every response without a call",
            "thinking": "it has no usage of its own, only the response of the SDK below it",
        }
        | NO_VECTORS,
    ),
    Client(
        "dspy",
        "dspy",
        "dspy_python:DSPy",
        lacks=NO_TOOLS
        | dict.fromkeys(["stream_error", "keep_alive"], "its streams have fields, not text")
        | {"float_embeddings": "LiteLLM makes its vectors"},
        notes=dict.fromkeys(["thinking", "blocked"], "its streams have fields, not responses"),
    ),
]
