"""LangChain, with its package for OpenAI."""

import langchain_openai
from langchain_core.messages import HumanMessage, ToolMessage

from clients.adapter import Adapter, Wrong
from clients.subjects import EMBEDDING_MODEL, GEMINI_3, MODEL, Answer, Call, City, Usage, Weather


class LangChain(Adapter):
    def __init__(self, url, key="unused", retries=False):
        self.access = {"base_url": url, "api_key": key}
        self.options = {} if retries else {"max_retries": 0}

    def model(self, model=MODEL):
        # With a custom base URL, LangChain requests usage in a stream only if this is set.
        return langchain_openai.ChatOpenAI(
            model=model, stream_usage=True, **self.access, **self.options
        )

    def chat(self, content, model=MODEL):
        answer = self.model(model).invoke([HumanMessage(content)])
        return Answer(answer.text, answer.usage_metadata["total_tokens"])

    def stream(self, text):
        for chunk in self.model().stream(text):
            usage = chunk.usage_metadata
            yield Answer(chunk.text, usage and usage["total_tokens"])

    def call_tool(self, text, result):
        model = self.model().bind_tools([Weather])
        messages = [HumanMessage(text)]
        answer = model.invoke(messages)
        (call,) = answer.tool_calls
        messages += [answer, ToolMessage(result, tool_call_id=call["id"])]
        arguments = Weather.model_validate(call["args"])
        return Call(call["name"], arguments, model.invoke(messages).text)

    def structured(self, text):
        return self.model().with_structured_output(Weather).invoke(text)

    def ask(self, model, messages, streamed):
        if not streamed:
            return model.invoke(messages)
        first, *others = model.stream(messages)
        return sum(others, first)

    def agent(self, text, tools, streamed):
        functions = {tool.name: tool.function for tool in tools}
        model = self.model(GEMINI_3).bind_tools(list(functions.values()))
        messages = [HumanMessage(text)]
        while True:
            answer = self.ask(model, messages, streamed)
            for call in answer.invalid_tool_calls:
                raise Wrong(f"an invalid call of {call['name']!r} with {call['args']!r}")
            if not answer.tool_calls:
                return answer.text
            messages.append(answer)
            for call in answer.tool_calls:
                result = functions[call["name"]](**call["args"])
                messages.append(ToolMessage(result, tool_call_id=call["id"]))

    def usage(self, text, streamed):
        usage = self.ask(self.model(GEMINI_3), [HumanMessage(text)], streamed).usage_metadata
        return Usage(usage["input_tokens"], usage["output_tokens"], usage["total_tokens"])

    def city(self, text):
        return self.model(GEMINI_3).with_structured_output(City).invoke(text)

    def finish(self, text, streamed):
        answer = self.ask(self.model(GEMINI_3), [HumanMessage(text)], streamed)
        return answer.response_metadata["finish_reason"]

    def embed(self, texts):
        # Without this, LangChain sends OpenAI's token numbers, and fetches the vocabulary for them.
        embeddings = langchain_openai.OpenAIEmbeddings(
            model=EMBEDDING_MODEL, check_embedding_ctx_length=False, **self.access, **self.options
        )
        return embeddings.embed_documents(texts)
