use http::header::CONTENT_ENCODING;
use proptest::prelude::*;

use super::*;

fn headers(content_type: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    }
    headers
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

fn json(code: u16, body: &str) -> Option<UpstreamError> {
    translate(status(code), &headers("application/json; charset=UTF-8"), body.as_bytes(), None)
}

fn text(code: u16, content_type: &str, body: &str) -> UpstreamError {
    translate(status(code), &headers(content_type), body.as_bytes(), None).unwrap()
}

#[test]
fn an_error_of_google_is_translated_with_and_without_an_array() {
    let error = r#"{"error":{"code":429,"message":"Resource exhausted.","status":"RESOURCE_EXHAUSTED",
        "details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"R"}]}}"#;
    for (body, form) in [
        (error.to_owned(), Form::Object),
        (format!("[{error}]"), Form::Array),
        (format!(" \r\n [\n{error}\n]\n"), Form::Array),
    ] {
        // The result is the same for any content type.
        for content_type in ["application/json; charset=UTF-8", "text/plain", "text/html", ""] {
            let translated = text(429, content_type, &body);
            assert_eq!((translated.form, translated.retry_after), (form, None));
            assert_eq!(
                translated.to_json(Protocol::OpenAi, status(429), &HeaderMap::new()),
                serde_json::json!({ "error": {
                    "message": "Resource exhausted.",
                    "type": "rate_limit_error",
                    "param": null,
                    "code": "429",
                    "google": {
                        "code": 429,
                        "status": "RESOURCE_EXHAUSTED",
                        "details": [{
                            "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "R",
                        }],
                    },
                }})
            );
        }
    }
}

