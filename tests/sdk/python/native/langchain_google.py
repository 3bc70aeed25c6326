"""LangChain's packages for Gemini and for Vertex AI."""

import anthropic
import langchain_google_genai
import langchain_google_vertexai
from google.api_core import exceptions
from google.oauth2.credentials import Credentials
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_google_genai.chat_models import ChatGoogleGenerativeAIError
from langchain_google_vertexai.model_garden import ChatAnthropicVertex

from clients.subjects import Answer, Call, Weather
from native.adapter import CLAUDE, LOCATION, PROJECT, Adapter, ClaudeAdapter


class LangChain(Adapter):
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
        arguments = Weather.model_validate(call["args"])
        return Call(call["name"], arguments, model.invoke(messages).text)

    def count(self, text):
        return self.chat_model().get_num_tokens(text)


class GenAI(LangChain):
    errors = dict.fromkeys([403, 404, 429, 503], ChatGoogleGenerativeAIError)

    def __init__(self, gateway, retries=False):
        self.options = {"base_url": gateway.root, "api_key": "unused"}
        self.options |= {} if retries else {"max_retries": 1}

    def chat_model(self, model=None):
        return langchain_google_genai.ChatGoogleGenerativeAI(
            model=model or self.model, **self.options
        )


class VertexAI(LangChain):
    errors = {
        403: exceptions.PermissionDenied,
        404: exceptions.NotFound,
        429: exceptions.TooManyRequests,
        503: exceptions.ServiceUnavailable,
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
