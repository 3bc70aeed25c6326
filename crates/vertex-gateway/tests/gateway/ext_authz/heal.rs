//! The replacement of a rejected token, attempt by attempt, as Envoy's router sees it.

use std::collections::BTreeMap;

use envoy_types::pb::envoy::{
    config::core::v3::{HeaderMap, HeaderValue},
    service::ext_proc::v3::{
        HeaderMutation, HeadersResponse, HttpBody, HttpHeaders, ProcessingRequest,
        processing_request::Request, processing_response::Response,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tower_vertex_emulator::{TokenBehavior, TokenFault};

use super::{Asked, Envoy, Place, set};

const REPLAY: &str = "x-vertex-gateway-replay";

/// One attempt of a request.
struct Attempt {
    messages: mpsc::Sender<ProcessingRequest>,
    answers: Streaming<envoy_types::pb::envoy::service::ext_proc::v3::ProcessingResponse>,
}

#[derive(Debug, Default, PartialEq)]
struct Changes {
    set: BTreeMap<String, String>,
    removed: Vec<String>,
}

impl From<HeadersResponse> for Changes {
    fn from(response: HeadersResponse) -> Self {
        let response = response.response.unwrap();
        assert_eq!(response.status, 0, "the request continues");
        assert!(response.body_mutation.is_none() && !response.clear_route_cache);
        let HeaderMutation { set_headers, remove_headers } = response.header_mutation.unwrap();
        Self { set: set(set_headers), removed: remove_headers }
    }
}

fn message(headers: &[(&str, &str)], request: bool) -> ProcessingRequest {
    let headers = headers.iter().map(|(name, value)| HeaderValue {
        key: (*name).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        value: String::new(),
    });
    let headers = HttpHeaders {
        headers: Some(HeaderMap { headers: headers.collect() }),
        ..Default::default()
    };
    let message = if request { Request::RequestHeaders } else { Request::ResponseHeaders };
    ProcessingRequest { request: Some(message(headers)), ..Default::default() }
}

impl Attempt {
    async fn open(envoy: &Envoy) -> Self {
        let (messages, stream) = mpsc::channel(4);
        let answers = envoy.heal().process(ReceiverStream::new(stream)).await.unwrap();
        Self { messages, answers: answers.into_inner() }
    }

    async fn exchange(&mut self, message: ProcessingRequest) -> Result<Response, Status> {
        self.messages.send(message).await.unwrap();
        Ok(self.answers.message().await?.expect("a response").response.unwrap())
    }

    async fn send_request_headers(&mut self, headers: &[(&str, &str)]) -> Changes {
        match self.exchange(message(headers, true)).await.unwrap() {
            Response::RequestHeaders(response) => response.into(),
            other => panic!("{other:?}"),
        }
    }

    async fn send_response_headers(&mut self, headers: &[(&str, &str)]) -> Changes {
        match self.exchange(message(headers, false)).await.unwrap() {
            Response::ResponseHeaders(response) => response.into(),
            other => panic!("{other:?}"),
        }
    }
}

/// Opens the attempt of this number, sent with this token.
async fn attempt(envoy: &Envoy, host: &str, number: &str, token: &str) -> (Attempt, Changes) {
    let mut attempt = Attempt::open(envoy).await;
    let changes = attempt
        .send_request_headers(&[
            (":scheme", "http"),
            (":authority", host),
            ("x-envoy-attempt-count", number),
            ("authorization", token),
        ])
        .await;
    (attempt, changes)
}

fn one(name: &str, value: &str) -> Changes {
    Changes { set: [(name.to_owned(), value.to_owned())].into(), removed: vec![] }
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once_and_the_next_attempt_has_the_new_one() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    let host = place.host();
    let old = envoy.token().await;
    let mut attempts = Vec::new();
    for _ in 0..20 {
        let (attempt, changes) = attempt(&envoy, &host, "1", &old).await;
        assert_eq!(changes, Changes::default(), "the token is the one in force");
        attempts.push(attempt);
    }
    place.vertex.revoke_tokens();
    let mut late = attempts.pop().unwrap();
    let mut told = tokio::task::JoinSet::new();
    for mut attempt in attempts {
        told.spawn(async move { attempt.send_response_headers(&[(":status", "401")]).await });
    }
    for changes in told.join_all().await {
        assert_eq!(changes, one(REPLAY, "1"));
    }
    assert_eq!(place.vertex.stats().token_mints, 2, "one for all");
    let new = envoy.token().await;
    assert_ne!(new, old);
    let (mut again, changes) = attempt(&envoy, &host, "2", &old).await;
    assert_eq!(changes, one("authorization", &new));
    assert_eq!(again.send_response_headers(&[(":status", "200")]).await, Changes::default());

    // This 401 is for the old token, which was replaced already.
    assert_eq!(late.send_response_headers(&[(":status", "401")]).await, one(REPLAY, "1"));
    // A second attempt that gets a 401 causes no third one.
    let (mut again, changes) = attempt(&envoy, &host, "2", &old).await;
    assert_eq!(changes, one("authorization", &new));
    assert_eq!(again.send_response_headers(&[(":status", "401")]).await, Changes::default());
    // A second attempt that Envoy made for another reason may cause a replay of its own.
    let (mut second, changes) = attempt(&envoy, &host, "2", &new).await;
    assert_eq!(changes, Changes::default());
    assert_eq!(second.send_response_headers(&[(":status", "503")]).await, Changes::default());
    // No other status than 401 causes a replay.
    for status in ["200", "400", "403", "429", "503"] {
        let (mut first, _) = attempt(&envoy, &host, "1", &new).await;
        assert_eq!(
            first.send_response_headers(&[(":status", status)]).await,
            Changes::default(),
            "{status}"
        );
    }
    assert_eq!(place.vertex.stats().token_mints, 2);
    assert_eq!(envoy.token().await, new);
    let (mut second, _) = attempt(&envoy, &host, "2", &new).await;
    assert_eq!(second.send_response_headers(&[(":status", "401")]).await, one(REPLAY, "1"));
    assert_eq!(place.vertex.stats().token_mints, 3);
}

#[tokio::test]
async fn a_permanent_401_causes_no_more_replays_than_its_bucket_allows() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    let host = place.host();
    let mut healed = 0;
    for _ in 0..10 {
        let token = envoy.token().await;
        let (mut first, _) = attempt(&envoy, &host, "1", &token).await;
        let changes = first.send_response_headers(&[(":status", "401")]).await;
        if changes == Changes::default() {
            continue;
        }
        healed += 1;
        assert_eq!(changes, one(REPLAY, "1"));
        let (mut again, _) = attempt(&envoy, &host, "2", &token).await;
        assert_eq!(again.send_response_headers(&[(":status", "401")]).await, Changes::default());
    }
    assert_eq!((healed, place.vertex.stats().token_mints), (3, 4));
}

#[tokio::test]
async fn without_a_new_token_there_is_no_second_attempt() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    let token = envoy.token().await;
    let fail = Some(TokenFault { status: 503, times: None });
    place.vertex.set_token_behavior(TokenBehavior { fail, ..TokenBehavior::default() });
    let (mut first, _) = attempt(&envoy, &place.host(), "1", &token).await;
    // Vertex AI does not send this header. If another server does, it has no effect and is removed.
    let headers = [(":status", "401"), (REPLAY, "1")];
    let changes = first.send_response_headers(&headers).await;
    assert_eq!(changes, Changes { set: BTreeMap::new(), removed: vec![REPLAY.to_owned()] });
    let (mut first, changes) = attempt(&envoy, &place.host(), "1", &token).await;
    assert_eq!(changes, Changes::default(), "the token may still be valid");
    let changes = first.send_response_headers(&[(":status", "200"), (REPLAY, "1")]).await;
    assert_eq!(changes.removed, [REPLAY]);
}

