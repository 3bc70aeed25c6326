//! `discover` over real sockets: against the emulator, and against servers whose responses Vertex
//! AI would not send.

mod publisher_models;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Empty;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tower::Layer as _;
use tower_vertex::{
    auth::{VertexAuth, VertexAuthLayer},
    discover::{DiscoverError, Endpoints},
    error::Error,
    route::{Endpoint, Upstream},
    token::{StaticToken, TokenCache},
};
use tower_vertex_emulator::{
    ApiFault, Emulator, EmulatorBuilder, EndpointInfo, ErrorShape, Faults,
};

use crate::common::{Http, HttpClient, auth, client, door::ClosedPort, key_source, upstream};

const PATH: &str = "/v1/projects/p1/locations/us-central1/endpoints";
const DNS: &str = "77.us-central1-123456789012.prediction.vertexai.goog";

fn http() -> HttpClient<Empty<Bytes>> {
    client(Http::One)
}

async fn start(builder: EmulatorBuilder) -> (Emulator, Endpoints) {
    let vertex = builder.start().await.unwrap();
    let service = auth(&vertex, TokenCache::new(key_source(&vertex))).layer(http());
    let endpoints = Endpoints::from_upstream(service, &upstream(&vertex)).unwrap();
    (vertex, endpoints)
}

fn fail(vertex: &Emulator, fault: ApiFault) {
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
}

/// The paths and the decoded queries of the requests.
fn queries(vertex: &Emulator) -> Vec<(String, Vec<(String, String)>)> {
    vertex.requests().into_iter().map(|r| (r.path, decoded(&r.query.unwrap_or_default()))).collect()
}

fn decoded(query: &str) -> Vec<(String, String)> {
    let url = format!("x?{query}");
    let query = url.split_once('?').unwrap().1;
    let decode = |text: &str| {
        let (mut bytes, mut rest) = (Vec::new(), text.bytes());
        while let Some(byte) = rest.next() {
            if byte != b'%' {
                bytes.push(byte);
                continue;
            }
            let hex = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        }
        String::from_utf8(bytes).unwrap()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap()).map(|(n, v)| (decode(n), decode(v))).collect()
}

#[tokio::test]
async fn list_and_get_describe_the_same_endpoints() {
    let builder = Emulator::builder()
        .endpoint(EndpointInfo::dedicated("77", "my-llama", DNS))
        .endpoint(EndpointInfo::shared("78", "elsewhere").location("europe-west4"));
    let (vertex, endpoints) = start(builder).await;
    let all = endpoints.list().await.unwrap();
    let ids: Vec<&str> = all.iter().map(|endpoint| endpoint.id.as_str()).collect();
    let dedicated = "mg-endpoint-00000000-0000-4000-8000-000000000000";
    assert_eq!(ids, ["1234567890123456789", dedicated, "77"]);
    let mine = all.last().unwrap();
    assert_eq!((mine.display_name.as_str(), mine.location.as_str()), ("my-llama", "us-central1"));
    // The response has the project's number, although the request had its id.
    assert_eq!(mine.project, "123456789012");
    assert_eq!((mine.is_dedicated, mine.dedicated_dns.as_deref()), (true, Some(DNS)));
    assert_eq!((mine.models.len(), mine.models[0].model_id()), (1, "77"));
    assert_eq!(endpoints.get("77").await.unwrap(), *mine);
    assert_eq!(queries(&vertex)[0], (PATH.into(), vec![("pageSize".into(), "100".into())]));
    assert_eq!(queries(&vertex)[1], (format!("{PATH}/77"), Vec::new()));
}

