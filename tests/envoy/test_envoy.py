"""Tests of OpenAI's SDK through a real Envoy to the emulator."""

import hashlib
import json
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from sidecar import PATIENCE, poll
from world import ENVOY, FILE, MODEL, chat, said

HELLO = "This is the Vertex AI emulator. You said: hello"


def test_the_shipped_file_is_valid_for_envoy():
    command = [ENVOY, "--mode", "validate", "-l", "warning", "-c", str(FILE)]
    run = subprocess.run(command, capture_output=True, text=True, env={}, timeout=PATIENCE)
    assert run.returncode == 0, run.stderr
    # Envoy prints no warning, such as one about a deprecated field.
    assert run.stderr.strip() == "", run.stderr


def test_calls_of_the_sdk_reach_vertex_ai(world):
    world.start()
    with world.envoy.client("of-the-client") as client:
        answer = chat(client)
        assert said(answer) == HELLO
        assert answer.usage.total_tokens > 0
        embedding = client.embeddings.create(model="google/gemini-embedding-001", input="x")
        assert len(embedding.data[0].embedding) > 0
        assert "google/gemini-2.5-flash" in [model.id for model in client.models.list()]
    first, second, *lists = world.emulator.requests()
    assert [request["path"].rpartition("/")[2] for request in lists] == ["models", "models"]
    base = "/v1/projects/p1/locations/us-central1/endpoints/openapi"
    assert first["path"] == f"{base}/chat/completions"
    assert second["path"] == f"{base}/embeddings"
    assert first["host"] == f"localhost:{world.emulator.port}"
    assert first["principal"].startswith("emulator@")
    for request in (first, second):
        # The gateway recognizes a second attempt by this header.
        assert "x-envoy-attempt-count" in request["header_names"]
        assert "x-forwarded-for" not in request["header_names"]
    assert world.emulator.generations() == [(200, 1)] * 4
    stats = world.emulator.stats()
    assert (stats["token_mints"], stats["api_requests"]) == (1, 4)


def test_private_headers_and_keys_do_not_reach_vertex_ai(world):
    world.start()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    status, _, _ = world.envoy.post(
        "/v1/chat/completions?key=secret&alt=sse",
        body,
        authorization="Bearer of-the-client",
        x_goog_api_key="secret",
        api_key="secret",
        x_goog_user_project="somebody-else",
        openai_organization="org",
        x_envoy_attempt_count="7",
        x_envoy_decorator_operation="of-the-client",
        x_forwarded_for="10.0.0.1",
        x_forwarded_host="inside.example.com",
        forwarded="for=10.0.0.1",
        cookie="a=b",
        x_forwarded_client_cert="By=me",
        x_goog_iap_jwt_assertion="secret",
        x_http_method_override="DELETE",
        x_nobody_has_thought_of="secret",
        x_vertex_ai_labels="stays",
    )
    assert status == 200
    [request] = world.emulator.requests()
    assert request["query"] == "alt=sse"
    names = set(request["header_names"])
    # Only these headers are forwarded, and none of them identifies the client.
    assert names == {
        *("accept-encoding", "authorization", "content-length", "content-type", "host"),
        *("x-envoy-attempt-count", "x-request-id", "x-vertex-ai-labels"),
    }


def test_a_websocket_handshake_is_426(world):
    world.start()
    head = (
        "GET /v1/responses HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", world.envoy.port), PATIENCE) as connection:
        connection.sendall(head.encode())
        answer = connection.recv(10_000)
    assert answer.startswith(b"HTTP/1.1 426 "), answer
    assert b"\r\nupgrade: HTTP/1.1\r\n" in answer, answer
    status, headers, body = world.envoy.post("/v1/responses/r", {})
    assert (status, headers["allow"]) == (405, "GET, HEAD, DELETE"), body
    assert world.emulator.stats()["api_requests"] == 0


def test_a_stream_disables_the_buffering_of_proxies(world):
    world.start()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    status, headers, _ = world.envoy.post("/v1/chat/completions", body)
    assert (status, headers["x-accel-buffering"]) == (200, "no")
    assert headers["cache-control"] == "no-cache"


def test_googles_own_base_url_with_another_host_works(world):
    world.start()
    base = "v1/projects/p1/locations/us-central1/endpoints/openapi"
    url = f"http://127.0.0.1:{world.envoy.port}/{base}"
    with openai.OpenAI(base_url=url, api_key="unused", max_retries=0, timeout=PATIENCE) as client:
        assert said(chat(client)) == HELLO
    [request] = world.emulator.requests()
    assert request["path"] == f"/{base}/chat/completions"