#[tokio::test]
async fn a_token_is_replaced_only_on_requests_that_carry_it_and_never_in_clear_text() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    let (host, old) = (place.host(), envoy.token().await);
    for foreign in ["Bearer of-another-client", "", &old[..old.len() - 1], "Basic eDp5"] {
        let (mut attempt, changes) = attempt(&envoy, "evil.com", "1", foreign).await;
        assert_eq!(changes, Changes::default(), "{foreign}");
        assert_eq!(attempt.send_response_headers(&[(":status", "401")]).await, Changes::default());
    }
    let mut none = Attempt::open(&envoy).await;
    assert_eq!(none.send_request_headers(&[(":authority", &host)]).await, Changes::default());
    assert_eq!(place.vertex.stats().token_mints, 1);

    // The token is the sidecar's, but the host is not trusted, or is reached without TLS.
    for (scheme, authority) in [
        ("http", "us-central1-aiplatform.googleapis.com"),
        ("https", "evil.com"),
        ("http", "127.0.0.1:1"),
        ("https", &*host),
        ("", &*host),
        ("http", ""),
    ] {
        let mut attempt = Attempt::open(&envoy).await;
        let headers =
            [(":scheme", scheme), (":authority", authority), ("authorization", old.as_str())];
        match attempt.exchange(message(&headers, true)).await.unwrap() {
            Response::ImmediateResponse(answer) => {
                let body = String::from_utf8(answer.body).unwrap();
                assert!(answer.status.unwrap().code >= 400 && !body.contains(&old[7..]), "{body}");
            }
            other => panic!("{scheme}://{authority}: {other:?}"),
        }
    }
    let mut attempt = Attempt::open(&envoy).await;
    let google = "us-central1-aiplatform.googleapis.com";
    let headers = [(":scheme", "https"), (":authority", google), ("authorization", &old)];
    assert_eq!(attempt.send_request_headers(&headers).await, Changes::default());
}

