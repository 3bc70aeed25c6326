"""Instructor."""

import instructor
import openai

from clients.adapter import Adapter
from clients.subjects import GEMINI_3, City, Usage


class Instructor(Adapter):
    plain_only = ("thinking",)

    def __init__(self, url):
        client = openai.OpenAI(base_url=url, api_key="unused", max_retries=0)
        self.client = instructor.from_openai(client)

    def ask(self, text):
        messages = [{"role": "user", "content": text}]
        return self.client.chat.completions.create_with_completion(
            model=GEMINI_3, messages=messages, response_model=City, max_retries=0
        )

    def city(self, text):
        city, _ = self.ask(text)
        return city

    def usage(self, text, streamed):
        _, completion = self.ask(text)
        usage = completion.usage
        return Usage(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
