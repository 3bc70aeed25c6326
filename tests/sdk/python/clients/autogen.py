"""AutoGen."""

from autogen_agentchat.agents import AssistantAgent
from autogen_core.models import UserMessage
from autogen_ext.models.openai import OpenAIChatCompletionClient

from clients.adapter import AsyncAdapter
from clients.subjects import GEMINI_3, Answer, City, Usage

# AutoGen requires this for each model that is not OpenAI's.
MODEL_INFO = {
    "family": "unknown",
    "function_calling": True,
    "json_output": True,
    "multiple_system_messages": True,
    "structured_output": True,
    "vision": True,
}


class AutoGen(AsyncAdapter):
    def __init__(self, url):
        super().__init__()
        self.access = {"base_url": url, "api_key": "unused", "max_retries": 0}

    def model(self):
        return OpenAIChatCompletionClient(model=GEMINI_3, model_info=MODEL_INFO, **self.access)

    def ask(self, text, streamed, **more):
        async def run():
            model = self.model()
            messages = [UserMessage(content=text, source="user")]
            if not streamed:
                return await model.create(messages, **more)
            more["include_usage"] = True
            return [part async for part in model.create_stream(messages, **more)][-1]

        return self.run(run())

    def agent(self, text, tools, streamed):
        async def run():
            agent = AssistantAgent(
                "traveller",
                self.model(),
                tools=[tool.function for tool in tools],
                max_tool_iterations=10,
                model_client_stream=streamed,
            )
            return await agent.run(task=text)

        return self.run(run()).messages[-1].content

    def usage(self, text, streamed):
        usage = self.ask(text, streamed).usage
        total = usage.prompt_tokens + usage.completion_tokens
        return Usage(usage.prompt_tokens, usage.completion_tokens, total)

    def city(self, text):
        return City.model_validate_json(self.ask(text, streamed=False, json_output=City).content)

    def finish(self, text, streamed):
        return self.ask(text, streamed).finish_reason

    def stream(self, text):
        async def texts():
            messages = [UserMessage(content=text, source="user")]
            async for part in self.model().create_stream(messages):
                if isinstance(part, str):
                    yield Answer(part, None)

        yield from self.each(texts())
