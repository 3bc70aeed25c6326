"""The parts that all adapters share."""

import asyncio

import openai

from clients.subjects import GEMINI_3


class Wrong(Exception):
    """The client raised no error, and its result is wrong. The text is for the table."""


class Adapter:
    """`errors` are the client's exceptions by status."""

    errors = {
        400: openai.BadRequestError,
        403: openai.PermissionDeniedError,
        404: openai.NotFoundError,
        # The SDK has no exception of its own for the other 4xx statuses.
        413: openai.APIStatusError,
        429: openai.RateLimitError,
        500: openai.InternalServerError,
        503: openai.InternalServerError,
    }
    # The name of a function in requests, and the start of the text that an agent returns.
    named = "{}"
    final = "This is the Vertex AI emulator."
    # Whether the calls of a model are in the next request.
    sends_calls_back = True
    # The actions that this client has only without a stream.
    plain_only = ()
    # The model of `usage`.
    thinker = GEMINI_3
    # The finish reason of a response that a filter withheld.
    filtered = "content_filter"

    def modes(self, action):
        """Whether to stream."""
        return [False] if action in self.plain_only else [False, True]

    def headers(self, error):
        """The headers of the response that caused an error."""
        return error.response.headers

    def close(self):
        pass


class AsyncAdapter(Adapter):
    """For a client whose calls are asynchronous. All of them run in one event loop, as in a program."""

    def __init__(self):
        self.runner = asyncio.Runner()

    def run(self, call):
        return self.runner.run(call)

    def each(self, items):
        """The items of an asynchronous iterator, at its end or at its error.

        Some clients allow only one task to read all of them.
        """
        arrived = []

        async def read():
            async for item in items:
                arrived.append(item)

        try:
            self.run(read())
        finally:
            yield from arrived

    def close(self):
        self.runner.close()
