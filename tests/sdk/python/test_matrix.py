"""Tests of each client of the matrix through `vertex-gateway --emulator`; see `matrix.json`."""

import re
import time

import openai
import pytest

import matrix
from clients.subjects import MODEL, Weather
from matrix import MATRIX, of, parameters

ECHO = "This is the Vertex AI emulator. You said: "

# An image of one pixel.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ"
    "AAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

# These models cause the status by themselves. For any other status the test sets a fault.
MODELS = {"400": "/gemini-2.5-flash", "404": "google/no-such-model"}
SENTENCES = {
    "400": "Malformed publisher model (`model`: '/gemini-2.5-flash')",
    **matrix.SENTENCES,
    "404": f"no-such-model` {matrix.SENTENCES['404']}",
    "500": "Internal error encountered.",
}


def cell(*actions):
    """Runs the test for these actions of each client that has them."""
    return pytest.mark.parametrize(("kind", "action"), parameters(of(MATRIX), actions))


@pytest.fixture(autouse=True)
def of_cell(kind, action, record_property):
    """Reports the cell of the test to results.py."""
    record_property("cell", [kind.id, action])


@pytest.fixture
def client(kind, gateway, connect):
    return connect(kind, gateway.url)


# Actions that succeed


@cell("chat")
def test_chat(client):
    answer = client.chat("Grüße 🦀")
    assert answer.text == ECHO + "Grüße 🦀"
    assert answer.tokens > 0


@cell("streaming")
def test_streaming(client):
    chunks = list(client.stream("one two three"))
    assert sum(1 for chunk in chunks if chunk.text) == 5
    assert "".join(chunk.text for chunk in chunks) == ECHO + "one two three"
    (tokens,) = (chunk.tokens for chunk in chunks if chunk.tokens is not None)
    assert tokens > 0


@cell("tools")
def test_a_tool_is_called_and_its_result_is_sent(client):
    asked = "Paris? Call the tool Weather."
    call = client.call_tool(asked, result="rain")
    assert call.name == "Weather"
    assert call.arguments == Weather(city="example", days=1)
    assert call.text == f"{ECHO}{asked} The tool said: rain"


@cell("structured_output")
def test_structured_output(client):
    assert client.structured("Paris") == Weather(city="Paris", days=1)


@cell("image")
def test_an_image_is_sent(client):
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    assert client.chat(content).text == ECHO + "look [image/png, 70 bytes]"


@cell("embeddings")
def test_embeddings(client):
    first, second = client.embed(["first", "second"])
    assert len(first) == len(second) == 768
    assert first != second
    assert client.embed(["second", "first"]) == [second, first]


@cell("models")
def test_the_models_of_the_configuration_file_and_of_vertex_ai_are_listed(kind, start, connect, tmp_path):
    file = tmp_path / "gateway.toml"
    models = '[[model]]\nname = "fast"\nmodel = "gemini-2.5-flash"\n\n[[model]]\nname = "vectors"\n'
    file.write_text(models + 'model = "text-embedding-005"\n')
    gateway = start("--config", file)
    models = connect(kind, gateway.url).models()
    assert models[:2] == ["fast", "vectors"]
    assert "google/gemini-2.5-flash" in models


@cell("401_healed")
def test_a_revoked_token_is_replaced_without_an_error(gateway, client):
    client.chat("before")
    gateway.revoke()
    assert client.chat("after").text == ECHO + "after"
    stats = gateway.stats()
    assert stats["by_status"] == {"200": 2, "401": 1}
    assert stats["token_mints"] == 2


@cell("silence")
def test_a_first_byte_after_thirty_seconds_is_awaited(gateway, client):
    gateway.set_stream(first_byte_delay_ms=30_000)
    assert "".join(chunk.text for chunk in client.stream("patience")) == ECHO + "patience"


# Actions that fail


def refused(client, status, content="hello", model=MODEL):
    """Returns the client's exception, which must be its own type for that status."""
    with pytest.raises(client.errors[status]) as caught:
        client.chat(content, model)
    assert caught.value.status_code == status
    return caught.value


def seen(error):
    """The text of an error as users see it. The port is removed, because it changes each time."""
    fields = {"status": "status_code", "type": "type", "code": "code"}
    values = {name: getattr(error, field, None) for name, field in fields.items()}
    told = ", ".join(f"{name}={value}" for name, value in values.items() if value is not None)
    text = f"{type(error).__name__}: {error} ({told})"
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1", text)


@cell(*SENTENCES)
def test_an_error_has_the_clients_own_type_and_googles_message(
    kind, action, gateway, client, connect, record_property
):
    status = int(action)

    def fail(client):
        if action not in MODELS:
            gateway.set_fault(status=status, times=1)
        return refused(client, status, model=MODELS.get(action, MODEL))

    error = fail(client)
    assert SENTENCES[action] in str(error)
    if action in MATRIX["errors"]:
        straight = connect(kind, gateway.vertex_url, gateway.token())
        record_property("sees", [action, {"raw": seen(fail(straight)), "layer": seen(error)}])


@cell("413")
def test_a_long_body_is_refused_during_its_upload(kind, start, connect):
    gateway = start("--max-request-bytes", "1048576")
    error = refused(connect(kind, gateway.url), 413, content="x" * 8 * 1024 * 1024)
    assert "the request body is longer than 1048576 bytes" in str(error)
    assert gateway.stats()["by_status"] == {}, "no part of it reached Vertex AI"


@cell("429", "500", "503")
def test_the_clients_own_retry_succeeds(kind, action, gateway, connect):
    gateway.set_fault(status=int(action), times=1)
    assert connect(kind, gateway.url, retries=True).chat("again").text == ECHO + "again"
    assert gateway.stats()["by_status"] == {action: 1, "200": 1}


@cell("429_retry_info")
def test_the_retry_waits_for_the_delay_of_google(kind, gateway, client, connect):
    fault = {"status": 429, "retry_delay": "2s", "times": 1}
    gateway.set_fault(**fault)
    assert client.headers(refused(client, 429))["retry-after"] == "2"

    gateway.set_fault(**fault)
    began = time.monotonic()
    assert connect(kind, gateway.url, retries=True).chat("again").text == ECHO + "again"
    assert time.monotonic() - began >= 2
    assert gateway.stats()["by_status"] == {"429": 2, "200": 1}


@cell("cut_stream")
def test_an_interrupted_stream_is_an_error(gateway, client):
    gateway.set_stream(cut_after=2)
    texts = []
    with pytest.raises(openai.APIError):
        for chunk in client.stream("hello"):
            texts.append(chunk.text)
    text = ECHO + "hello"
    assert "".join(texts) and text.startswith("".join(texts)) and len(texts) == 2