def test_a_request_has_one_id_from_the_client_to_the_log(world, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("team-a:sk-0123456789abcdef\n")
    world.start("--client-key-file", keys)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    # Envoy modifies an id that looks like one of its own if tracing is enabled.
    for id in ["mine-1", "6b0d4a4e-7f2c-4d0e-8f57-3c1d6f1f2a7b", None]:
        given = {"x_request_id": id} if id else {}
        for key, expected in [("sk-0123456789abcdef", 200), ("sk-wrong", 401)]:
            status, headers, _ = world.envoy.post(
                "/v1/chat/completions", body, authorization=f"Bearer {key}", **given
            )
            assert status == expected
            assert headers["x-request-id"] == id or id is None
            of_it = (f'id="{headers["x-request-id"]}"', f" status={expected} ")
            poll(lambda: any(all(o in line for o in of_it) for line in world.log().splitlines()))


def test_a_missing_body_times_out_and_a_slow_response_does_not(world):
    world.start(changes={"request_timeout: 300s": "request_timeout: 3s"})
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        "content-length: 1000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", world.envoy.port), PATIENCE) as connection:
        connection.sendall(head.encode() + b'{"model":')
        assert connection.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert world.emulator.stats()["api_requests"] == 0
    # The response takes longer than that limit, which ends with the request.
    world.emulator.set_faults(stream={"first_byte_delay_ms": 5000})
    with world.envoy.client() as client:
        assert said(chat(client)) == HELLO


def test_the_number_of_bodies_that_wait_for_a_check_is_limited(world):
    world.emulator.set_token(delay_ms=5000)
    world.start(changes={"max_requests: 1000,": "max_requests: 1,"})
    with world.envoy.client() as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(chat, client)
        poll(lambda: world.envoy.stat("cluster.vertex_gateway_check.upstream_rq_active") == 1)
        with pytest.raises(openai.InternalServerError) as error:
            chat(client)
        assert error.value.status_code == 503
        assert said(first.result()) == HELLO


def test_a_response_may_take_longer_than_envoys_default_timeout(world):
    world.start()
    # Envoy's default limit is 15 s.
    world.emulator.set_faults(stream={"first_byte_delay_ms": 16_000})
    with world.envoy.client() as client:
        assert len(list(chat(client, stream=True))) > 1


def test_a_chunk_arrives_when_it_is_sent_and_a_disconnect_ends_the_stream(world):
    world.start()
    # The second chunk would arrive after the end of the test.
    world.emulator.set_faults(stream={"chunk_delay_ms": 600_000})
    with world.envoy.client() as client:
        with chat(client, stream=True) as stream:
            text = next(
                chunk.choices[0].delta.content
                for chunk in stream
                if chunk.choices and chunk.choices[0].delta.content
            )
            assert 0 < len(text) < len(HELLO)
            assert world.emulator.stats()["streams"]["open"] == 1
        # A client that disconnects ends the stream up to Vertex AI.
        poll(lambda: world.emulator.stats()["streams"]["aborted"] == 1)


def test_errors_come_from_vertex_ai_or_from_the_gateway(world):
    world.start()
    with world.envoy.client() as client:
        with pytest.raises(openai.BadRequestError) as error:
            chat(client, model="gemini-2.5-flash")
        assert error.value.code == "model_alias_not_supported"
        assert f'use "{MODEL}"' in error.value.message
        with pytest.raises(openai.NotFoundError) as error:
            client.files.list()
        assert error.value.code == "unsupported_path"
        assert world.emulator.stats()["api_requests"] == 0
        with pytest.raises(openai.NotFoundError):
            chat(client, model="google/no-such-model")
        for status, kind in [(403, openai.PermissionDeniedError), (429, openai.RateLimitError)]:
            world.emulator.set_faults(api={"status": status})
            before = world.emulator.stats()["api_requests"]
            with pytest.raises(kind):
                chat(client)
            assert world.emulator.stats()["api_requests"] == before + 1, "the request was sent once"
        world.emulator.set_faults()
        for path in ["/v1/../x", "/v1/%2e%2e/x", "//evil.com/v1/chat/completions", "/v1/a%2fb"]:
            status, _, answer = world.envoy.post(path, {})
            assert status == 400, path
            assert json.loads(answer)["error"]["code"] == "invalid_path", path
        assert said(chat(client)) == HELLO
    assert world.emulator.stats()["token_mints"] == 1


