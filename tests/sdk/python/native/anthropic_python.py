"""Anthropic's SDK, with its own API and with that of Vertex AI."""

import anthropic

from clients.subjects import Answer, Call, Weather
from native.adapter import DESCRIPTION, LOCATION, PROJECT, ClaudeAdapter, schema


class Anthropic(ClaudeAdapter):
    errors = {
        403: anthropic.PermissionDeniedError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
        503: anthropic.InternalServerError,
    }

    def __init__(self, gateway, retries=False):
        self.client = self.connected(gateway, {} if retries else {"max_retries": 0})

    def connected(self, gateway, options):
        return anthropic.Anthropic(base_url=gateway.root, api_key="unused", **options)

    def close(self):
        self.client.close()

    def create(self, messages, model=None, **more):
        return self.client.messages.create(
            model=model or self.model, max_tokens=1000, messages=messages, **more
        )

    def chat(self, text, model=None):
        answer = self.create([{"role": "user", "content": text}], model)
        return Answer(answer.content[0].text, answer.usage.input_tokens + answer.usage.output_tokens)

    def stream(self, text):
        asked = {"max_tokens": 1000, "messages": [{"role": "user", "content": text}]}
        with self.client.messages.stream(model=self.model, **asked) as stream:
            for text in stream.text_stream:
                yield Answer(text, None)
            usage = stream.get_final_message().usage
            yield Answer("", usage.input_tokens + usage.output_tokens)

    def call_tool(self, text, result):
        tools = [{"name": "Weather", "description": DESCRIPTION, "input_schema": schema()}]
        messages = [{"role": "user", "content": text}]
        answer = self.create(messages, tools=tools)
        (call,) = (block for block in answer.content if block.type == "tool_use")
        returned = {"type": "tool_result", "tool_use_id": call.id, "content": result}
        messages += [
            {"role": "assistant", "content": answer.content},
            {"role": "user", "content": [returned]},
        ]
        arguments = Weather.model_validate(call.input)
        return Call(call.name, arguments, self.create(messages, tools=tools).content[0].text)

    def count(self, text):
        messages = [{"role": "user", "content": text}]
        return self.client.messages.count_tokens(model=self.model, messages=messages).input_tokens


class AnthropicVertex(Anthropic):
    def connected(self, gateway, options):
        return anthropic.AnthropicVertex(
            base_url=f"{gateway.root}/v1",
            project_id=PROJECT,
            region=LOCATION,
            access_token="unused",
            **options,
        )
