"""LangChain's packages for Gemini and for Vertex AI."""

import anthropic
import langchain_google_genai
import langchain_google_vertexai
from google.api_core import exceptions as api_core
from google.genai import errors
from google.oauth2.credentials import Credentials
from langchain_core import exceptions
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_google_vertexai.model_garden import ChatAnthropicVertex

from clients.subjects import Answer, Call, Weather
from native.adapter import CLAUDE, LOCATION, PROJECT, Adapter, ClaudeAdapter


class LangChain(Adapter):
    # Arguments in place of the model's.
    corrected = {}

    def chat(self, text, model=None):
        answer = self.chat_model(model).invoke(text)
        return Answer(answer.text, answer.usage_metadata["total_tokens"])

    def stream(self, text):
        for chunk in self.chat_model().stream(text):
            usage = chunk.usage_metadata
            yield Answer(chunk.text, usage and usage["total_tokens"])

    def call_tool(self, text, result):
        model = self.chat_model().bind_tools([Weather])
        messages = [HumanMessage(text)]
        answer = model.invoke(messages)
        (call,) = answer.tool_calls
        messages += [answer, ToolMessage(result, tool_call_id=call["id"])]
        arguments = Weather.model_validate(call["args"] | self.corrected)
        return Call(call["name"], arguments, model.invoke(messages).text)

    def count(self, text):
        return self.chat_model().get_num_tokens(text)


class GenAI(LangChain):
    # The own error of Google's SDK, which the count of tokens raises.
    errors = {
        400: errors.ClientError,
        403: exceptions.ModelPermissionDeniedError,
        404: exceptions.ModelNotFoundError,
        429: exceptions.ModelRateLimitError,
        503: exceptions.ModelAPIError,
    }

    def status(self, error):
        return error.__cause__.code

    # The schema that it sends lacks the minimum, and the emulator's number is zero.
    corrected = {"days": 1}

    def __init__(self, gateway, retries=False):
        self.options = {"base_url": gateway.root, "api_key": "unused"}
        self.options |= {} if retries else {"max_retries": 1}

    def chat_model(self, model=None):
        return langchain_google_genai.ChatGoogleGenerativeAI(
            model=model or self.model, **self.options
        )


class VertexAI(LangChain):
    errors = {
        403: api_core.Forbidden,
        404: api_core.NotFound,
        429: api_core.TooManyRequests,
        503: api_core.ServiceUnavailable,
    }

    def __init__(self, gateway, retries=False):
        # Its default is gRPC.
        self.options = {
            "base_url": gateway.root,
            "api_transport": "rest",
            "project": PROJECT,
            "location": LOCATION,
            "credentials": Credentials("unused"),
        }
        self.options |= {} if retries else {"max_retries": 0}

    def status(self, error):
        return error.code

    def chat_model(self, model=None):
        return langchain_google_vertexai.ChatVertexAI(model=model or self.model, **self.options)


class AnthropicVertex(ClaudeAdapter, LangChain):
    model = CLAUDE
    errors = {
        403: anthropic.PermissionDeniedError,
        404: anthropic.NotFoundError,
        429: anthropic.RateLimitError,
        503: anthropic.InternalServerError,
    }

    def __init__(self, gateway, retries=False):
        self.options = {
            "base_url": f"{gateway.root}/v1",
            "project": PROJECT,
            "location": LOCATION,
            "credentials": Credentials("unused"),
        }
        self.options |= {} if retries else {"max_retries": 0}

    def chat_model(self, model=None):
        return ChatAnthropicVertex(model=model or self.model, **self.options)
