"""The real `openai` package through `vertex-gateway --emulator`, with only its base URL set."""

import asyncio
import subprocess
import sys

import openai
import pytest

from clients.subjects import EMBEDDING_MODEL, GROK, MODEL
from conftest import clean_environment
from sidecar import PATIENCE, poll

ECHO = "This is the Vertex AI emulator. You said: "


def ask(text):
    return {"model": MODEL, "messages": [{"role": "user", "content": text}]}


def assert_chat(answer, text):
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.content == ECHO + text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens > 0


def joined(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


# One call of each kind


def test_chat(client):
    assert_chat(client.chat.completions.create(**ask("Grüße 🦀")), "Grüße 🦀")


def test_environment_variables_alone_are_enough(gateway):
    program = f"""
import openai
completion = openai.OpenAI().chat.completions.create(**{ask("from the environment")!r})
print(completion.choices[0].message.content)
"""
    variables = {"OPENAI_BASE_URL": gateway.url, "OPENAI_API_KEY": "unused"}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=clean_environment() | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout.strip()) == (0, ECHO + "from the environment"), done.stderr


def test_googles_own_base_url_with_another_host(gateway):
    """The base URL has the form of Google's guide to the OpenAI library."""
    host = gateway.url.removesuffix("/v1")
    of = "projects/emulator/locations/us-central1/endpoints/openapi"
    for version in ["v1", "v1beta1"]:
        with openai.OpenAI(base_url=f"{host}/{version}/{of}", api_key="unused") as client:
            assert_chat(client.chat.completions.create(**ask("by its whole name")), "by its whole name")
            stream = client.chat.completions.create(**ask("streamed"), stream=True)
            assert joined(stream) == ECHO + "streamed"
            assert "google/gemini-2.5-flash" in [model.id for model in client.models.list()]
    other = of.replace("us-central1", "europe-west4")
    with openai.OpenAI(base_url=f"{host}/v1/{other}", api_key="unused") as client:
        with pytest.raises(openai.NotFoundError, match=of) as raised:
            client.chat.completions.create(**ask("elsewhere"))
        assert raised.value.code == "resource_not_served"


def test_streaming(client):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(client.chat.completions.create(**ask("one two three"), **options))
    assert len(chunks) == 5
    assert joined(chunks) == ECHO + "one two three"
    assert chunks[-1].usage.total_tokens > 0
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 4
    finish_reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices]
    assert [reason for reason in finish_reasons if reason] == ["stop"]


def test_streaming_helper(client):
    with client.chat.completions.stream(**ask("events")) as stream:
        kinds = {event.type for event in stream}
        assert_chat(stream.get_final_completion(), "events")
    assert {"chunk", "content.delta", "content.done"} <= kinds


def test_embeddings(client):
    texts = ["first", "second"]
    # The SDK requests base64 by default, and decodes it.
    default = client.embeddings.create(model=EMBEDDING_MODEL, input=texts)
    floats = client.embeddings.create(model=EMBEDDING_MODEL, input=texts, encoding_format="float")
    assert [item.index for item in default.data] == [0, 1]
    for decoded, plain in zip(default.data, floats.data, strict=True):
        assert len(decoded.embedding) == 768
        assert decoded.embedding == pytest.approx(plain.embedding, abs=1e-6)
    assert default.data[0].embedding != default.data[1].embedding
    assert default.usage.total_tokens > 0


def test_embeddings_of_a_chosen_length(client):
    answer = client.embeddings.create(model=EMBEDDING_MODEL, input="short", dimensions=8)
    assert len(answer.data[0].embedding) == 8


def test_completions(client):
    answer = client.completions.create(model=MODEL, prompt="Once upon a time")
    assert answer.choices[0].text == ECHO + "Once upon a time"
    stream = client.completions.create(model=MODEL, prompt="Once upon a time", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == ECHO + "Once upon a time"


def test_responses(client):
    answer = client.responses.create(model=GROK, input="an input")
    assert answer.status == "completed"
    assert answer.output_text == ECHO + "an input"
    # Vertex AI does not store the responses of these models.
    assert answer.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)


