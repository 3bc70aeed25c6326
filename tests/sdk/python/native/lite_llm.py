"""LiteLLM as a library, with its own calls of Vertex AI."""

import asyncio
import json
import os
from unittest.mock import patch

import litellm

from clients.subjects import Answer, Call, Weather
from native.adapter import CLAUDE, DESCRIPTION, LOCATION, PROJECT, Adapter, ClaudeAdapter, schema

litellm.telemetry = False
# Without this, LiteLLM prints an invitation to report each error.
litellm.suppress_debug_info = True


class LiteLLM(Adapter):
    errors = {
        403: litellm.BadRequestError,
        404: litellm.NotFoundError,
        429: litellm.RateLimitError,
        503: litellm.ServiceUnavailableError,
    }
    # It requests a token with its own credentials, which the sidecar replaces.
    own_tokens = 1

    def __init__(self, gateway, retries=False):
        self.options = {
            "api_base": gateway.root,
            "vertex_project": PROJECT,
            "vertex_location": LOCATION,
            "vertex_credentials": json.dumps(gateway.control("GET", "service_account_key")),
            "max_retries": 0,
        }
        if retries:
            self.options["num_retries"] = 1

    def complete(self, messages, model=None, **more):
        return litellm.completion(
            model=f"vertex_ai/{model or self.model}", messages=messages, **more, **self.options
        )

    def chat(self, text, model=None):
        answer = self.complete([{"role": "user", "content": text}], model)
        return Answer(answer.choices[0].message.content, answer.usage.total_tokens)

    def stream(self, text):
        options = {"stream": True, "stream_options": {"include_usage": True}}
        for chunk in self.complete([{"role": "user", "content": text}], **options):
            usage = getattr(chunk, "usage", None)
            text = chunk.choices[0].delta.content if chunk.choices else None
            yield Answer(text or "", usage and usage.total_tokens)

    def call_tool(self, text, result):
        function = {"name": "Weather", "description": DESCRIPTION, "parameters": schema()}
        tools = [{"type": "function", "function": function}]
        messages = [{"role": "user", "content": text}]
        message = self.complete(messages, tools=tools).choices[0].message
        (call,) = message.tool_calls
        answered = {"role": "tool", "tool_call_id": call.id, "content": result}
        messages += [message.model_dump(), answered]
        arguments = Weather.model_validate_json(call.function.arguments)
        answer = self.complete(messages, tools=tools)
        return Call(call.function.name, arguments, answer.choices[0].message.content)

    def count(self, text):
        # This call takes no other options.
        settings = {"vertex_project": PROJECT, "vertex_location": LOCATION}
        credentials = {"VERTEXAI_CREDENTIALS": self.options["vertex_credentials"]}
        with patch.multiple(litellm, **settings), patch.dict(os.environ, credentials):
            messages = [{"role": "user", "content": text}]
            call = litellm.acount_tokens(
                model=f"vertex_ai/{self.model}", messages=messages, api_base=self.options["api_base"]
            )
            return asyncio.run(call).total_tokens


class Gemini(LiteLLM):
    pass


class Claude(ClaudeAdapter, LiteLLM):
    model = CLAUDE
