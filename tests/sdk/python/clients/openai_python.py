"""The `openai` package, with its synchronous and its asynchronous client."""

import asyncio
import json

import openai

from clients.adapter import Adapter, Wrong
from clients.subjects import EMBEDDING_MODEL, GEMINI_3, MODEL, Answer, Call, City, Usage, Weather


class OpenAI(Adapter):
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

    # The tests of the cures use the synchronous client only.

    def ask(self, text, streamed, messages=None, **more):
        """Returns Gemini 3's completion. The SDK itself puts a stream together."""
        messages = messages or [{"role": "user", "content": text}]
        if not streamed:
            return self.wait(
                self.client.chat.completions.create(model=GEMINI_3, messages=messages, **more)
            )
        options = {"stream_options": {"include_usage": True}} | more
        with self.client.chat.completions.stream(
            model=GEMINI_3, messages=messages, **options
        ) as stream:
            return stream.get_final_completion()

    def agent(self, text, tools, streamed):
        functions = {tool.name: tool.function for tool in tools}
        messages = [{"role": "user", "content": text}]
        while True:
            offered = [tool.openai for tool in tools]
            message = self.ask(text, streamed, messages, tools=offered).choices[0].message
            if message.role != "assistant":
                raise Wrong(f"the role of the message is {message.role!r}")
            if not message.tool_calls:
                return message.content
            messages.append(message)
            for call in message.tool_calls:
                result = functions[call.function.name](**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})

    def usage(self, text, streamed):
        usage = self.ask(text, streamed).usage
        return Usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)

    def city(self, text):
        answer = self.client.chat.completions.parse(
            model=GEMINI_3, messages=[{"role": "user", "content": text}], response_format=City
        )
        return answer.choices[0].message.parsed

    def finish(self, text, streamed):
        try:
            choice = self.ask(text, streamed).choices[0]
        except openai.ContentFilterFinishReasonError:
            return self.filtered
        # A program reads the text, even if there is none.
        choice.message.content
        return choice.finish_reason


class AsyncOpenAI(OpenAI):
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
