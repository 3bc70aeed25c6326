"""Google's SDK, in the form of the Gemini Developer API and in that of Vertex AI."""

from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from clients.subjects import Answer, Call, Weather
from native.adapter import DESCRIPTION, LOCATION, PROJECT, Adapter, schema


class GoogleGenAI(Adapter):
    errors = {
        403: errors.ClientError,
        404: errors.ClientError,
        429: errors.ClientError,
        503: errors.ServerError,
    }

    def __init__(self, gateway, retries=False):
        retry = types.HttpRetryOptions() if retries else types.HttpRetryOptions(attempts=1)
        http = types.HttpOptions(base_url=gateway.root, retry_options=retry)
        self.client = genai.Client(http_options=http, **self.access())

    def status(self, error):
        return error.code

    def close(self):
        self.client.close()

    def generate(self, contents, model=None, **config):
        return self.client.models.generate_content(
            model=model or self.model, contents=contents, config=config or None
        )

    def chat(self, text, model=None):
        answer = self.generate(text, model)
        return Answer(answer.text, answer.usage_metadata.total_token_count)

    def stream(self, text):
        for chunk in self.client.models.generate_content_stream(model=self.model, contents=text):
            usage = chunk.usage_metadata
            yield Answer(chunk.text or "", usage and usage.total_token_count)

    def call_tool(self, text, result):
        declaration = types.FunctionDeclaration(
            name="Weather", description=DESCRIPTION, parameters_json_schema=schema()
        )
        tools = [types.Tool(function_declarations=[declaration])]
        contents = [types.UserContent(text)]
        answer = self.generate(contents, tools=tools)
        (call,) = answer.function_calls
        part = types.Part.from_function_response(name=call.name, response={"result": result})
        contents += [answer.candidates[0].content, types.UserContent(part)]
        arguments = Weather.model_validate(call.args)
        return Call(call.name, arguments, self.generate(contents, tools=tools).text)

    def count(self, text):
        return self.client.models.count_tokens(model=self.model, contents=text).total_tokens


class Developer(GoogleGenAI):
    def access(self):
        return {"api_key": "unused"}


class Vertex(GoogleGenAI):
    def access(self):
        credentials = Credentials("unused")
        return {
            "vertexai": True,
            "project": PROJECT,
            "location": LOCATION,
            "credentials": credentials,
        }