#[tokio::test]
async fn all_pages_are_read() {
    let builder = (0..250).fold(Emulator::builder(), |builder, number| {
        builder.endpoint(EndpointInfo::shared(format!("{number}"), format!("name {number}")))
    });
    let (vertex, endpoints) = start(builder).await;
    assert_eq!(endpoints.list().await.unwrap().len(), 252);
    assert_eq!(vertex.requests().len(), 3);
    let queries = queries(&vertex);
    assert!(queries.iter().all(|(path, _)| path == PATH));
    assert_eq!(queries[0].1.len(), 1);
    assert_eq!(queries[1].1[1].0, "pageToken");
    vertex.reset_stats();

    let larger = endpoints.clone().page_size(1000);
    assert_eq!(larger.list().await.unwrap().len(), 252);
    assert_eq!(vertex.requests().len(), 1);
    assert_eq!(endpoints.clone().page_size(0).list().await.unwrap().len(), 252);
    assert_eq!(vertex.requests().len(), 253);

    let small = endpoints.body_limit(1000);
    let error = small.list().await.unwrap_err();
    assert!(matches!(error, DiscoverError::TooLarge { limit: 1000 }), "{error}");
}

#[tokio::test]
async fn an_endpoint_is_found_by_its_id_and_by_its_name() {
    let names =
        ["my-llama", "two words", r#"a "quoted" one"#, r"back\slash", "\u{fc}ber \u{1f999}"];
    let builder = names.iter().enumerate().fold(Emulator::builder(), |builder, (number, name)| {
        builder.endpoint(EndpointInfo::shared(number.to_string(), *name))
    });
    let builder = builder
        .endpoint(EndpointInfo::dedicated("77", "own host", DNS))
        .endpoint(EndpointInfo::dedicated("78", "strange host", "127.0.0.1"))
        .endpoint(EndpointInfo::shared("81", "twice"))
        .endpoint(EndpointInfo::shared("82", "twice"));
    let (vertex, endpoints) = start(builder).await;
    for (number, name) in names.iter().enumerate() {
        let found = endpoints.find(&format!(" display-name:{name}\n")).await.unwrap();
        assert_eq!(found, Endpoint::Deployed { id: number.to_string() }, "{name}");
    }
    let dedicated = Endpoint::Dedicated { id: "77".into(), dns: DNS.into() };
    assert_eq!(endpoints.find("77").await.unwrap(), dedicated);
    assert_eq!(endpoints.find("display-name:own host").await.unwrap(), dedicated);
    let built = upstream(&vertex).to_builder().endpoint(dedicated).build();
    assert!(built.unwrap().uri().path().ends_with("/endpoints/77"));

    let error = endpoints.find("78").await.unwrap_err();
    assert!(error.to_string().contains("not one of Vertex AI's hosts"), "{error}");
    let error = endpoints.find("display-name:twice").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"2 endpoints are "display-name:twice"; use one of their ids: "81", "82""#
    );
    let error = endpoints.find("display-name:my").await.unwrap_err();
    let DiscoverError::NotFound { present, .. } = &error else { panic!("{error}") };
    assert_eq!(present.len(), 10);
    let text = error.to_string();
    let known = r#"no endpoint "display-name:my" in us-central1; there is "emulated-shared", "#;
    assert!(text.starts_with(known), "{text}");
}

#[tokio::test]
async fn an_invalid_endpoint_is_refused_before_any_request() {
    let (vertex, endpoints) = start(Emulator::builder()).await;
    let long = format!("display-name:{}", "\u{fc}".repeat(129));
    for entry in ["", " ", "..", "a/b", "1?x", "1#x", "1:predict", "name:x", "display-name:", &long]
    {
        let error = endpoints.find(entry).await.unwrap_err();
        assert!(matches!(error, DiscoverError::Config(_)), "{entry}: {error}");
    }
    assert_eq!(endpoints.find("openapi").await.unwrap(), Endpoint::OpenApi);
    assert_eq!(vertex.requests().len(), 0);
    let service = VertexAuthLayer::new(StaticToken::new("t").unwrap()).layer(http());
    for (project, location) in [("p/..", "eu"), ("p", "evil.com/"), ("", "eu"), ("p", "")] {
        assert!(Endpoints::new(service.clone(), project, location).is_err());
    }
    let base = Endpoint::BaseUrl { url: "http://h/v1".into() };
    let base = Upstream::builder().endpoint(base).build().unwrap();
    assert!(Endpoints::from_upstream(service, &base).unwrap_err().is_missing());
}

