"""Instructor."""

import instructor
import openai

from clients.adapter import Adapter
from clients.subjects import GEMINI_3, City


class Instructor(Adapter):
    def __init__(self, url):
        client = openai.OpenAI(base_url=url, api_key="unused", max_retries=0)
        self.client = instructor.from_openai(client)

    def city(self, text):
        messages = [{"role": "user", "content": text}]
        return self.client.chat.completions.create(
            model=GEMINI_3, messages=messages, response_model=City, max_retries=0
        )
