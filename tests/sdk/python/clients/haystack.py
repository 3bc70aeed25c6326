"""Haystack."""

from haystack.components.agents import Agent
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack.utils import Secret

from clients.adapter import Adapter
from clients.subjects import EMBEDDING_MODEL, GEMINI_3, Answer, City, Usage


class Haystack(Adapter):
    def __init__(self, url):
        self.access = {
            "api_base_url": url,
            "api_key": Secret.from_token("unused"),
            "max_retries": 0,
        }

    def model(self, **more):
        return OpenAIChatGenerator(model=GEMINI_3, **more, **self.access)

    def ask(self, text, streamed, **more):
        callback = (lambda chunk: None) if streamed else None
        if streamed:
            more["stream_options"] = {"include_usage": True}
        model = self.model(streaming_callback=callback, generation_kwargs=more)
        return model.run([ChatMessage.from_user(text)])["replies"][0]

    def agent(self, text, tools, streamed):
        callback = (lambda chunk: None) if streamed else None
        agent = Agent(
            chat_generator=self.model(),
            tools=[create_tool_from_function(tool.function) for tool in tools],
            streaming_callback=callback,
        )
        return agent.run(messages=[ChatMessage.from_user(text)])["last_message"].text

    def usage(self, text, streamed):
        usage = self.ask(text, streamed).meta["usage"]
        return Usage(usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])

    def city(self, text):
        return City.model_validate_json(self.ask(text, streamed=False, response_format=City).text)

    def finish(self, text, streamed):
        return self.ask(text, streamed).meta["finish_reason"]

    def stream(self, text):
        # The parts arrive by a callback, so this has them only at the end or at an error.
        parts = []
        try:
            self.model(streaming_callback=parts.append).run([ChatMessage.from_user(text)])
        finally:
            yield from (Answer(part.content, None) for part in parts)

    def embed(self, texts):
        embedder = OpenAITextEmbedder(model=EMBEDDING_MODEL, **self.access)
        return [embedder.run(text)["embedding"] for text in texts]
