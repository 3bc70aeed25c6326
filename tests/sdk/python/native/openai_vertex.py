"""The `openai` package with its own provider for Vertex AI."""

import openai
from openai.providers.vertex import vertex

from clients.subjects import Answer, Call, Weather
from native.adapter import DESCRIPTION, Adapter, schema


class OpenAIVertex(Adapter):
    errors = {
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        429: openai.RateLimitError,
        503: openai.InternalServerError,
    }
    model = "gpt-5.4"
    unknown = "gpt-0"
    # The first events have no text.
    cut_after = 6

    def __init__(self, gateway, retries=False):
        provider = vertex(
            base_url=f"{gateway.root}/v1/publishers/openai/v1", token_provider=lambda: "unused"
        )
        self.client = openai.OpenAI(provider=provider, **({} if retries else {"max_retries": 0}))

    def close(self):
        self.client.close()

    def create(self, asked, model=None, **more):
        return self.client.responses.create(model=model or self.model, input=asked, **more)

    def chat(self, text, model=None):
        answer = self.create(text, model)
        return Answer(answer.output_text, answer.usage.total_tokens)

    def stream(self, text):
        for event in self.create(text, stream=True):
            if event.type == "response.output_text.delta":
                yield Answer(event.delta, None)
            elif event.type == "response.completed":
                yield Answer("", event.response.usage.total_tokens)

    def call_tool(self, text, result):
        tool = {"type": "function", "name": "Weather", "parameters": schema(), "strict": False}
        tools = [tool | {"description": DESCRIPTION}]
        answer = self.create(text, tools=tools)
        (call,) = (item for item in answer.output if item.type == "function_call")
        returned = {"type": "function_call_output", "call_id": call.call_id, "output": result}
        asked = [{"role": "user", "content": text}, *answer.output, returned]
        arguments = Weather.model_validate_json(call.arguments)
        return Call(call.name, arguments, self.create(asked, tools=tools).output_text)