#[tokio::test]
async fn a_result_is_cached_and_one_lookup_serves_all_callers() {
    let builder = Emulator::builder().endpoint(EndpointInfo::dedicated("77", "my-llama", DNS));
    let (vertex, endpoints) = start(builder).await;
    let slow = Duration::from_millis(50);
    let behavior =
        tower_vertex_emulator::StreamBehavior { first_byte_delay: slow, ..<_>::default() };
    vertex.set_faults(Faults { api: None, stream: behavior });
    let find = |entry: &'static str| {
        let endpoints = endpoints.clone();
        tokio::spawn(async move { endpoints.find(entry).await })
    };
    // The first caller goes away, and the next in line starts a lookup.
    let gone = find("display-name:my-llama");
    let all: Vec<_> = (0..50).map(|_| find("display-name:my-llama")).collect();
    crate::common::eventually("a lookup began", || !vertex.requests().is_empty()).await;
    gone.abort();
    for one in all {
        assert!(matches!(one.await.unwrap().unwrap(), Endpoint::Dedicated { .. }));
    }
    assert!(vertex.requests().len() <= 2, "{}", vertex.requests().len());

    vertex.reset_stats();
    vertex.clear_faults();
    endpoints.find("display-name:my-llama").await.unwrap();
    assert_eq!(vertex.requests().len(), 0);
    endpoints.forget("display-name:my-llama");
    endpoints.find("display-name:my-llama").await.unwrap();
    assert_eq!(vertex.requests().len(), 1);

    // A failure is cached, too, for a shorter time.
    fail(&vertex, ApiFault { times: Some(1), ..ApiFault::new(503) });
    for _ in 0..3 {
        assert_eq!(endpoints.find("77").await.unwrap_err().status_code().unwrap(), 503);
    }
    assert_eq!(vertex.requests().len(), 2);
    endpoints.forget("77");
    assert!(endpoints.find("77").await.is_ok());

    let forgetful = endpoints.ttl(Duration::ZERO).failure_ttl(Duration::ZERO);
    vertex.reset_stats();
    for _ in 0..3 {
        forgetful.find("1234567890123456789").await.unwrap();
    }
    assert_eq!(vertex.requests().len(), 3);
}

#[tokio::test]
async fn errors_have_googles_status_and_message() {
    let (vertex, endpoints) = start(Emulator::builder()).await;
    // A revoked token is replaced.
    endpoints.list().await.unwrap();
    vertex.revoke_tokens();
    endpoints.list().await.unwrap();
    assert_eq!(vertex.stats().by_status[&401], 1);

    for (status, word) in [
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (429, "RESOURCE_EXHAUSTED"),
        (503, "UNAVAILABLE"),
    ] {
        for shape in [ErrorShape::Object, ErrorShape::Array] {
            fail(&vertex, ApiFault { shape: Some(shape), ..ApiFault::new(status) });
            let error = endpoints.list().await.unwrap_err();
            let DiscoverError::Api { status_code: s, status: w, message } = &error else {
                panic!("{error}")
            };
            assert_eq!((s.as_u16(), w.as_deref()), (status, Some(word)));
            assert!(error.to_string().contains(message.as_deref().unwrap()), "{error}");
            assert!(error.to_string().starts_with(&format!("{status} {word}: ")), "{error}");
        }
    }
    fail(&vertex, ApiFault { shape: Some(ErrorShape::Html), ..ApiFault::new(404) });
    let error = endpoints.get("1").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "404 Not Found: there is no Vertex AI at this host: check the location"
    );

    // An id that does not exist: the error lists the existing ones.
    fail(&vertex, ApiFault { times: Some(1), ..ApiFault::new(404) });
    let error = endpoints.find("12").await.unwrap_err();
    let DiscoverError::NotFound { present, .. } = &error else { panic!("{error}") };
    assert_eq!(present[0], "1234567890123456789");

    fail(&vertex, ApiFault::new(401));
    let error = endpoints.list().await.unwrap_err();
    assert_eq!(error.status_code().unwrap(), 401);
}

