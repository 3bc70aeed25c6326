"""LiteLLM as a library."""

import json

import litellm

from clients.adapter import Adapter
from clients.subjects import EMBEDDING_MODEL, GEMINI_3, MODEL, Answer, Call, City, Usage, Weather

litellm.telemetry = False
# Without this, LiteLLM prints an invitation to report each error.
litellm.suppress_debug_info = True


class LiteLLM(Adapter):
    errors = {
        400: litellm.BadRequestError,
        403: litellm.APIError,
        404: litellm.NotFoundError,
        413: litellm.APIError,
        429: litellm.RateLimitError,
        500: litellm.InternalServerError,
        503: litellm.ServiceUnavailableError,
    }

    def __init__(self, url, key="unused", retries=False):
        self.access = {"api_base": url, "api_key": key}
        self.options = {} if retries else {"max_retries": 0}

    def headers(self, error):
        return error.litellm_response_headers

    def complete(self, messages, model=MODEL, **more):
        return litellm.completion(
            model=f"openai/{model}", messages=messages, **more, **self.access, **self.options
        )

    def chat(self, content, model=MODEL):
        answer = self.complete([{"role": "user", "content": content}], model)
        return Answer(answer.choices[0].message.content, answer.usage.total_tokens)

    def stream(self, text):
        options = {"stream": True, "stream_options": {"include_usage": True}}
        for chunk in self.complete([{"role": "user", "content": text}], **options):
            # Older versions report usage only in the last chunk. In newer versions that chunk has
            # no choices.
            usage = getattr(chunk, "usage", None)
            text = chunk.choices[0].delta.content if chunk.choices else None
            yield Answer(text or "", usage and usage.total_tokens)

    def call_tool(self, text, result):
        tools = [
            {
                "type": "function",
                "function": {"name": "Weather", "parameters": Weather.model_json_schema()},
            }
        ]
        messages = [{"role": "user", "content": text}]
        message = self.complete(messages, tools=tools).choices[0].message
        (call,) = message.tool_calls
        answered = {"role": "tool", "tool_call_id": call.id, "content": result}
        messages += [message.model_dump(), answered]
        arguments = Weather.model_validate_json(call.function.arguments)
        answer = self.complete(messages, tools=tools)
        return Call(call.function.name, arguments, answer.choices[0].message.content)

    def structured(self, text):
        answer = self.complete([{"role": "user", "content": text}], response_format=Weather)
        return Weather.model_validate_json(answer.choices[0].message.content)

    def ask(self, text, streamed, messages=None, **more):
        """Returns Gemini 3's completion. LiteLLM itself puts a stream together."""
        messages = messages or [{"role": "user", "content": text}]
        if not streamed:
            return self.complete(messages, GEMINI_3, **more)
        more |= {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(self.complete(messages, GEMINI_3, **more))
        return litellm.stream_chunk_builder(chunks, messages=messages)

    def agent(self, text, tools, streamed):
        functions = {tool.name: tool.function for tool in tools}
        messages = [{"role": "user", "content": text}]
        while True:
            offered = [tool.openai for tool in tools]
            message = self.ask(text, streamed, messages, tools=offered).choices[0].message
            if not message.tool_calls:
                return message.content
            messages.append(message.model_dump())
            for call in message.tool_calls:
                result = functions[call.function.name](**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})

    def usage(self, text, streamed):
        usage = self.ask(text, streamed).usage
        return Usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)

    def city(self, text):
        messages = [{"role": "user", "content": text}]
        answer = self.complete(messages, GEMINI_3, response_format=City)
        return City.model_validate_json(answer.choices[0].message.content)

    def finish(self, text, streamed):
        return self.ask(text, streamed).choices[0].finish_reason

    def embed(self, texts):
        # By default LiteLLM sends `null`.
        answer = litellm.embedding(
            model=f"openai/{EMBEDDING_MODEL}",
            input=texts,
            encoding_format="float",
            **self.access,
            **self.options,
        )
        return [item["embedding"] for item in answer.data]

    def models(self):
        return litellm.get_valid_models(
            check_provider_endpoint=True, custom_llm_provider="openai", **self.access
        )
