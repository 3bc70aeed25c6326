"""DSPy."""

import dspy

from clients.adapter import Adapter
from clients.subjects import GEMINI_3, City, Usage


class DSPy(Adapter):
    plain_only = ("thinking", "blocked")

    def __init__(self, url):
        self.model = dspy.LM(
            f"openai/{GEMINI_3}", api_base=url, api_key="unused", cache=False, num_retries=0
        )

    def city(self, text):
        signature = dspy.Signature({"text": dspy.InputField(), "city": (City, dspy.OutputField())})
        with dspy.context(lm=self.model, adapter=dspy.JSONAdapter()):
            return dspy.Predict(signature)(text=text).city

    def usage(self, text, streamed):
        self.model(text)
        usage = self.model.history[-1]["usage"]
        return Usage(usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"])

    def finish(self, text, streamed):
        self.model(text)
        return self.model.history[-1]["response"].finish_reason