#[tokio::test]
async fn errors_of_the_layer_and_of_the_network_are_distinguished() {
    let (vertex, _) = start(Emulator::builder()).await;
    // The layer does not trust the emulator's origin.
    let service = VertexAuthLayer::new(StaticToken::new("t").unwrap()).layer(http());
    let endpoints = Endpoints::from_upstream(service, &upstream(&vertex)).unwrap();
    let error = endpoints.list().await.unwrap_err();
    assert!(matches!(error, DiscoverError::Layer(Error::UntrustedHost(_))), "{error}");
    assert_eq!(vertex.requests().len(), 0);

    let nobody = ClosedPort::new();
    let error = at(&format!("http://{nobody}")).list().await.unwrap_err();
    assert!(matches!(error, DiscoverError::Transport(_)), "{error}");
    assert!(std::error::Error::source(&error).is_some());

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = at(&format!("http://{}", silent.local_addr().unwrap()));
    let error = silent.timeout(Duration::from_millis(20)).list().await.unwrap_err();
    assert!(matches!(error, DiscoverError::TimedOut(_)), "{error}");
}

/// The endpoints at a server of the test.
fn at(url: &str) -> Endpoints {
    let upstream = Upstream::builder().project("p1").location("us-central1").origin(url);
    Endpoints::from_upstream(service(url), &upstream.build().unwrap()).unwrap()
}

fn service(url: &str) -> VertexAuth<HttpClient<Empty<Bytes>>> {
    let auth = VertexAuthLayer::new(StaticToken::new("t").unwrap());
    auth.trust_origin(url).unwrap().layer(http())
}

/// A server whose response depends on the number and the target of the request. Returns its URL and
/// the list of targets so far.
async fn server(
    answer: impl Fn(usize, &str) -> (u16, String) + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let targets = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&targets);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match socket.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => break,
                }
            }
            let head = String::from_utf8(head).unwrap();
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let number = seen.lock().unwrap().len();
            let (status, body) = answer(number, &target);
            seen.lock().unwrap().push(target);
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _ = socket.write_all((head + &body).as_bytes()).await;
            let _ = socket.shutdown().await;
        }
    });
    (url, targets)
}