def test_a_hundred_concurrent_requests_share_one_token(world):
    world.start()
    with world.envoy.client() as client, ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda number: said(chat(client, f"<{number}>")), range(300)))
    assert all(answer.endswith(f"<{number}>") for number, answer in enumerate(answers))
    assert world.emulator.stats()["token_mints"] == 1


def test_a_token_is_refreshed_before_its_expiry(world):
    world.emulator.set_token(expires_in=6)
    world.start()
    with world.envoy.client() as client:
        deadline = time.monotonic() + PATIENCE
        while world.emulator.stats()["token_mints"] < 3:
            assert said(chat(client)) == HELLO
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert set(world.emulator.stats()["by_status"]) == {"200"}


def test_a_revoked_token_is_replaced_without_an_error_for_the_client(world):
    world.start()
    with world.envoy.client() as client:
        assert said(chat(client)) == HELLO
        world.emulator.revoke()
        assert said(chat(client)) == HELLO
        world.emulator.revoke()
        text = "".join(
            chunk.choices[0].delta.content or "" for chunk in chat(client, stream=True) if chunk.choices
        )
        assert text == HELLO
    assert world.emulator.generations() == [(200, 1), (401, 1), (200, 2), (401, 2), (200, 3)]
    assert world.emulator.stats()["token_mints"] == 3
    assert world.log().count('outcome="replayed"') == 2


def test_a_revocation_under_load_costs_one_token_and_fails_no_request(world):
    world.start()
    over = threading.Event()
    counts, failures = [0] * 16, []

    def ask(worker):
        with world.envoy.client() as client:
            while not over.is_set():
                try:
                    text = f"<{worker}.{counts[worker]}>"
                    if worker % 2:
                        answer = said(chat(client, text))
                    else:
                        answer = "".join(
                            chunk.choices[0].delta.content or ""
                            for chunk in chat(client, text, stream=True)
                            if chunk.choices
                        )
                    assert answer.endswith(text), answer
                    counts[worker] += 1
                except Exception as error:
                    failures.append(error)
                    return

    def newest_token_at_work(number):
        good = [generation for status, generation in world.emulator.generations() if status == 200]
        return max(good, default=0) == number or bool(failures)

    with ThreadPoolExecutor(len(counts)) as pool:
        workers = [pool.submit(ask, worker) for worker in range(len(counts))]
        try:
            # The gateway allows this many forced refreshes at once, and then one each 30 s.
            for number in (1, 2, 3, 4):
                poll(lambda: newest_token_at_work(number))
                # Then no second attempt is still in flight. A second attempt that met the next
                # revocation would fail, because there is no third attempt.
                enough = [count + 2 for count in counts]
                poll(lambda: failures or all(c >= e for c, e in zip(counts, enough)))
                if number < 4:
                    world.emulator.revoke()
        finally:
            over.set()
        for worker in workers:
            worker.result()
    assert failures == []
    stats = world.emulator.stats()
    assert stats["token_mints"] == 4
    assert stats["by_status"]["200"] == sum(counts)
    # Each revocation affects only the requests that are in flight with the revoked token.
    assert 3 <= stats["by_status"]["401"] <= 3 * len(counts)
    assert set(stats["by_status"]) == {"200", "401"}


def test_a_large_body_is_replayed_completely(world):
    world.start()
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x" * 19_000_000}]}
    with world.envoy.client() as client:
        chat(client)
    world.emulator.revoke()
    status, _, _ = world.envoy.post("/v1/chat/completions", body)
    assert status == 200
    assert world.emulator.generations() == [(200, 1), (401, 1), (200, 2)]
    digest = hashlib.sha256(json.dumps(body).encode()).hexdigest()
    assert world.emulator.requests()[-1]["body_sha256"] == digest
    status, _, _ = world.envoy.post("/v1/chat/completions", {"model": MODEL, "x": "x" * 34_000_000})
    assert status == 413
    assert world.emulator.stats()["api_requests"] == 3


