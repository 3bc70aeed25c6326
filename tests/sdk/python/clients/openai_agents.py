"""The OpenAI Agents SDK, with Chat Completions and with the Responses API, which is its default."""

import agents
import openai

from clients.adapter import AsyncAdapter, Wrong
from clients.subjects import GROK, Answer, City, Usage

# By default the SDK sends a record of each run to OpenAI.
agents.set_tracing_disabled(True)


class AgentsSDK(AsyncAdapter):
    api = agents.OpenAIChatCompletionsModel

    def __init__(self, url):
        super().__init__()
        client = openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0)
        self.model = self.api(self.thinker, client)

    def ask(self, text, streamed, **more):
        async def run():
            agent = agents.Agent(name="traveller", model=self.model, **more)
            if not streamed:
                return await agents.Runner.run(agent, text)
            result = agents.Runner.run_streamed(agent, text)
            async for _ in result.stream_events():
                pass
            return result

        return self.run(run())

    def agent(self, text, tools, streamed):
        tools = [agents.function_tool(tool.function) for tool in tools]
        return self.ask(text, streamed, tools=tools).final_output

    def usage(self, text, streamed):
        usage = self.ask(text, streamed).context_wrapper.usage
        return Usage(usage.input_tokens, usage.output_tokens, usage.total_tokens)

    def city(self, text):
        return self.ask(text, streamed=False, output_type=City).final_output

    def finish(self, text, streamed):
        try:
            result = self.ask(text, streamed)
        except agents.ModelRefusalError:
            return self.filtered
        raise Wrong(f"no error, and the text {result.final_output!r}")

    def stream(self, text):
        async def texts():
            agent = agents.Agent(name="traveller", model=self.model)
            async for event in agents.Runner.run_streamed(agent, text).stream_events():
                if event.type == "raw_response_event" and event.data.type == (
                    "response.output_text.delta"
                ):
                    yield Answer(event.data.delta, None)

        yield from self.each(texts())


class AgentsSDKResponses(AgentsSDK):
    api = agents.OpenAIResponsesModel
    thinker = GROK
    # Grok has no signatures.
    sends_calls_back = False