#[test]
fn a_status_has_the_type_that_openai_gives_it() {
    for (code, kind) in [
        (400, "invalid_request_error"),
        (401, "invalid_request_error"),
        (403, "invalid_request_error"),
        (404, "invalid_request_error"),
        (408, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (499, "invalid_request_error"),
        (500, "server_error"),
        (503, "server_error"),
        (529, "server_error"),
        (999, "server_error"),
    ] {
        let body = format!(r#"{{"error":{{"code":{code},"message":"m","status":"S"}}}}"#);
        let error = json(code, &body).unwrap();
        assert_eq!((error.kind.as_str(), error.code), (kind, code.to_string()));
    }
}

#[test]
fn missing_fields_get_defaults() {
    for (body, code, message, kind, param, google) in [
        (
            r#"{"error":{"code":400}}"#,
            "400",
            "Vertex AI returned 400 Bad Request and gave no reason; check the URL and the request",
            "invalid_request_error",
            None,
            (Some(400), None),
        ),
        (
            r#"[{"error":{"status":"S","message":"m","details":{}}}]"#,
            "400",
            "m",
            "invalid_request_error",
            None,
            (None, Some("S")),
        ),
        // The code is not a status.
        (
            r#"{"error":{"code":5,"status":"NOT_FOUND","message":"m"}}"#,
            "400",
            "m",
            "invalid_request_error",
            None,
            (Some(5), Some("NOT_FOUND")),
        ),
        // Google's code takes precedence over the status.
        (
            r#"{"error":{"code":412,"message":"m"}}"#,
            "412",
            "m",
            "invalid_request_error",
            None,
            (Some(412), None),
        ),
        // A server behind an endpoint of your own.
        (
            r#"{"error":{"message":"m","type":"BadRequestError","param":"model","code":400}}"#,
            "400",
            "m",
            "BadRequestError",
            Some("model"),
            (Some(400), None),
        ),
        (
            r#"{"error":{"code":400,"message":7,"type":null,"param":{},"status":9}}"#,
            "400",
            "Vertex AI returned 400 Bad Request and gave no reason; check the URL and the request",
            "invalid_request_error",
            None,
            (Some(400), None),
        ),
    ] {
        let error = json(400, body).unwrap();
        assert_eq!(error.message, message, "{body}");
        assert_eq!((error.code.as_str(), error.kind.as_str()), (code, kind), "{body}");
        assert_eq!(error.param.as_deref(), param, "{body}");
        let said = error.google.unwrap();
        assert_eq!((said.code, said.status.as_deref()), google, "{body}");
        assert!(said.details.is_empty());
    }
}

#[test]
fn json_of_another_form_is_not_translated() {
    for body in [
        r#"{"error":{"message":"m","type":"t","param":null,"code":"invalid_api_key"}}"#,
        r#"{"error":{"message":"m","type":"t","param":null,"code":null}}"#,
        r#"{"error":{"message":"m"}}"#,
        r#"{"error":"invalid_grant","error_description":"d"}"#,
        r#"{"error":null}"#,
        r#"{"error":[]}"#,
        r#"{"detail":"Not Found"}"#,
        r#"{"object":"error","message":"m","code":400}"#,
        r#"[{"error":{"message":"m","code":"x"}}]"#,
        r#"[[{"error":{"code":400,"status":"S"}}]]"#,
        r#"[{"error":{"code":400}},{"error":{"code":400}}]"#,
        "[]",
        "[1]",
        "{}",
        "null",
        "7",
        "\"text\"",
    ] {
        assert_eq!(json(400, body), None, "{body}");
    }
    let google = br#"{"error":{"code":400,"message":"m"}}"#;
    for (encoding, is_unchanged) in
        [("gzip", true), ("identity, br", true), ("identity", false), ("", false)]
    {
        let mut headers = headers("application/json");
        headers.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        assert_eq!(translate(status(400), &headers, google, None).is_none(), is_unchanged);
    }
}

#[test]
fn a_body_that_is_not_json_becomes_a_sentence() {
    let deep = "[".repeat(200_000);
    for (code, content_type, body, form, message) in [
        (
            503,
            "",
            "",
            Form::Other,
            "Vertex AI returned 503 Service Unavailable and gave no reason; try again in a while",
        ),
        (
            599,
            "",
            "",
            Form::Other,
            "Vertex AI returned 599 and gave no reason; try again in a while",
        ),
        (
            500,
            "application/json",
            r#"{"error":{"code":500,"mess"#,
            Form::Other,
            "Vertex AI returned 500 Internal Server Error and gave no reason; try again in a while",
        ),
        (
            400,
            "application/json",
            &deep,
            Form::Other,
            "Vertex AI returned 400 Bad Request and gave no reason; check the URL and the request",
        ),
        (
            503,
            "Text/Plain ; charset=utf-8",
            " no healthy\r\n\tupstream\u{1b}[31m \n",
            Form::Other,
            "Vertex AI returned 503 Service Unavailable: no healthy upstream [31m",
        ),
        (404, "text/plain", "404", Form::Other, "Vertex AI returned 404 Not Found: 404"),
        (
            413,
            "application/xml",
            "<secret/>",
            Form::Other,
            "Vertex AI returned 413 Payload Too Large and gave no reason; send a shorter request",
        ),
        (
            502,
            "text/html; charset=UTF-8",
            "<p>",
            Form::Html,
            "Vertex AI returned 502 Bad Gateway with a web page instead of JSON; try again in a while",
        ),
        (
            400,
            "",
            "\n<!DOCTYPE HTML><p>",
            Form::Html,
            "Vertex AI returned 400 Bad Request with a web page instead of JSON; check the URL and \
             the request",
        ),
    ] {
        let error = text(code, content_type, body);
        assert_eq!((error.message.as_str(), error.form), (message, form));
        assert_eq!(error.code, code.to_string());
        assert_eq!(error.google, None);
    }
}

#[test]
fn the_message_for_a_404_page_names_the_upstream() {
    let upstream = Upstream::new("p", "us-central1").unwrap();
    for (body, content_type) in [("<p>", "text/html"), ("<HTML lang=en>", "")] {
        let headers = headers(content_type);
        let error = translate(status(404), &headers, body.as_bytes(), Some(&upstream)).unwrap();
        assert_eq!(
            error.message,
            "https://us-central1-aiplatform.googleapis.com returned 404 Not Found with a web page \
             instead of JSON: location us-central1, endpoint openapi: no API method exists at \
             https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1\
             /endpoints/openapi and the requested path; check that the path is one of openapi's \
             methods, and the project p"
        );
    }
}

#[test]
fn an_excerpt_is_short() {
    for body in ["ä".repeat(1000), " \n".repeat(100_000) + &"x".repeat(500), "\u{0}".repeat(5000)]
    {
        let message = text(500, "text/plain", &body).message;
        assert!(message.chars().count() < EXCERPT + 80, "{message}");
        assert!(!message.contains(char::is_control));
    }
    assert!(text(500, "text/plain", &"ä".repeat(1000)).message.ends_with("ä…"));
    assert!(text(500, "text/plain", &"ä".repeat(EXCERPT)).message.ends_with("ää"));
    let error = translate(status(500), &headers("text/plain"), b"\xff\xfe<", None).unwrap();
    assert!(error.message.ends_with("\u{fffd}\u{fffd}<"));
}

#[test]
fn a_body_that_was_not_read_becomes_a_sentence() {
    let json = headers("application/json");
    for (why, end) in [
        (UnreadReason::TooLong(9), "is longer than 9 bytes"),
        (UnreadReason::Broken, "ended early"),
        (UnreadReason::Late(Duration::from_secs(10)), "did not arrive within 10s"),
    ] {
        let error = unread(status(503), &json, why, None);
        let message = error.message.strip_prefix("Vertex AI returned 503 Service Unavailable, ");
        assert_eq!(message, Some(&*format!("but the body of the error {end}")));
        assert_eq!(error.form, Form::Other);
        let page = unread(status(404), &headers("text/html"), why, None);
        assert!(page.message.contains("web page") && page.form == Form::Html);
    }
}

#[test]
fn a_retry_delay_is_rounded_up_to_whole_seconds() {
    for (delay, seconds) in [
        ("39s", Some(39)),
        ("1.5s", Some(2)),
        ("1.000s", Some(1)),
        ("1.000000001s", Some(2)),
        ("0s", Some(1)),
        ("0.001s", Some(1)),
        ("00039s", Some(39)),
        ("315576000000s", Some(315_576_000_000)),
        ("315576000001s", None),
        ("99999999999999999999999s", None),
        ("39", None),
        ("39S", None),
        ("39ms", None),
        ("-1s", None),
        ("+1s", None),
        (".5s", None),
        ("5.s", None),
        ("1.5.5s", None),
        ("1e3s", None),
        (" 1s", None),
        ("NaNs", None),
        ("\u{661}s", None),
        ("s", None),
        ("", None),
    ] {
        assert_eq!(whole_seconds(delay), seconds, "{delay:?}");
    }
    for (details, seconds) in [
        (r#"[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"2s"}]"#, Some(2)),
        (
            r#"[7, {"@type":"type.googleapis.com/google.rpc.ErrorInfo","retryDelay":"9s"},
                {"@type":"google.rpc.RetryInfo","retryDelay":"x"},
                {"@type":"google.rpc.RetryInfo","retryDelay":"3.1s"}]"#,
            Some(4),
        ),
        (r#"[{"@type":"type.googleapis.com/google.rpc.RetryInfo"}]"#, None),
        (r#"[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":2}]"#, None),
        (r#"[{"@type":7,"retryDelay":"2s"}]"#, None),
        (r#"{"@type":"google.rpc.RetryInfo","retryDelay":"2s"}"#, None),
        ("null", None),
    ] {
        let body = format!(r#"{{"error":{{"code":429,"message":"m","details":{details}}}}}"#);
        assert_eq!(json(429, &body).unwrap().retry_after, seconds, "{details}");
    }
}

#[test]
fn the_headers_fit_the_new_body() {
    let mut headers = headers("application/json; charset=UTF-8");
    for (name, value) in [
        ("content-length", "5"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x"),
        ("www-authenticate", "Bearer"),
        ("vary", "Origin"),
        ("vary", "Referer"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    let mut error = json(429, r#"[{"error":{"code":429,"message":"m"}}]"#).unwrap();
    error.retry_after = Some(7);
    let mut with_retry_after = headers.clone();
    let body = error.clone().into_body(Protocol::OpenAi, status(429), &mut headers);
    assert_eq!(headers["content-length"], body.len().to_string().as_str());
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["x-vertex-error-type"], "array");
    assert_eq!(headers["retry-after"], "7");
    assert_eq!(headers["www-authenticate"], "Bearer");
    assert_eq!(headers.get_all("vary").iter().collect::<Vec<_>>(), ["Origin", "Referer"]);
    assert_eq!(headers.len(), 7);

    with_retry_after.insert(RETRY_AFTER, HeaderValue::from_static("Fri, 31 Dec 1999 23:59:59 GMT"));
    error.into_body(Protocol::OpenAi, status(429), &mut with_retry_after);
    assert_eq!(with_retry_after["retry-after"], "Fri, 31 Dec 1999 23:59:59 GMT");
}

/// JSON that is similar to an error of Google's.
fn near_google() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "error",
        "code",
        "message",
        "status",
        "details",
        "@type",
        "retryDelay",
        "type",
        "param",
        "1.5s",
        "google.rpc.RetryInfo",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    let value = leaf.prop_recursive(6, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..5).prop_map(|fields| {
                fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    });
    (value, any::<bool>()).prop_map(|(value, wrap)| {
        let value = serde_json::json!({ "error": value });
        if wrap { Value::from(vec![value]) } else { value }.to_string()
    })
}

proptest! {
    #[test]
    fn no_body_panics(
        code in 300_u16..1000,
        content_type in prop::sample::select(vec!["application/json", "text/html", "text/plain", ""]),
        body in prop_oneof![
            any::<Vec<u8>>(),
            any::<String>().prop_map(String::into_bytes),
            near_google().prop_map(String::into_bytes),
        ],
    ) {
        let upstream = Upstream::new("p", "eu").unwrap();
        let mut headers = headers(content_type);
        if let Some(error) = translate(status(code), &headers, &body, Some(&upstream)) {
            prop_assert!(!error.message.is_empty());
            let status = status(code);
            for protocol in [Protocol::OpenAi, Protocol::Gemini, Protocol::Anthropic] {
                let body = error.clone().into_body(protocol, status, &mut headers);
                let value: Value = serde_json::from_slice(&body).unwrap();
                prop_assert!(value["error"]["message"].is_string());
                prop_assert!(value["error"]["code"].is_string() == (protocol == Protocol::OpenAi));
                let name = if protocol == Protocol::Gemini { "status" } else { "type" };
                prop_assert!(value["error"][name].is_string());
                // A translated error is in the form of its protocol.
                let again = translate(status, &headers, &body, Some(&upstream));
                prop_assert!(again.is_none_or(|error| error.is_in_form(protocol)));
            }
        }
    }

    #[test]
    fn no_delay_panics(text in "[0-9.]{0,30}s?") {
        if let Some(seconds) = whole_seconds(&text) {
            prop_assert!((1..=LONGEST_DELAY + 1).contains(&seconds));
        }
    }
}

#[test]
fn headers_that_describe_the_old_body_go_with_it() {
    let mut headers = HeaderMap::new();
    for name in [
        "content-digest",
        "repr-digest",
        "digest",
        "content-md5",
        "etag",
        "last-modified",
        "content-language",
        "trailer",
        "transfer-encoding",
        "x-request-id",
    ] {
        headers.append(name, HeaderValue::from_static("old"));
        headers.append(name, HeaderValue::from_static("older"));
    }
    let error = translate(StatusCode::NOT_FOUND, &headers, b"", None).unwrap();
    let body = error.into_body(Protocol::OpenAi, status(404), &mut headers);
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-length", "content-type", "x-request-id", "x-vertex-error-type"]);
    assert_eq!(headers["content-length"], body.len().to_string().as_str());
}

#[test]
fn an_error_has_the_form_and_the_type_of_each_protocol() {
    for (code, google, anthropic) in [
        (400, "INVALID_ARGUMENT", "invalid_request_error"),
        (401, "UNAUTHENTICATED", "authentication_error"),
        (402, "INVALID_ARGUMENT", "billing_error"),
        (403, "PERMISSION_DENIED", "permission_error"),
        (404, "NOT_FOUND", "not_found_error"),
        (405, "UNIMPLEMENTED", "invalid_request_error"),
        (408, "DEADLINE_EXCEEDED", "timeout_error"),
        (409, "ABORTED", "conflict_error"),
        (413, "INVALID_ARGUMENT", "request_too_large"),
        (422, "INVALID_ARGUMENT", "invalid_request_error"),
        (429, "RESOURCE_EXHAUSTED", "rate_limit_error"),
        (499, "CANCELLED", "invalid_request_error"),
        (500, "INTERNAL", "api_error"),
        (501, "UNIMPLEMENTED", "api_error"),
        (502, "UNAVAILABLE", "api_error"),
        (503, "UNAVAILABLE", "overloaded_error"),
        (504, "DEADLINE_EXCEEDED", "timeout_error"),
        (529, "UNAVAILABLE", "overloaded_error"),
        (999, "INTERNAL", "api_error"),
    ] {
        let (status, mut headers) = (status(code), headers("text/plain"));
        headers.insert("request-id", HeaderValue::from_static("req_1"));
        let error = translate(status, &headers, b"no", None).unwrap();
        assert_eq!(
            error.to_json(Protocol::Gemini, status, &headers),
            serde_json::json!({ "error": {
                "code": code, "message": error.message, "status": google,
            }}),
        );
        assert_eq!(
            error.to_json(Protocol::Anthropic, status, &headers),
            serde_json::json!({
                "type": "error",
                "error": { "type": anthropic, "message": error.message },
                "request_id": "req_1",
            }),
        );
    }
}

#[test]
fn an_error_of_google_keeps_its_code_and_its_details_in_every_form() {
    let body = r#"[{"error":{"code":429,"message":"m","status":"S","details":[{"@type":"x"}]}}]"#;
    let (error, none) = (json(503, body).unwrap(), HeaderMap::new());
    let google = serde_json::json!({ "code": 429, "status": "S", "details": [{ "@type": "x" }] });
    assert_eq!(
        error.to_json(Protocol::Gemini, status(503), &none),
        serde_json::json!({ "error": {
            "code": 429, "message": "m", "status": "S", "details": [{ "@type": "x" }],
        }}),
    );
    assert_eq!(
        error.to_json(Protocol::Anthropic, status(503), &none),
        serde_json::json!({
            "type": "error",
            "error": { "type": "overloaded_error", "message": "m", "google": google },
            "request_id": null,
        }),
    );
}

#[test]
fn an_error_in_anthropics_form_is_not_translated() {
    for body in [
        r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#,
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"m"},"request_id":"r"}"#,
        r#"{"type":"error","error":{"type":"api_error","message":"m","details":null}}"#,
    ] {
        assert_eq!(json(529, body), None, "{body}");
    }
}

#[test]
fn the_advice_is_for_openais_clients_alone() {
    let body = r#"{"error":{"code":404,"message":"Publisher Model `x` was not found"}}"#;
    let error = json(404, body).unwrap();
    for (protocol, has_advice) in
        [(Protocol::OpenAi, true), (Protocol::Gemini, false), (Protocol::Anthropic, false)]
    {
        let error = error.clone().with_advice(protocol, status(404), None);
        assert_eq!(error.message.contains("/v1/models"), has_advice, "{protocol:?}");
    }
}
