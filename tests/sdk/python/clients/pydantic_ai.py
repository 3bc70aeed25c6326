"""Pydantic AI."""

import openai
from pydantic_ai import Agent, Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ContentFilterError
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from clients.adapter import AsyncAdapter
from clients.subjects import EMBEDDING_MODEL, GEMINI_3, Answer, City, Usage


class PydanticAI(AsyncAdapter):
    def __init__(self, url):
        super().__init__()
        client = openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0)
        self.provider = OpenAIProvider(openai_client=client)
        self.model = OpenAIChatModel(GEMINI_3, provider=self.provider)

    def ask(self, text, streamed, **more):
        """Returns the result, whose output has arrived."""

        async def run():
            agent = Agent(self.model, retries=0, **more)
            if not streamed:
                return await agent.run(text)
            async with agent.run_stream(text) as result:
                await result.get_output()
                return result

        return self.run(run())

    def agent(self, text, tools, streamed):
        result = self.ask(text, streamed, tools=[tool.function for tool in tools])
        return result.all_messages()[-1].text

    def usage(self, text, streamed):
        usage = self.ask(text, streamed).usage
        return Usage(usage.input_tokens, usage.output_tokens, usage.total_tokens)

    def city(self, text):
        return self.ask(text, streamed=False, output_type=City).output

    def finish(self, text, streamed):
        try:
            return self.ask(text, streamed).response.finish_reason
        except ContentFilterError:
            return "content_filter"

    def stream(self, text):
        async def texts():
            async with Agent(self.model, retries=0).run_stream(text) as result:
                async for part in result.stream_text(delta=True, debounce_by=None):
                    yield Answer(part, None)

        yield from self.each(texts())

    def embed(self, texts):
        model = OpenAIEmbeddingModel(EMBEDDING_MODEL, provider=self.provider)
        return self.run(Embedder(model).embed_documents(texts)).embeddings