def test_gemini_has_no_responses_api(client):
    with pytest.raises(openai.BadRequestError, match="does not support Responses"):
        client.responses.create(model=MODEL, input="an input")


def test_responses_streaming(client):
    events = list(client.responses.create(model=GROK, input="an input", stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == ECHO + "an input"
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == ECHO + "an input"


# The asynchronous client


def test_async(gateway):
    async def run():
        async with gateway.async_client() as client:
            assert_chat(await client.chat.completions.create(**ask("async")), "async")
            stream = await client.chat.completions.create(**ask("async stream"), stream=True)
            chunks = [chunk async for chunk in stream]
            assert joined(chunks) == ECHO + "async stream"
            answer = await client.embeddings.create(model=EMBEDDING_MODEL, input="async")
            assert len(answer.data[0].embedding) == 768
            answer = await client.responses.create(model=GROK, input="async")
            assert answer.output_text == ECHO + "async"

    asyncio.run(run())


def test_fifty_concurrent_calls_share_one_token(gateway):
    async def run():
        async with gateway.async_client() as client:
            texts = [f"call {number}" for number in range(50)]
            calls = [client.chat.completions.create(**ask(text)) for text in texts]
            for text, answer in zip(texts, await asyncio.gather(*calls), strict=True):
                assert_chat(answer, text)

    asyncio.run(run())
    stats = gateway.stats()
    assert stats["by_status"] == {"200": 50}
    assert stats["token_mints"] == 1


# Errors


def test_a_bare_model_gets_its_publisher(client):
    assert_chat(
        client.chat.completions.create(**ask("hello") | {"model": "gemini-2.5-flash"}), "hello"
    )


def test_an_error_of_the_service_has_openais_format(gateway, client):
    gateway.set_fault(status=403, times=1)
    with pytest.raises(openai.PermissionDeniedError) as caught:
        client.chat.completions.create(**ask("hello"))
    error = caught.value
    assert "Permission 'aiplatform.endpoints.predict' denied" in error.message
    assert (error.type, error.code, error.param) == ("invalid_request_error", "403", None)
    assert error.body["google"]["status"] == "PERMISSION_DENIED"


def test_an_interrupted_stream_is_an_error(gateway, client):
    gateway.set_stream(cut_after=2)
    chunks = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(**ask("hello"), stream=True):
            chunks.append(chunk)
    assert len(chunks) == 2
    assert caught.value.code == "stream_interrupted"


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(**ask("hello") | {"model": "google/no-such-model"})
    assert caught.value.status_code == 404
    assert "your project does not have access to it" in caught.value.message


def test_an_unsupported_path_is_not_found(gateway, client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.files.list()
    error = caught.value
    assert error.type == "invalid_request_error"
    assert error.code == "unsupported_path"
    assert error.param is None
    assert error.body["message"].startswith('"/v1/files" is not served by this Vertex AI endpoint')
    assert gateway.stats()["api_requests"] == 0, "the request did not reach Vertex AI"


def test_the_models_of_the_service_are_listed_and_remembered(gateway, client):
    for _ in range(3):
        models = [model.id for model in client.models.list()]
        assert "google/gemini-2.5-flash" in models
        assert not [model for model in models if "claude" in model]
    assert gateway.stats()["api_requests"] == 2, "one request for each publisher"


def test_a_rate_limit_keeps_its_status(gateway, client):
    gateway.set_fault(status=429, times=1)
    with pytest.raises(openai.RateLimitError):
        client.chat.completions.create(**ask("hello"))
    # The SDK would have retried this by itself, if its retries were on.
    assert_chat(client.chat.completions.create(**ask("again")), "again")


# Tokens


def test_a_revoked_token_is_replaced_and_the_same_body_is_sent_again(gateway, client):
    assert_chat(client.chat.completions.create(**ask("before")), "before")
    gateway.revoke()
    text = "a long prompt " * 100_000
    answer = client.chat.completions.create(**ask(text))
    assert answer.choices[0].message.content.startswith(ECHO + "a long prompt")

    _, refused, replayed = gateway.requests()
    assert [refused["status"], replayed["status"]] == [401, 200]
    assert replayed["body_length"] > len(text)
    # The emulator reads the rest of the refused body after its response.
    refused = poll(lambda: next(r for r in gateway.requests()[1:2] if r["body_sha256"]) or None)
    assert refused["body_sha256"] == replayed["body_sha256"]
    assert gateway.stats()["token_mints"] == 2


def test_no_call_fails_while_tokens_expire_and_are_revoked(gateway):
    """Sends calls of every kind for about eight seconds. In that time tokens with a lifetime of three
    seconds expire, and are revoked three times. The gateway forces at most three refreshes within 30 s."""
    # Each stream lasts longer than the token that it began with.
    gateway.set_stream(chunks=40, chunk_delay_ms=100)
    succeeded = 0

    async def run():
        nonlocal succeeded
        over = asyncio.Event()

        async def calls(call):
            nonlocal succeeded
            while not over.is_set():
                await call()
                succeeded += 1

        async def chat():
            assert_chat(await client.chat.completions.create(**ask("chat")), "chat")

        async def stream():
            stream = await client.chat.completions.create(**ask("stream"), stream=True)
            assert joined([chunk async for chunk in stream]) == ECHO + "stream"

        async def embed():
            answer = await client.embeddings.create(model=EMBEDDING_MODEL, input="embed")
            assert len(answer.data[0].embedding) == 768

        async def respond():
            answer = await client.responses.create(model=GROK, input="respond")
            assert answer.output_text == ECHO + "respond"

        async def next_token(after):
            async with asyncio.timeout(PATIENCE):
                while (newest := await asyncio.to_thread(gateway.newest_token_at_work)) <= after:
                    await asyncio.sleep(0.1)
                return newest

        async def trouble():
            try:
                token = await next_token(0)
                await asyncio.to_thread(gateway.set_token, expires_in=3)
                for _ in range(3):
                    # The revocation comes right after a new token came into use, when no other
                    # token is being fetched. Such a token would be revoked on arrival, and a
                    # request is sent at most twice.
                    await asyncio.to_thread(gateway.revoke)
                    token = await next_token(token)
                    # This token is fetched because the previous one is close to its expiry.
                    token = await next_token(token)
            finally:
                over.set()

        async with gateway.async_client() as client, asyncio.TaskGroup() as tasks:
            for call in (chat, chat, stream, stream, embed, respond):
                tasks.create_task(calls(call))
            tasks.create_task(trouble())

    asyncio.run(run())

    stats = gateway.stats()
    # Every call of the SDK ended with 200, and the SDK saw none of the 401s.
    assert set(stats["by_status"]) == {"200", "401"}
    assert stats["by_status"]["200"] == succeeded
    assert stats["by_status"]["401"] >= 3
    # The first token, three after a revocation, and three after an expiry.
    assert stats["token_mints"] >= 7
    assert stats["streams"]["completed"] >= 4
    assert stats["streams"]["aborted"] == 0
    print(f"\n{succeeded} calls, {stats}")


# Streams are not buffered, and end with their reader


def test_the_first_chunk_arrives_before_the_second_is_sent(gateway, client):
    gateway.set_stream(chunks=3, chunk_delay_ms=60_000)
    with client.chat.completions.create(**ask("slowly"), stream=True) as stream:
        first = next(iter(stream))
        (request,) = gateway.requests()
    assert first.choices[0].delta.content == (ECHO + "slowly")[: len(ECHO + "slowly") // 3]
    assert request["chunks_sent"] == 1


def test_a_disconnect_of_the_client_ends_the_upstream_stream(gateway, client):
    gateway.set_stream(chunks=3, chunk_delay_ms=60_000)
    with client.chat.completions.create(**ask("slowly"), stream=True) as stream:
        next(iter(stream))
        assert gateway.stats()["streams"] == {"open": 1, "completed": 0, "aborted": 0}
    poll(lambda: gateway.stats()["streams"]["aborted"])
    assert gateway.stats()["streams"] == {"open": 0, "completed": 0, "aborted": 1}
