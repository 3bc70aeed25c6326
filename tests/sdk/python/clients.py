"""The OpenAI clients of the matrix, behind one interface. Each adapter uses the calls of its client.

A client gets a base URL and a key, and a model with each call. All other settings are its defaults, except
that its retries are off unless a test enables them, because they would hide a failure.
"""

import asyncio
import os
from importlib.metadata import version
from typing import ClassVar, NamedTuple

# LiteLLM reads these when it is imported. Without them it fetches a list of prices and reads a file
# `.env`.
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION"}

import langchain_openai
import litellm
import openai
from langchain_core.messages import HumanMessage, ToolMessage
from pydantic import BaseModel, Field

MODEL = "google/gemini-2.5-flash"
EMBEDDING_MODEL = "google/text-embedding-005"

litellm.telemetry = False
# Without this, LiteLLM prints an invitation to report each error.
litellm.suppress_debug_info = True


class Weather(BaseModel):
    """Returns the weather of the next days."""

    city: str
    days: int = Field(ge=1)


class Answer(NamedTuple):
    """The text of a response or of a chunk, and the total tokens if they were reported."""

    text: str
    tokens: int | None


class Call(NamedTuple):
    """A call of the tool `Weather`, and the text that follows its result."""

    name: str
    arguments: Weather
    text: str


class Client:
    """`errors` are the client's exceptions by status. `lacks` gives the reason for each missing action."""

    id: ClassVar[str]
    version: ClassVar[str]
    lacks: ClassVar[dict[str, str]] = {}
    notes: ClassVar[dict[str, str]] = {}
    errors: ClassVar[dict[int, type[Exception]]] = {
        400: openai.BadRequestError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        # The SDK has no exception of its own for the other 4xx statuses.
        413: openai.APIStatusError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
        503: openai.InternalServerError,
    }

    def headers(self, error):
        """The headers of the response that caused an error."""
        return error.response.headers

    def close(self):
        pass


class OpenAI(Client):
    id = "python-openai"
    version = version("openai")
    make = openai.OpenAI

    def __init__(self, url, key="unused", retries=False):
        options = {} if retries else {"max_retries": 0}
        self.client = self.make(base_url=url, api_key=key, **options)

    # The asynchronous client overrides these two methods.

    def wait(self, returned):
        return returned

    def each(self, items):
        yield from items

    # Both clients share these methods.

    def close(self):
        self.wait(self.client.close())

    def chat(self, content, model=MODEL):
        answer = self.wait(
            self.client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": content}]
            )
        )
        return Answer(answer.choices[0].message.content, answer.usage.total_tokens)

    def stream(self, text):
        stream = self.client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": text}],
            stream=True,
            stream_options={"include_usage": True},
        )
        for chunk in self.each(self.wait(stream)):
            text = chunk.choices[0].delta.content if chunk.choices else None
            yield Answer(text or "", chunk.usage and chunk.usage.total_tokens)

    def call_tool(self, text, result):
        def ask():
            answer = self.wait(
                self.client.chat.completions.parse(
                    model=MODEL,
                    messages=messages,
                    tools=[openai.pydantic_function_tool(Weather)],
                )
            )
            return answer.choices[0].message

        messages = [{"role": "user", "content": text}]
        message = ask()
        (call,) = message.tool_calls
        messages += [message, {"role": "tool", "tool_call_id": call.id, "content": result}]
        return Call(call.function.name, call.function.parsed_arguments, ask().content)

    def structured(self, text):
        answer = self.wait(
            self.client.chat.completions.parse(
                model=MODEL, messages=[{"role": "user", "content": text}], response_format=Weather
            )
        )
        return answer.choices[0].message.parsed

    def embed(self, texts):
        answer = self.wait(self.client.embeddings.create(model=EMBEDDING_MODEL, input=texts))
        return [item.embedding for item in answer.data]

    def models(self):
        return [model.id for model in self.each(self.client.models.list())]


class AsyncOpenAI(OpenAI):
    id = "python-openai-async"
    make = openai.AsyncOpenAI

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.runner = asyncio.Runner()

    def wait(self, returned):
        return self.runner.run(returned)

    def each(self, items):
        items = aiter(items)

        async def following():
            return await anext(items, None)

        while (item := self.wait(following())) is not None:
            yield item

    def close(self):
        super().close()
        self.runner.close()


class LangChain(Client):
    id = "langchain"
    version = version("langchain-openai")
    lacks = {"models": "it has no call that lists models"}

    def __init__(self, url, key="unused", retries=False):
        self.access = {"base_url": url, "api_key": key}
        self.options = {} if retries else {"max_retries": 0}

    def model(self, model=MODEL):
        # With a custom base URL, LangChain requests usage in a stream only if this is set.
        return langchain_openai.ChatOpenAI(
            model=model, stream_usage=True, **self.access, **self.options
        )

    def chat(self, content, model=MODEL):
        answer = self.model(model).invoke([HumanMessage(content)])
        return Answer(answer.text, answer.usage_metadata["total_tokens"])

    def stream(self, text):
        for chunk in self.model().stream(text):
            usage = chunk.usage_metadata
            yield Answer(chunk.text, usage and usage["total_tokens"])

    def call_tool(self, text, result):
        model = self.model().bind_tools([Weather])
        messages = [HumanMessage(text)]
        answer = model.invoke(messages)
        (call,) = answer.tool_calls
        messages += [answer, ToolMessage(result, tool_call_id=call["id"])]
        arguments = Weather.model_validate(call["args"])
        return Call(call["name"], arguments, model.invoke(messages).text)

    def structured(self, text):
        return self.model().with_structured_output(Weather).invoke(text)

    def embed(self, texts):
        # Without this, LangChain sends OpenAI's token numbers, and fetches the vocabulary for them.
        embeddings = langchain_openai.OpenAIEmbeddings(
            model=EMBEDDING_MODEL, check_embedding_ctx_length=False, **self.access, **self.options
        )
        return embeddings.embed_documents(texts)


class LiteLLM(Client):
    id = "litellm"
    version = version("litellm")
    notes = {
        "403": "it has no type of its own for this status, and raises `APIError` with its `status_code`",
        "413": "it has no type of its own for this status, and raises `APIError` with its `status_code`",
        "429_retry_info": "by default the OpenAI SDK beneath it retries, and waits; its own `num_retries` "
        "retries without a wait",
        "embeddings": "`encoding_format` must be set, because it sends `null` by default",
    }
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


CLIENTS = [OpenAI, AsyncOpenAI, LangChain, LiteLLM]
