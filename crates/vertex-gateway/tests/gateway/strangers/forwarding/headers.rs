//! The headers and the query of a request.

use super::*;

/// The names of the headers of a request, as it arrived.
fn names(came: &str) -> Vec<String> {
    let head = came.split_once("\r\n\r\n").unwrap().0;
    let names = head.lines().skip(1).map(|line| line.split(':').next().unwrap().to_lowercase());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn secrets_and_addresses_of_a_client_are_not_forwarded_over_both_protocols() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = Upstream::answering(OK).await;
    let gateway = files.start_to(&vertex, &upstream.url(), &[]).await;
    for http in [Http::One, Http::Two] {
        let mut request = chat("x");
        for name in [
            "cookie",
            "forwarded",
            "from",
            "referer",
            "via",
            "accept-language",
            "cdn-loop",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-client-cert",
            "x-forwarded-access-token",
            "x-real-ip",
            "x-api-key",
            "x-client-ip",
            "true-client-ip",
            "x-goog-iap-jwt-assertion",
            "x-goog-authenticated-user-email",
            "x-serverless-authorization",
            "x-amzn-oidc-data",
            "cf-access-jwt-assertion",
            "x-auth-request-access-token",
            "x-goog-quota-user",
            "x-goog-user-project",
            "x-goog-fieldmask",
            "x-http-method-override",
            "x-http-method",
            "x-method-override",
            "x-stainless-os",
            "openai-organization",
            "x-nobody-has-thought-of",
        ] {
            request.headers_mut().append(name, "SECRET".parse().unwrap());
        }
        for name in ["accept", "user-agent", "idempotency-key", "x-vertex-ai-labels"] {
            request.headers_mut().append(name, "kept".parse().unwrap());
        }
        assert_eq!(gateway.call_over(http, &mut request).await.status(), StatusCode::OK);
        let came = upstream.only();
        assert!(!came.contains("SECRET"), "{came}");
        let expected = [
            "accept",
            "authorization",
            "content-length",
            "content-type",
            "host",
            "idempotency-key",
            "user-agent",
            "x-vertex-ai-labels",
        ];
        let names = names(&came);
        let others: Vec<_> =
            names.iter().filter(|name| !expected.contains(&name.as_str())).collect();
        assert!(others.is_empty(), "{http:?}: {others:?}");
        for name in
            ["accept", "authorization", "user-agent", "idempotency-key", "x-vertex-ai-labels"]
        {
            assert!(names.iter().any(|there| there == name), "{http:?}: {came}");
        }
    }
}

#[tokio::test]
async fn a_connection_header_removes_no_header_of_the_configuration() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = Upstream::answering(OK).await;
    let config = files.write(
        "gateway.toml",
        "[[model]]\nname = \"m\"\n\
         headers = { X-Vertex-AI-LLM-Request-Type = \"shared\", X-Of-The-Entry = \"1\" }\n",
    );
    let gateway = files.start_to(&vertex, &upstream.url(), &["--config", &config]).await;
    let body = r#"{"model":"m"}"#;
    let answer = gateway
        .raw(
            format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
                 Connection: close, x-vertex-ai-llm-request-type, x-of-the-entry, x-request-id\r\n\
                 X-Request-Id: r\r\nX-Vertex-AI-LLM-Request-Type: dedicated\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let came = upstream.only().to_lowercase();
    assert!(came.contains("\r\nx-vertex-ai-llm-request-type: shared\r\n"), "{came}");
    assert!(came.contains("\r\nx-of-the-entry: 1\r\n"), "{came}");
    assert!(!came.contains("dedicated") && !came.contains("x-request-id"), "{came}");
}

#[tokio::test]
async fn a_setting_forwards_more_headers_and_parameters() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = Upstream::answering(OK).await;
    let config = files.write("gateway.toml", "forward_query = [\"tenant\"]\n");
    let options = [
        "--config",
        &config,
        "--forward-header",
        "X-Mine",
        "--forward-header",
        "X-Goog-User-Project",
    ];
    let gateway = files.start_to(&vertex, &upstream.url(), &options).await;
    let mut request = chat("x");
    *request.uri_mut() = "/v1/chat/completions?tenant=1&other=SECRET".parse().unwrap();
    for (name, value) in [("x-mine", "1"), ("x-goog-user-project", "payer"), ("x-other", "SECRET")]
    {
        request.headers_mut().append(name, value.parse().unwrap());
    }
    assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
    let came = upstream.only().to_lowercase();
    assert!(came.starts_with(&format!("post {OPENAPI}/chat/completions?tenant=1 ")), "{came}");
    assert!(
        came.contains("\r\nx-mine: 1\r\n") && came.contains("\r\nx-goog-user-project: payer\r\n")
    );
    assert!(!came.contains("secret"), "{came}");
    for option in
        ["--forward-header=host", "--forward-header=x-goog-api-key", "--forward-query=$key"]
    {
        let (mut command, _key) =
            crate::common::gateway::before(&vertex, &upstream.url(), &[option]);
        let output = in_time("the end of the process", command.output()).await.unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{option}: {error}");
        assert!(error.contains("to forward"), "{option}: {error}");
    }
}

#[tokio::test]
async fn googles_system_parameters_are_not_forwarded_in_any_spelling() {
    let (vertex, files) = (Emulator::start().await.unwrap(), Files::new());
    let upstream = Upstream::answering(OK).await;
    let options = ["--endpoint", "123"];
    let gateway = files.start_to(&vertex, &upstream.url(), &options).await;
    for path in ["/v1/chat/completions", "/v1/invoke/x"] {
        for pair in [
            "key=S",
            "KEY=S",
            "k%65y=S",
            "%256bey=S",
            "+key=S",
            "%20key=S",
            "a=1;key=S",
            "$key=S",
            "%24key=S",
            "%2524key=S",
            "access_token=S",
            "oauth_token=S",
            "userProject=S",
            "$userProject=S",
            "quotaUser=S",
            "$quotaUser=S",
            "$ct=S",
            "$alt=S",
            "$fields=S",
            "fields=S",
            "callback=S",
            "$callback=S",
            "$httpMethod=S",
            "$httpHeaders=S",
            "prettyPrint=S",
            "$prettyPrint=S",
            "upload_protocol=S",
            "uploadType=S",
            "$.xgafv=S",
            "$anything=S",
            "a%26key=S",
        ] {
            let mut request = chat("x");
            *request.uri_mut() = format!("{path}?{pair}&alt=sse&{pair}").parse().unwrap();
            assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
            let came = upstream.only();
            let target = came.split(' ').nth(1).unwrap();
            assert!(target.ends_with("?alt=sse"), "{path} {pair}: {target}");
        }
    }
    let mut request = chat("x");
    *request.uri_mut() = "/v1/invoke/x?a=b&c".parse().unwrap();
    assert_eq!(gateway.call(request).await.status(), StatusCode::OK);
    assert!(
        upstream.only().contains("/endpoints/123/invoke/x?a=b&c "),
        "a container gets its own parameters"
    );
}
