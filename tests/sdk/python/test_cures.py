"""Tests of each client with Gemini's own behaviour, without the sidecar's cures and with them.

`red` in `matrix.json` lists what a client cannot do without the cures. Such a test passes if the client fails,
so that the list is never longer or shorter than the truth.
"""

import re

import pytest

from clients.subjects import City, Trip
from matrix import CURES, actions, of, parameters

COLUMNS = {"off": ["--compat", "off"], "on": []}
RED = {client["id"]: client["red"] for client in CURES["clients"]}
ECHO = "This is the Vertex AI emulator. You said: "


GOOGLES_SENTENCE = "The service is currently unavailable."


class Wrong(Exception):
    """The client raised no error, and its result is wrong. The text is for the table."""


def expect(found, expected, what):
    if found != expected:
        raise Wrong(f"{what}: {found!r} instead of {expected!r}")


# The actions


def run_agent(gateway, client, text, trip, streamed):
    answer = client.agent(text, trip.tools, streamed)
    if not (answer or "").startswith(client.final):
        raise Wrong(f"the text of the agent is {answer!r}")


def tool_loop(gateway, client, streamed=False):
    trip = Trip()
    names = [client.named.format(tool.name) for tool in trip.tools]
    text = "Please " + ", then ".join(f"call the tool {name}" for name in names)
    run_agent(gateway, client, text, trip, streamed)
    expect([name for name, *_ in trip.calls], [tool.name for tool in trip.tools], "the calls")
    no_signature_was_lost(gateway)


def tool_loop_streamed(gateway, client):
    tool_loop(gateway, client, streamed=True)


def parallel_calls(gateway, client, streamed=False):
    trip = Trip()
    first, second = (client.named.format(tool.name) for tool in trip.tools[:2])
    run_agent(gateway, client, f"Please call the tools {first} and {second} at once", trip, streamed)
    # A client may run both at the same time.
    expect(sorted(name for name, *_ in trip.calls), ["find_train", "weather"], "the calls")
    expect(gateway.stats()["by_status"], {"200": 2}, "the responses")
    no_signature_was_lost(gateway)


def parallel_calls_streamed(gateway, client):
    parallel_calls(gateway, client, streamed=True)


def no_signature_was_lost(gateway):
    """The cures restore the model's own signatures, and need no placeholder."""
    lost = {
        name: count
        for name, count in gateway.control("GET", "chat")["signatures"].items()
        if name != "valid" and count
    }
    expect(lost, {}, "the signatures")


def streamed_arguments(gateway, client):
    gateway.control("PUT", "chat", {"tool_stream": "as_documented"})
    parallel_calls(gateway, client, streamed=True)


def thinking(gateway, client):
    for streamed in False, True:
        usage = client.usage("think", streamed)
        billed = gateway.billed("think")
        expect(usage.input + usage.output, billed, "the tokens of input and output")
        expect(usage.total, billed, "all tokens")


def gemini_object(gateway, client):
    city = client.city("Paris")
    if not isinstance(city, City):
        raise Wrong(f"the object is {city!r}")
    expect([type(city.inhabitants), len(city.languages)], [int, 1], "the fields")


def blocked(gateway, client):
    gateway.control("PUT", "chat", {"finish_reason": "content_filter: PROHIBITED_CONTENT"})
    for streamed in False, True:
        expect(client.finish("hello", streamed), client.filtered, "the finish reason")


def stream_error(gateway, client):
    gateway.control("PUT", "chat", {"stream_events": ["error"]})
    arrived = []
    try:
        for part in client.stream("one two three"):
            arrived.append(part.text)
    except Exception as error:
        if GOOGLES_SENTENCE not in str(error):
            raise
    else:
        raise Wrong("the stream ends without an error")
    if not "".join(arrived):
        raise Wrong("no text arrives before the error")


def keep_alive(gateway, client):
    gateway.control("PUT", "chat", {"stream_events": ["keep_alive"]})
    text = "".join(part.text for part in client.stream("one two three"))
    expect(text, ECHO + "one two three", "the text")


def float_embeddings(gateway, client):
    gateway.control("PUT", "chat", {"embeddings": "floats"})
    vectors = client.embed(["first", "second"])
    expect([len(vector) for vector in vectors], [768, 768], "the numbers of a vector")
    if not all(map(any, vectors)):
        raise Wrong("a vector is empty")


ACTIONS = {
    name: globals()[name] for name in actions(CURES)
}


def words(error):
    """The text for the table, without what changes in each run."""
    text = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
    text = text.partition("Traceback")[0]
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", text)
    text = re.sub(r"(?:function-)?call[-_][\w-]{8,}", "ID", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
    text = " ".join(text.split())
    return text if len(text) <= 300 else text[:300].rsplit(" ", 1)[0] + " …"


@pytest.mark.parametrize(("kind", "action", "column"), parameters(of(CURES), actions(CURES), COLUMNS))
def test_the_cures_help_exactly_where_the_table_says(
    kind, action, column, start, connect, record_property
):
    gateway = start(*COLUMNS[column])
    client = connect(kind, gateway.url)
    failure = None
    try:
        ACTIONS[action](gateway, client)
    except Exception as error:
        failure = error
    found = {"result": "fail", "says": words(failure)} if failure else {"result": "pass"}
    record_property("cure", [kind.id, column, action, found])

    red = column == "off" and action in RED[kind.id]
    if failure and not red:
        raise failure
    assert failure or not red, f"{action} works without the cures: remove it from `red`"
