"""LlamaIndex, with its class for servers with OpenAI's API."""

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

from clients.adapter import AsyncAdapter
from clients.subjects import GEMINI_3, Answer, City, Usage


class LlamaIndex(AsyncAdapter):
    def __init__(self, url):
        super().__init__()
        self.access = {"api_base": url, "api_key": "unused", "max_retries": 0}

    def model(self, **more):
        return OpenAILike(
            model=GEMINI_3,
            is_chat_model=True,
            is_function_calling_model=True,
            should_use_structured_outputs=True,
            **more,
            **self.access,
        )

    def ask(self, text, streamed):
        messages = [ChatMessage(role="user", content=text)]
        if not streamed:
            return [self.model().chat(messages)]
        options = {"stream_options": {"include_usage": True}}
        return list(self.model(additional_kwargs=options).stream_chat(messages))

    def agent(self, text, tools, streamed):
        async def run():
            agent = FunctionAgent(
                llm=self.model(),
                tools=[FunctionTool.from_defaults(tool.function) for tool in tools],
                streaming=streamed,
            )
            return await agent.run(text)

        return str(self.run(run()))

    def usage(self, text, streamed):
        usage = self.ask(text, streamed)[-1].raw.usage
        return Usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)

    def city(self, text):
        return self.model().as_structured_llm(City).complete(text).raw

    def finish(self, text, streamed):
        # The last chunk of a stream may have the usage alone.
        choices = [choice for part in self.ask(text, streamed) for choice in part.raw.choices]
        return choices[-1].finish_reason

    def stream(self, text):
        for part in self.model().stream_chat([ChatMessage(role="user", content=text)]):
            yield Answer(part.delta, None)
