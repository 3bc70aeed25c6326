"""Tests of the clients of Gemini's and of Anthropic's protocol through `vertex-gateway --emulator`; see
`native` in `matrix.json`."""

import pytest

from clients.subjects import Weather
from matrix import NATIVES, SENTENCES, of, parameters

ECHO = "This is the Vertex AI emulator. You said: "

def cell(*actions):
    """Runs the test for these actions of each client that has them."""
    return pytest.mark.parametrize(("kind", "action"), parameters(of(NATIVES), actions))


@pytest.fixture(autouse=True)
def of_cell(kind, action, record_property):
    """Reports the cell of the test to results.py."""
    record_property("cell", [kind.id, action])


@pytest.fixture
def client(kind, gateway, connect):
    return connect(kind, gateway)


def upstream(gateway):
    """The paths and statuses of the requests that reached Vertex AI. None of them is for another project."""
    requests = gateway.requests()
    for request in requests:
        assert "/projects/emulator/locations/us-central1/" in request["path"]
    return [(request["path"].rpartition("/")[2], request["status"]) for request in requests]


@cell("plain")
def test_plain(gateway, client):
    answer = client.chat("Grüße 🦀")
    assert answer.text == ECHO + "Grüße 🦀"
    assert answer.tokens > 0
    assert [status for _, status in upstream(gateway)] == [200]


@cell("stream")
def test_stream(gateway, client):
    chunks = list(client.stream("one two three"))
    assert sum(1 for chunk in chunks if chunk.text) > 1
    assert "".join(chunk.text for chunk in chunks) == ECHO + "one two three"
    assert max(chunk.tokens or 0 for chunk in chunks) > 0
    assert [status for _, status in upstream(gateway)] == [200]


@cell("tools")
def test_a_tool_is_called_and_its_result_is_sent(client):
    asked = "Paris? Call the tool Weather."
    call = client.call_tool(asked, result="rain")
    assert call.name == "Weather"
    assert call.arguments == Weather(city="example", days=1)
    assert call.text.startswith(f"{ECHO}{asked} The tool said: ") and "rain" in call.text


@cell("count_tokens")
def test_vertex_ai_counts_the_tokens(kind, action, gateway, client):
    if action in kind.unable:
        with pytest.raises(client.errors[400]):
            client.count("one")
        return
    short, long = client.count("one"), client.count("one two three four five six seven eight")
    assert 0 < short < long
    # A client may count by itself if the call fails.
    assert [status for _, status in upstream(gateway)] == [200, 200]


@cell("401_healed")
def test_a_revoked_token_is_replaced_without_an_error(gateway, client):
    client.chat("before")
    gateway.revoke()
    assert client.chat("after").text == ECHO + "after"
    stats = gateway.stats()
    assert stats["by_status"] == {"200": 2, "401": 1}
    assert stats["token_mints"] == 2 + client.own_tokens


@cell(*SENTENCES)
def test_an_error_has_the_clients_own_type_and_googles_message(action, gateway, client):
    status = int(action)
    if action != "404":
        gateway.set_fault(status=status, times=1)
    with pytest.raises(client.errors[status]) as caught:
        client.chat("hello", client.unknown if action == "404" else None)
    assert client.status(caught.value) == status
    assert SENTENCES[action] in str(caught.value)
    assert gateway.stats()["by_status"] == {action: 1}


@cell("429", "503")
def test_the_clients_own_retry_succeeds(kind, action, gateway, connect):
    gateway.set_fault(status=int(action), times=1)
    assert connect(kind, gateway, retries=True).chat("again").text == ECHO + "again"
    assert gateway.stats()["by_status"] == {action: 1, "200": 1}


@cell("cut_stream")
def test_an_interrupted_stream_is_an_error(gateway, client):
    gateway.set_stream(cut_after=client.cut_after)
    texts = []
    with pytest.raises(Exception) as caught:
        for chunk in client.stream("one two three four five six"):
            texts.append(chunk.text)
    assert isinstance(caught.value, client.interrupted), repr(caught.value)
    text = ECHO + "one two three four five six"
    assert "".join(texts) and text.startswith("".join(texts)) and "".join(texts) != text
