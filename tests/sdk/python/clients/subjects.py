"""The models, texts and tools that the tests use with any client."""

from collections.abc import Callable
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

MODEL = "google/gemini-2.5-flash"
# A model that thinks, and whose calls have signatures that must come back.
GEMINI_3 = "google/gemini-3.1-pro-preview"
# The only models that Vertex AI serves with the Responses API.
GROK = "xai/grok-4.3"
EMBEDDING_MODEL = "google/text-embedding-005"


class Weather(BaseModel):
    """Returns the weather of the next days."""

    city: str
    days: int = Field(ge=1)


class City(BaseModel):
    """A city and its languages."""

    # OpenAI's strict mode requires this, and some clients demand it.
    model_config = ConfigDict(extra="forbid")

    name: str
    inhabitants: int
    languages: list[str]


class Answer(NamedTuple):
    """The text of a response or of a chunk, and the total tokens if they were reported."""

    text: str
    tokens: int | None


class Call(NamedTuple):
    """A call of the tool `Weather`, and the text that follows its result."""

    name: str
    arguments: Weather
    text: str


class Usage(NamedTuple):
    """The tokens as the client reports them. `output` is what the user believes to pay for."""

    input: int
    output: int
    total: int


class Tool(NamedTuple):
    """A function that a model may call."""

    function: Callable

    @property
    def name(self):
        return self.function.__name__

    @property
    def description(self):
        return self.function.__doc__

    @property
    def schema(self):
        """The schema of the arguments."""
        return TypeAdapter(self.function).json_schema()

    @property
    def openai(self):
        """The tool as it is in a request."""
        function = {"name": self.name, "description": self.description, "parameters": self.schema}
        return {"type": "function", "function": function}


class Trip:
    """The tools of an agent, and the calls that reached them."""

    def __init__(self):
        self.calls = []

        def weather(city: str, day: int) -> str:
            """Returns the weather in a city.

            Args:
                city: The name of the city.
                day: The day of the month.
            """
            self.calls.append(("weather", city, day))
            return "22 degrees"

        def find_train(city: str, day: int) -> str:
            """Finds a train to a city.

            Args:
                city: The name of the city.
                day: The day of the month.
            """
            self.calls.append(("find_train", city, day))
            return "at 9:40"

        def book_room(city: str, day: int) -> str:
            """Books a room in a city.

            Args:
                city: The name of the city.
                day: The day of the month.
            """
            self.calls.append(("book_room", city, day))
            return "room 7"

        self.tools = [Tool(weather), Tool(find_train), Tool(book_room)]

    @property
    def names(self):
        """The names of the called tools, in order."""
        return [name for name, *_ in self.calls]
