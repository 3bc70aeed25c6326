"""Tests of each client with Gemini's own behaviour, without the sidecar's cures and with them.

`red` in `matrix.json` lists the actions in which a client fails without the cures, and `uncured` those in which
it fails with them. Such a test passes if the client fails, so that no list is longer or shorter than the truth.
"""

import re

import pytest

from clients.adapter import Wrong
from clients.subjects import City, Trip
from matrix import CURES, actions, of, parameters

COLUMNS = {"off": "off", "on": CURES["compat"]}
# The actions in which a client fails, by column.
RED = {client["id"]: client["red"] for client in CURES["clients"]}
UNCURED = {client["id"]: client.get("uncured", []) for client in CURES["clients"]}
IN_TURN = ["weather", "find_train", "book_room"]
AT_ONCE = ["weather", "find_train"]
ECHO = "This is the Vertex AI emulator. You said: "
GOOGLES_SENTENCE = "The service is currently unavailable."


def expect(found, expected, what):
    if found != expected:
        raise Wrong(f"{what}: {found!r} instead of {expected!r}")


# The actions


def run_agent(client, text, tools, streamed):
    """Runs an agent that has to call these tools of the trip once each, and then to return a text."""
    trip = Trip()
    answer = client.agent(text, trip.tools, streamed)
    # A client may run two calls at the same time.
    order = sorted if " at once" in text else list
    expect(order(trip.names), order(tools), "the calls")
    if not (answer or "").startswith(client.final):
        raise Wrong(f"the text of the agent is {answer!r}")


def signatures_came_back(gateway, client, count):
    """Every signature that was due came back, and none was a placeholder."""
    due = {
        "valid": count if client.sends_calls_back else 0,
        "placeholder": 0,
        "missing": 0,
        "wrong": 0,
    }
    expect(gateway.control("GET", "chat")["signatures"], due, "the signatures")


def in_turn(gateway, client, streamed):
    names = [client.named.format(name) for name in IN_TURN]
    text = "Please " + ", then ".join(f"call the tool {name}" for name in names)
    run_agent(client, text, IN_TURN, streamed)
    # After the first call each request has one signature more.
    signatures_came_back(gateway, client, 1 + 2 + 3)


def at_once(client, streamed):
    names = [client.named.format(name) for name in AT_ONCE]
    text = f"Please call the tools {' and '.join(names)} at once"
    run_agent(client, text, AT_ONCE, streamed)


def tool_loop(gateway, client):
    in_turn(gateway, client, streamed=False)


def tool_loop_streamed(gateway, client):
    in_turn(gateway, client, streamed=True)


def parallel_calls(gateway, client):
    at_once(client, streamed=False)
    # Only the first of several calls at once has a signature.
    signatures_came_back(gateway, client, 1)


def parallel_calls_streamed(gateway, client):
    at_once(client, streamed=True)
    signatures_came_back(gateway, client, 1)


def streamed_arguments(gateway, client):
    # This action is about the shape of the calls, and the four actions above are about signatures.
    gateway.set_chat(tool_stream="as_documented", demand_signatures=False)
    at_once(client, streamed=True)


def thinking(gateway, client):
    for streamed in client.modes("thinking"):
        usage = client.usage("think", streamed)
        billed = gateway.billed("think", client.thinker)
        expect(usage.input + usage.output, billed, "the tokens of input and output")
        expect(usage.total, billed, "all tokens")


def gemini_object(gateway, client):
    city = client.city("Paris")
    if not isinstance(city, City):
        raise Wrong(f"the object is {city!r}")
    expect([type(city.inhabitants), len(city.languages)], [int, 1], "the fields")


def blocked(gateway, client):
    gateway.set_chat(finish_reason="content_filter: PROHIBITED_CONTENT")
    for streamed in client.modes("blocked"):
        expect(client.finish("hello", streamed), client.filtered, "the finish reason")


def stream_error(gateway, client):
    gateway.set_chat(stream_events=["error"])
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
    gateway.set_chat(stream_events=["keep_alive"])
    text = "".join(part.text for part in client.stream("one two three"))
    expect(text, ECHO + "one two three", "the text")


def float_embeddings(gateway, client):
    expected = client.embed(["first", "second"])
    gateway.set_chat(embeddings="floats")
    for found, vector in zip(client.embed(["first", "second"]), expected, strict=True):
        expect(len(found), len(vector), "the length of a vector")
        if found != pytest.approx(vector, abs=1e-6):
            raise Wrong("a vector has other numbers")


ACTIONS = {name: globals()[name] for name in actions(CURES)}


def words(error):
    """The text for the table, without what changes in each run."""
    text = str(error) if isinstance(error, Wrong) else f"{type(error).__name__}: {error}"
    text = text.partition("Traceback")[0]
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", text)
    text = re.sub(r"(?:function-)?call[-_][\w-]{8,}", "ID", text)
    text = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", text)
    text = re.sub(r"0x[0-9a-f]+", "ADDRESS", text)
    text = " ".join(text.split())
    return text if len(text) <= 400 else text[:400].rsplit(" ", 1)[0] + " …"


@pytest.mark.parametrize(
    ("kind", "action", "column"), parameters(of(CURES), actions(CURES), COLUMNS)
)
def test_the_cures_help_exactly_where_the_table_says(
    kind, action, column, start, connect, record_property
):
    gateway = start("--compat", COLUMNS[column])
    client = connect(kind, gateway.url)
    failure = None
    try:
        ACTIONS[action](gateway, client)
    except Exception as error:
        failure = error
    found = {"result": "fail", "says": words(failure)} if failure else {"result": "pass"}
    record_property("cure", [kind.id, column, action, found])

    red = action in (RED if column == "off" else UNCURED)[kind.id]
    if failure and not red:
        raise failure
    assert failure or not red, f"{action} works with the cures {column}: change matrix.json"
