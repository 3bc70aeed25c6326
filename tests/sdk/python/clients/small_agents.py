"""smolagents."""

import smolagents
from smolagents import ChatMessage, OpenAIModel, ToolCallingAgent

from clients.adapter import Adapter
from clients.subjects import GEMINI_3, Answer, City, Usage


class Smolagents(Adapter):
    # The last text is the argument of a tool.
    final = "example"
    sends_calls_back = False
    plain_only = ("blocked",)

    def __init__(self, url):
        self.model = OpenAIModel(
            GEMINI_3, api_base=url, api_key="unused", client_kwargs={"max_retries": 0}
        )

    def ask(self, text, streamed, **more):
        messages = [ChatMessage(role="user", content=text)]
        if not streamed:
            return self.model.generate(messages, **more)
        return smolagents.models.agglomerate_stream_deltas(
            list(self.model.generate_stream(messages, **more))
        )

    def agent(self, text, tools, streamed):
        left = [tool.name for tool in tools if tool.name in text]

        def request_the_next_tool(step):
            # The results of tools are messages of the user here, and the emulator follows the last one.
            for call in step.tool_calls or []:
                if call.name in left:
                    left.remove(call.name)
            following = [*left, "final_answer"][0]
            step.observations = f"{step.observations}. Now call the tool {following}"

        agent = ToolCallingAgent(
            tools=[smolagents.tool(tool.function) for tool in tools],
            model=self.model,
            stream_outputs=streamed,
            step_callbacks=[request_the_next_tool],
            max_steps=len(tools) + 1,
            verbosity_level=0,
        )
        return agent.run(text)

    def usage(self, text, streamed):
        usage = self.ask(text, streamed).token_usage
        return Usage(usage.input_tokens, usage.output_tokens, usage.total_tokens)

    def city(self, text):
        schema = {"name": "City", "schema": City.model_json_schema(), "strict": True}
        format = {"type": "json_schema", "json_schema": schema}
        answer = self.ask(text, streamed=False, response_format=format)
        return City.model_validate_json(answer.content)

    def finish(self, text, streamed):
        return self.ask(text, streamed).raw.choices[0].finish_reason

    def stream(self, text):
        for delta in self.model.generate_stream([ChatMessage(role="user", content=text)]):
            yield Answer(delta.content or "", None)
