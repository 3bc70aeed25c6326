"""Company proxies between the sidecar and Google: squid, and mitmproxy, which reads TLS."""

import pytest
from table import API, CREDENTIALS, OAUTH, WAYS, expected

# A wrong and the right password, also as the header has them.
SECRETS = ["hunter2", "bWU6aHVudGVyMg", "p@ss", "p%40ss", "bWU6cEBzczp3JXJk"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("credential", CREDENTIALS)
def test_tokens_and_requests_take_the_same_way(results, credential, way):
    result = results[f"{credential}, {way}"]
    assert (result["status"], result["hosts"], result["elsewhere"]) == (200, expected(credential, way), []), result
    assert result["text"].endswith("data: [DONE]\n\n") and result["principal"], result


def test_a_proxy_that_reads_tls_has_read_the_token_request_and_the_chat(results):
    assert results["read by mitmproxy"]["token"] and results["read by mitmproxy"]["chat"]


@pytest.mark.parametrize(
    "name, hosts", [("NO_PROXY", [API]), ("--no-proxy", []), ("HTTP_PROXY of CGI", []), ("endpoints", [API, OAUTH])]
)
def test_a_host_is_exempt_by_the_setting_that_names_it(results, name, hosts):
    result = results[name]
    assert result["hosts"] == sorted(hosts) and result["elsewhere"] == [], result
    assert result["status"] in (0, 200), result


@pytest.mark.parametrize(
    "name, code, says",
    [
        ("works", 0, ["✓ proxy", ", from --proxy: a tunnel to us-central1-aiplatform", "✓ model"]),
        ("no login", 1, ["requires a user and a password (407)", "http://USER:PASSWORD@HOST:PORT"]),
        ("wrong login", 1, ["rejected the user or the password (407)", "check the user and the password"]),
        ("refused", 1, ["refused a tunnel to oauth2.googleapis.com:443 (403)", "allow CONNECT to oauth2"]),
        ("gone", 1, ["cannot be reached", "Connection refused", "check the host and the port of the proxy"]),
        ("unknown authority", 1, ["UnknownIssuer", "✓ proxy", "--upstream-ca"]),
        ("SOCKS", 2, ["SOCKS is not supported", "--proxy"]),
    ],
)
def test_check_names_the_proxy_and_has_a_remedy_for_each_failure(results, name, code, says):
    result = results[f"check, {name}"]
    assert result["code"] == code, result["output"]
    assert [text for text in says if text not in result["output"]] == [], result["output"]


def test_a_changed_authority_is_used_without_a_restart(results):
    result = results["changed authority"]
    assert (result["first"], result["status"]) == (503, 200), result


def test_a_client_gets_the_reason_and_no_login_is_ever_shown(results):
    served = results["served, wrong login"]
    assert served["status"] == 503 and "407" in served["text"], served["text"]
    for result in results.values():
        shown = "".join(str(result.get(name, "")) for name in ("text", "log", "output"))
        assert [secret for secret in SECRETS if secret in shown] == [], shown


def test_federation_with_aws_takes_no_other_way_silently(results):
    by_option, by_variable = results["AWS, option"], results["AWS, variable"]
    assert by_option["code"] == 1 and "set HTTPS_PROXY" in by_option["output"], by_option
    # Off AWS there is no subject token.
    assert by_variable["code"] == 1 and "HTTPS_PROXY" not in by_variable["output"], by_variable
