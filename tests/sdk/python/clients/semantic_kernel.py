"""Semantic Kernel."""

import openai
from semantic_kernel.agents import ChatCompletionAgent
from semantic_kernel.connectors.ai.open_ai import (
    OpenAIChatCompletion,
    OpenAIChatPromptExecutionSettings,
    OpenAITextEmbedding,
)
from semantic_kernel.contents import ChatHistory
from semantic_kernel.functions import KernelFunctionFromMethod, KernelPlugin, kernel_function

from clients.adapter import AsyncAdapter
from clients.subjects import EMBEDDING_MODEL, GEMINI_3, Answer, City, Usage


class SemanticKernel(AsyncAdapter):
    # A function has the name of its plugin before its own.
    named = "trip-{}"

    def __init__(self, url):
        super().__init__()
        self.url = url

    def service(self, kind=OpenAIChatCompletion, model=GEMINI_3):
        client = openai.AsyncOpenAI(base_url=self.url, api_key="unused", max_retries=0)
        return kind(ai_model_id=model, async_client=client)

    async def parts(self, text, **more):
        settings = OpenAIChatPromptExecutionSettings(**more)
        history = ChatHistory()
        history.add_user_message(text)
        service = self.service()
        async for parts in service.get_streaming_chat_message_contents(history, settings):
            for part in parts:
                yield part

    def ask(self, text, streamed, **more):
        async def run():
            if streamed:
                parts = [part async for part in self.parts(text, **more)]
                return sum(parts[1:], parts[0])
            settings = OpenAIChatPromptExecutionSettings(**more)
            history = ChatHistory()
            history.add_user_message(text)
            return await self.service().get_chat_message_content(history, settings)

        return self.run(run())

    def agent(self, text, tools, streamed):
        functions = [
            KernelFunctionFromMethod(kernel_function(tool.function), plugin_name="trip")
            for tool in tools
        ]
        plugin = KernelPlugin(name="trip", functions=functions)

        async def run():
            agent = ChatCompletionAgent(service=self.service(), name="traveller", plugins=[plugin])
            if not streamed:
                return str(await agent.get_response(messages=text))
            return "".join([str(part) async for part in agent.invoke_stream(messages=text)])

        return self.run(run())

    def usage(self, text, streamed):
        usage = self.ask(text, streamed).metadata["usage"]
        total = usage.prompt_tokens + usage.completion_tokens
        return Usage(usage.prompt_tokens, usage.completion_tokens, total)

    def city(self, text):
        answer = self.ask(text, streamed=False, response_format=City)
        return City.model_validate_json(str(answer))

    def finish(self, text, streamed):
        return self.ask(text, streamed).finish_reason

    def stream(self, text):
        async def texts():
            async for part in self.parts(text):
                yield Answer(str(part), None)

        yield from self.each(texts())

    def embed(self, texts):
        service = self.service(OpenAITextEmbedding, EMBEDDING_MODEL)
        return [list(vector) for vector in self.run(service.generate_embeddings(texts))]