#[tokio::test]
async fn an_unsupported_message_is_refused() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    let mut attempt = Attempt::open(&envoy).await;
    let body = Request::RequestBody(HttpBody::default());
    let message = ProcessingRequest { request: Some(body), ..Default::default() };
    let error = attempt.exchange(message).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
    envoy.pass(Asked::chat()).await;
}

#[tokio::test]
async fn headers_about_googles_host_are_removed_and_a_stream_is_not_buffered() {
    let place = Place::new().await;
    let envoy = place.start(&[]).await;
    let token = envoy.token().await;
    // Responses to another client's token have these headers, too.
    for token in [token.as_str(), "Bearer another"] {
        let (mut attempt, _) = attempt(&envoy, &place.host(), "1", token).await;
        let changes = attempt
            .send_response_headers(&[
                (":status", "200"),
                ("content-type", "text/event-stream"),
                ("alt-svc", "h3"),
                ("set-cookie", "a=b"),
                ("set-cookie", "c=d"),
                ("strict-transport-security", "max-age=1"),
                ("access-control-allow-origin", "*"),
                ("x-mine", "1"),
                ("www-authenticate", "Bearer"),
                (REPLAY, "1"),
            ])
            .await;
        let mut removed = changes.removed;
        removed.sort_unstable();
        let expected = [
            "access-control-allow-origin",
            "alt-svc",
            "set-cookie",
            "strict-transport-security",
            REPLAY,
        ];
        assert_eq!(removed, expected);
        let set: Vec<_> = changes.set.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(set, [("cache-control", "no-cache"), ("x-accel-buffering", "no")]);
    }
    let (mut attempt, _) = attempt(&envoy, &place.host(), "1", &token).await;
    let plain = [(":status", "200"), ("content-type", "application/json"), ("vary", "origin")];
    assert_eq!(attempt.send_response_headers(&plain).await, Changes::default());
}