#[tokio::test]
async fn malformed_responses_are_reported() {
    let deep = "[".repeat(100_000);
    for (answer, words) in [
        ("", "it is not JSON"),
        ("<html>", "it is not JSON"),
        ("\u{fffd}", "it is not JSON"),
        (deep.as_str(), "it is not JSON"),
        ("[]", "it is not an object"),
        ("7", "it is not an object"),
        (r#"{"endpoints": {}}"#, "`endpoints` is no array"),
    ] {
        let answer = answer.to_owned();
        let (url, _) = server(move |_, _| (200, answer.clone())).await;
        let error = at(&url).list().await.unwrap_err().to_string();
        assert!(error.ends_with(words), "{error}");
    }
    let other = json!({ "name": "projects/1/locations/us-central1/endpoints/2" }).to_string();
    let (url, _) = server(move |_, _| (200, other.clone())).await;
    assert!(at(&url).get("2").await.is_ok());
    let error = at(&url).get("1").await.unwrap_err();
    assert!(matches!(error, DiscoverError::Unreadable { .. }), "{error}");
    // An empty object means that there are no endpoints, and entries without a valid name are
    // ignored.
    for nothing in ["{}", r#"{"endpoints": []}"#, r#"{"endpoints": [{}, 1, {"name": "x"}]}"#] {
        let (url, _) = server(move |_, _| (200, nothing.to_owned())).await;
        assert_eq!(at(&url).list().await.unwrap(), []);
    }
    let (url, targets) = server(|_, _| (302, String::new())).await;
    assert_eq!(at(&url).list().await.unwrap_err().status_code().unwrap(), 302);
    assert_eq!(targets.lock().unwrap().len(), 1);
}

fn page(id: usize, next: &str) -> (u16, String) {
    let name = format!("projects/1/locations/us-central1/endpoints/{id}");
    let page: Value = json!({ "endpoints": [{ "name": name }], "nextPageToken": next });
    (200, page.to_string())
}

#[tokio::test]
async fn an_endless_list_is_aborted() {
    let (url, targets) = server(|n, _| page(n, ["a", "b", "a"][n % 3])).await;
    let error = at(&url).list().await.unwrap_err();
    assert!(matches!(error, DiscoverError::PaginationLoop { pages: 3 }), "{error}");
    assert_eq!(targets.lock().unwrap().len(), 3);

    let (url, targets) = server(|n, _| page(n, &n.to_string())).await;
    let error = at(&url).list().await.unwrap_err();
    assert!(matches!(error, DiscoverError::PaginationLoop { pages: 1000 }), "{error}");
    assert_eq!(targets.lock().unwrap().len(), 1000);

    let (url, targets) = server(|n, _| page(n, ["/../&x=1#\u{fc}", ""][n % 2])).await;
    assert_eq!(at(&url).list().await.unwrap().len(), 2);
    let second = targets.lock().unwrap()[1].clone();
    assert_eq!(second, format!("{PATH}?pageSize=100&pageToken=%2F..%2F%26x%3D1%23%C3%BC"));

    let (url, _) = server(|n, _| page(n, &"x".repeat(100_000))).await;
    let error = at(&url).list().await.unwrap_err();
    assert!(matches!(error, DiscoverError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn a_filter_that_a_server_does_not_understand_is_dropped() {
    let name = r#"a "b""#;
    let body = move |named: &str| {
        let endpoint = json!({
            "name": "projects/1/locations/us-central1/endpoints/5", "displayName": named,
        });
        (200, json!({ "endpoints": [endpoint] }).to_string())
    };
    // The first server knows these escapes, the second knows others, and the third refuses the
    // filter.
    let (url, targets) = server(move |_, _| body(name)).await;
    assert_eq!(at(&url).list_named(name).await.unwrap().len(), 1);
    let query = targets.lock().unwrap()[0].split_once('?').unwrap().1.to_owned();
    assert_eq!(decoded(&query)[1], ("filter".into(), r#"display_name="a \"b\"""#.into()));
    for other in [200, 400] {
        let (url, targets) =
            server(
                move |_, target| {
                    if target.contains("filter") { (other, "{}".into()) } else { body(name) }
                },
            )
            .await;
        assert_eq!(at(&url).list_named(name).await.unwrap()[0].id, "5");
        assert_eq!(targets.lock().unwrap().len(), 2);
        // For a name without special characters, the result of the filter is final.
        assert_eq!(at(&url).list_named("plain").await.is_ok(), other == 200);
        assert_eq!(targets.lock().unwrap().len(), 3);
    }
    // An endpoint with another name that the filter matches is dropped.
    let (url, _) = server(move |_, _| body("my-llama-2")).await;
    assert_eq!(at(&url).list_named("my-llama*").await.unwrap(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_name_is_one_value_of_one_parameter(
        name in r#"([a-zA-Z0-9 ]|["\\&=?#/%.;\r\n\x00]|\PC){1,128}"#
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let targets = runtime.block_on(async {
            let (url, targets) = server(|_, _| (200, "{}".to_owned())).await;
            let _ = at(&url).list_named(&name).await;
            let _ = at(&url).find(&format!("display-name:{name}")).await;
            let _ = at(&url).find(&name).await;
            targets.lock().unwrap().clone()
        });
        prop_assert!(!targets.is_empty());
        for (number, target) in targets.iter().enumerate() {
            let (path, query) = target.split_once('?').unwrap_or((target.as_str(), ""));
            let is_id = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
            let is_id = name.trim().bytes().all(is_id);
            let of_one = format!("{PATH}/{}", name.trim());
            let stays = path == PATH || is_id && path == of_one;
            prop_assert!(stays, "{}", path);
            let pairs = decoded(query);
            if number == 0 {
                let escaped = name.replace('\\', r"\\").replace('"', r#"\""#);
                let filter = format!("display_name=\"{escaped}\"");
                prop_assert_eq!(&pairs[1].1, &filter);
            }
            prop_assert!(pairs.iter().all(|(key, _)| key == "pageSize" || key == "filter"));
        }
    }
}