@pytest.mark.parametrize("retries", [1, 3])
def test_a_permanent_401_reaches_the_client_and_headers_cannot_add_attempts(world, retries):
    world.start(changes={"num_retries: 1": f"num_retries: {retries}"})
    world.emulator.set_faults(api={"status": 401})
    body = {"model": MODEL, "messages": []}
    sent = []
    for _ in range(6):
        before = world.emulator.stats()["api_requests"]
        status, headers, _ = world.envoy.post(
            "/v1/chat/completions",
            body,
            x_envoy_max_retries="9",
            x_envoy_retry_on="retriable-4xx,retriable-status-codes",
            x_envoy_retriable_status_codes="401",
        )
        assert status == 401
        assert "x-vertex-gateway-replay" not in headers
        assert not [name for name in headers if name.lower().startswith("x-envoy-")]
        sent.append(world.emulator.stats()["api_requests"] - before)
    # The gateway refreshes three times at once. After that it returns the 401 without a refresh.
    assert sent == [2, 2, 2, 1, 1, 1]
    assert world.emulator.stats()["token_mints"] == 4


def test_a_replay_waits_for_a_slow_token_and_a_failed_refresh_returns_the_401(world):
    world.start()
    with world.envoy.client() as client:
        chat(client)
        world.emulator.set_token(delay_ms=2000)
        world.emulator.revoke()
        assert said(chat(client)) == HELLO
        world.emulator.set_token(fail={"status": 503})
        world.emulator.revoke()
        with pytest.raises(openai.AuthenticationError):
            chat(client)
    assert world.emulator.generations()[-2:] == [(200, 2), (401, 2)]


def test_clients_need_a_key_if_keys_are_configured(world, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("team-a:sk-0123456789abcdef\n")
    world.start("--client-key-file", keys)
    with world.envoy.client("sk-wrong") as client, pytest.raises(openai.AuthenticationError) as error:
        chat(client)
    assert error.value.code == "invalid_api_key"
    assert world.emulator.stats()["api_requests"] == 0
    with world.envoy.client("sk-0123456789abcdef") as client:
        assert said(chat(client)) == HELLO
    assert world.emulator.generations() == [(200, 1)]


def test_no_token_is_sent_without_tls(world):
    world.start_gateway()
    # The cluster of this file has no TLS by mistake.
    text = FILE.read_text()
    begin = text.index("      transport_socket:\n")
    end = text.index("      typed_extension_protocol_options:\n", begin)
    block = text[begin:end].replace("/etc/ssl/certs/ca-certificates.crt", str(world.emulator.authority))
    world.start_envoy({block: ""})
    status, _, body = world.envoy.post("/v1/chat/completions", {"model": MODEL, "messages": []})
    assert status == 500, body
    error = json.loads(body)["error"]
    assert error["code"] == "untrusted_host"
    assert f"http://localhost:{world.emulator.port}" in error["message"]
    assert world.emulator.stats()["api_requests"] == 0


@pytest.mark.parametrize("allow, expected", [("true", 200), ("false", 500)])
def test_without_ext_proc_requests_continue_if_the_file_allows_it(world, allow, expected):
    unreachable = """
    - name: unreachable
      type: STATIC
      connect_timeout: 1s
      load_assignment:
        cluster_name: unreachable
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address:
                    socket_address: { address: 127.0.0.1, port_value: 1 }
"""
    text = "    # One stream for each attempt in flight.\n"
    changes = {
        text: unreachable + text,
        "cluster_name: vertex_gateway }": "cluster_name: unreachable }",
        "failure_mode_allow: true": f"failure_mode_allow: {allow}",
    }
    world.start(changes=changes)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    assert world.envoy.post("/v1/chat/completions", body)[0] == expected
    assert world.emulator.stats()["api_requests"] == (expected == 200)


def test_without_the_gateway_new_requests_fail_and_requests_in_flight_finish(world):
    world.start("--drain-timeout", "1")
    world.emulator.set_faults(stream={"first_byte_delay_ms": 3000})
    with world.envoy.client() as client, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(chat, client), pool.submit(lambda: list(chat(client, stream=True)))]
        poll(lambda: world.emulator.stats()["api_requests"] == 2)
        # The streams to the gateway are closed early, because Vertex AI takes longer than the
        # drain.
        world.stop_gateway()
        with pytest.raises(openai.InternalServerError) as error:
            chat(client)
        assert error.value.status_code == 503
        assert world.emulator.stats()["api_requests"] == 2
        assert said(waiting[0].result()) == HELLO
        assert len(waiting[1].result()) > 1
        world.emulator.set_faults()
        # The new gateway process does not know the previous tokens.
        world.start_gateway()
        poll(lambda: answers(client))
        world.emulator.revoke()
        assert said(chat(client)) == HELLO


def answers(client):
    try:
        return said(chat(client)) == HELLO
    except openai.InternalServerError:
        return False
