//! The emulator, over real sockets.
#![cfg(feature = "emulator")]

use std::{
    convert::Infallible,
    future::Future,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Channel, Full, channel::Sender, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tower_vertex::emulator::{
    ApiFault, Emulator, EndpointInfo, Faults, StreamBehavior, TokenBehavior, TokenFault,
};

const OPENAPI: &str = "/v1/projects/p1/locations/us-central1/endpoints/openapi";
const CHAT: &str = "/v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions";
const MODEL: &str = "google/gemini-2.5-flash";
const ECHO: &str = "This is the Vertex AI emulator. You said: hello";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const MIB: usize = 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;
type TestClient = Client<HttpsConnector<HttpConnector>, Body>;

fn tls_config(emulator: &Emulator) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = emulator.certificate_pem() {
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    }
    ClientConfig::builder_with_provider(default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// A client that trusts the emulator and speaks one version.
fn client_for(emulator: &Emulator, version: Version) -> TestClient {
    let http2 = version == Version::HTTP_2;
    let builder =
        HttpsConnectorBuilder::new().with_tls_config(tls_config(emulator)).https_or_http();
    let connector =
        if http2 { builder.enable_http2().build() } else { builder.enable_http1().build() };
    Client::builder(TokioExecutor::new()).http2_only(http2).build(connector)
}

struct Answer {
    status: StatusCode,
    version: Version,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The `error` object, which must be wrapped as said.
    fn error(&self, array: bool) -> Value {
        let body = self.json();
        assert_eq!(body.is_array(), array, "{body}");
        let error = if array { &body[0]["error"] } else { &body["error"] };
        assert_eq!(error["code"], self.status.as_u16());
        assert_eq!(self.headers["content-type"], "application/json; charset=UTF-8");
        error.clone()
    }

    fn is_front_end_page(&self) -> bool {
        self.headers["content-type"] == "text/html; charset=UTF-8"
            && self.body.len() == 1561
            && self.text().contains("<title>Error 404 (Not Found)!!1</title>")
    }
}

/// An emulator, a client and a token.
struct Bench {
    emulator: Emulator,
    client: TestClient,
    token: String,
}

impl Bench {
    async fn new() -> Self {
        Self::over(Emulator::start().await.unwrap(), Version::HTTP_11)
    }

    fn over(emulator: Emulator, version: Version) -> Self {
        let client = client_for(&emulator, version);
        let token = emulator.mint();
        Self { emulator, client, token }
    }

    async fn open(&self, request: Request<Body>) -> http::Response<Incoming> {
        self.client.request(request).await.unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.open(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, version: parts.version, headers: parts.headers, body }
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        let bearer = format!("Bearer {}", self.token);
        let uri = format!("{}{path}", self.emulator.url());
        Request::builder().method(method).uri(uri).header("authorization", bearer)
    }

    async fn post(&self, path: &str, body: impl ToString) -> Answer {
        let request = self.request(Method::POST, path).body(full(body.to_string()));
        self.send(request.unwrap()).await
    }

    async fn chat(&self) -> Answer {
        self.post(CHAT, hello()).await
    }

    async fn open_stream(&self) -> Incoming {
        let mut body = hello();
        body["stream"] = true.into();
        let request = self.request(Method::POST, CHAT).body(full(body.to_string()));
        self.open(request.unwrap()).await.into_body()
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path).body(full("")).unwrap()).await
    }

    /// At `/__emulator/`, without a credential.
    async fn control(&self, method: &str, what: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let uri = format!("{}/__emulator/{what}", self.emulator.control_url());
        self.send(Request::builder().method(method).uri(uri).body(full(body)).unwrap()).await
    }

    async fn ask_for_token(&self, body: String) -> Answer {
        let uri = format!("{}/token", self.emulator.control_url());
        self.send(Request::post(uri).body(full(body)).unwrap()).await
    }

    async fn metadata(&self, path: &str) -> Answer {
        let uri = format!("{}{path}", self.emulator.control_url());
        let request = Request::get(uri).header("metadata-flavor", "Google");
        self.send(request.body(full("")).unwrap()).await
    }

    fn set_stream(&self, stream: StreamBehavior) {
        self.emulator.set_faults(Faults { stream, ..Faults::default() });
    }
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed_unsync()
}

fn hello() -> Value {
    json!({ "model": MODEL, "messages": [{ "role": "user", "content": "hello" }] })
}

fn sha256(data: &[u8]) -> String {
    digest(&SHA256, data).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The data of the events in a stream.
fn events(text: &str) -> Vec<&str> {
    assert!(text.ends_with("\n\n"));
    let events = text.split_terminator("\n\n");
    events.map(|event| event.split_once("data: ").unwrap().1).collect()
}

/// The same, parsed; the end mark left out.
fn json_events(text: &str) -> Vec<Value> {
    let events = events(text).into_iter().filter(|event| *event != "[DONE]");
    events.map(|event| serde_json::from_str(event).unwrap()).collect()
}

/// Waits for a condition, not for a time.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(20), future).await;
    waited.unwrap_or_else(|_| panic!("never: {what}"))
}

mod answers {
    use super::*;

    #[tokio::test]
    async fn a_chat_completion_echoes_the_last_user_message() {
        let bench = Bench::new().await;
        for content in [json!("hello"), json!([{ "text": "hello" }, { "type": "image_url" }])] {
            let body = json!({ "model": MODEL, "messages": [
                { "role": "user", "content": "earlier" },
                { "role": "assistant", "content": "yes?" },
                { "role": "user", "content": content },
            ]});
            for path in [CHAT, &CHAT.replace("v1", "v1beta1")] {
                let answer = bench.post(path, &body).await;
                assert_eq!(answer.status, StatusCode::OK);
                let answer = answer.json();
                let choice = &answer["choices"][0];
                assert_eq!(choice["message"], json!({ "role": "assistant", "content": ECHO }));
                assert_eq!(choice["finish_reason"], "stop");
                assert_eq!(answer["object"], "chat.completion");
                assert_eq!(answer["model"], MODEL);
                assert!(answer["id"].is_string() && answer["created"].is_u64());
                let count = |name: &str| answer["usage"][name].as_u64().unwrap();
                let parts = count("prompt_tokens") + count("completion_tokens");
                assert_eq!(count("total_tokens"), parts);
            }
        }
    }

    #[tokio::test]
    async fn a_stream_adds_up_and_ends_with_usage_and_done() {
        let bench = Bench::new().await;
        let mut body = hello();
        body["stream"] = true.into();
        for chunks in [None, Some(1), Some(20), Some(500)] {
            bench.set_stream(StreamBehavior { chunks, ..StreamBehavior::default() });
            bench.emulator.reset_stats();
            let answer = bench.post(CHAT, &body).await;
            assert_eq!(answer.headers["content-type"], "text/event-stream");
            assert_eq!(events(answer.text()).last(), Some(&"[DONE]"));
            let events = json_events(answer.text());
            assert_eq!(events.len(), chunks.unwrap_or(5));
            let text: String = events
                .iter()
                .map(|event| event["choices"][0]["delta"]["content"].as_str().unwrap())
                .collect();
            assert_eq!(text, ECHO);
            let (last, others) = events.split_last().unwrap();
            assert_eq!(last["choices"][0]["finish_reason"], "stop");
            assert!(last["usage"]["total_tokens"].is_u64());
            for event in others {
                assert_eq!(event["object"], "chat.completion.chunk");
                assert!(event.get("usage").is_none());
                assert!(event["choices"][0].get("finish_reason").is_none());
            }
            until("the stream is counted", || bench.emulator.stats().streams.completed == 1).await;
            assert_eq!(bench.emulator.requests()[0].chunks_sent, events.len() as u64);
        }
    }

    #[tokio::test]
    async fn completions_are_served_whole_and_streamed() {
        let bench = Bench::new().await;
        let path = format!("{OPENAPI}/completions");
        let mut body = json!({ "model": MODEL, "prompt": "hello" });
        let whole = bench.post(&path, &body).await.json();
        assert_eq!(whole["choices"][0]["text"], ECHO);
        assert_eq!(whole["object"], "text_completion");
        body["stream"] = true.into();
        let streamed = bench.post(&path, &body).await;
        let pieces: String = json_events(streamed.text())
            .iter()
            .map(|event| event["choices"][0]["text"].as_str().unwrap())
            .collect();
        assert_eq!(pieces, ECHO);
    }

    #[tokio::test]
    async fn embeddings_come_as_numbers_and_as_base64() {
        let bench = Bench::new().await;
        let path = format!("{OPENAPI}/embeddings");
        let model = "google/text-embedding-005";
        let body = json!({ "model": model, "input": ["a", "b"], "dimensions": 3 });
        let floats = bench.post(&path, &body).await.json();
        assert_eq!(floats["data"].as_array().unwrap().len(), 2);
        assert_eq!(floats["data"][1]["index"], 1);
        let vector = floats["data"][1]["embedding"].clone();
        let vector: Vec<f32> = serde_json::from_value(vector).unwrap();
        assert_eq!(vector.len(), 3);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);

        let body =
            json!({ "model": model, "input": "b", "dimensions": 3, "encoding_format": "base64" });
        let encoded = bench.post(&path, &body).await.json();
        let bytes = STANDARD.decode(encoded["data"][0]["embedding"].as_str().unwrap()).unwrap();
        let decoded = bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        assert_eq!(decoded.collect::<Vec<f32>>(), vector);

        for (name, value) in
            [("input", json!([])), ("dimensions", json!(0)), ("encoding_format", json!("hex"))]
        {
            let mut bad = body.clone();
            bad[name] = value;
            assert_eq!(bench.post(&path, &bad).await.error(true)["status"], "INVALID_ARGUMENT");
        }
    }

    #[tokio::test]
    async fn a_response_can_be_fetched_and_deleted() {
        let bench = Bench::new().await;
        let path = format!("{OPENAPI}/responses");
        let parts = json!([{ "type": "input_text", "text": "hello" }]);
        for input in [json!("hello"), json!([{ "role": "user", "content": parts }])] {
            let body = json!({ "model": MODEL, "input": input });
            let response = bench.post(&path, &body).await.json();
            let content = &response["output"][0]["content"][0];
            assert_eq!(content["text"], ECHO);
            assert_eq!(content["type"], "output_text");
            let one = format!("{path}/{}", response["id"].as_str().unwrap());
            assert_eq!(bench.get(&one).await.json(), response);
            let delete = || bench.request(Method::DELETE, &one).body(full("")).unwrap();
            assert_eq!(bench.send(delete()).await.json()["deleted"], true);
            assert_eq!(bench.send(delete()).await.error(true)["status"], "NOT_FOUND");
            assert_eq!(bench.get(&one).await.status, StatusCode::NOT_FOUND);
        }
    }

    #[tokio::test]
    async fn a_streamed_response_goes_from_created_to_completed() {
        let bench = Bench::new().await;
        let body = json!({ "model": MODEL, "input": "hello", "stream": true });
        let answer = bench.post(&format!("{OPENAPI}/responses"), &body).await;
        let events = json_events(answer.text());
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number);
        }
        assert_eq!(events[0]["type"], "response.created");
        let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas, ECHO);
        let last = events.last().unwrap();
        assert_eq!(last["type"], "response.completed");
        assert_eq!(last["response"]["output"][0]["content"][0]["text"], ECHO);
        let id = last["response"]["id"].as_str().unwrap();
        let kept = bench.get(&format!("{OPENAPI}/responses/{id}")).await;
        assert_eq!(kept.json(), last["response"]);
    }

    #[tokio::test]
    async fn any_endpoint_id_answers_whatever_the_model() {
        let bench = Bench::new().await;
        for endpoint in ["123/", "mg-endpoint-1/", "123/invoke/v1/"] {
            let path = format!(
                "/v1/projects/example.com:p/locations/x1/endpoints/{endpoint}chat/completions"
            );
            for model in ["", "anything", "google/nothing"] {
                let mut body = hello();
                body["model"] = model.into();
                let answer = bench.post(&path, &body).await;
                assert_eq!(answer.status, StatusCode::OK, "{path}");
                assert_eq!(answer.json()["model"], model);
            }
        }
    }

    #[tokio::test]
    async fn endpoints_are_listed_page_by_page_and_found_by_name() {
        let emulator = Emulator::builder()
            .endpoint(EndpointInfo::shared("77", "mine"))
            .endpoint(EndpointInfo::shared("88", "far").location("europe-west4"))
            .start()
            .await
            .unwrap();
        let bench = Bench::over(emulator, Version::HTTP_11);
        let path = "/v1/projects/p1/locations/us-central1/endpoints";
        let (mut names, mut token) = (Vec::new(), String::new());
        loop {
            let page = bench.get(&format!("{path}?pageSize=2&pageToken={token}")).await.json();
            for endpoint in page["endpoints"].as_array().unwrap() {
                names.push(endpoint["displayName"].as_str().unwrap().to_owned());
            }
            match page["nextPageToken"].as_str() {
                Some(next) => token = next.to_owned(),
                None => break,
            }
        }
        assert_eq!(names, ["emulated-shared", "emulated-dedicated", "mine"]);
        for filter in ["display_name=mine", "display_name%3D%22mine%22", "endpoint=77"] {
            let found = bench.get(&format!("{path}?filter={filter}")).await.json();
            assert_eq!(found["endpoints"].as_array().unwrap().len(), 1);
            assert_eq!(found["endpoints"][0]["displayName"], "mine");
        }
        let dedicated = bench.get(&format!("{path}?filter=display_name=emulated-dedicated")).await;
        let dns = dedicated.json()["endpoints"][0]["dedicatedEndpointDns"].clone();
        assert!(dns.as_str().unwrap().ends_with(".prediction.vertexai.goog"));
        for bad in ["pageToken=x", "filter=labels.a=b", "pageSize=-1"] {
            let answer = bench.get(&format!("{path}?{bad}")).await;
            assert_eq!(answer.error(false)["status"], "INVALID_ARGUMENT");
        }
        assert_eq!(bench.get(&format!("{path}/77")).await.json()["displayName"], "mine");
        let unlisted = bench.get(&format!("{path}/99")).await.json();
        assert!(unlisted["name"].as_str().unwrap().ends_with("/us-central1/endpoints/99"));
        assert_eq!(bench.get(&path.replace("us-central1", "global")).await.json(), json!({}));
    }
}

mod refusals {
    use super::*;

    #[tokio::test]
    async fn an_unknown_path_or_verb_is_a_page_for_people() {
        let bench = Bench::new().await;
        let endpoint = "/v1/projects/p1/locations/us-central1/endpoints/123";
        for (method, path) in [
            ("GET", CHAT.to_owned()),
            ("PUT", format!("{OPENAPI}/embeddings")),
            ("GET", format!("{OPENAPI}/models")),
            ("POST", format!("{CHAT}/")),
            ("POST", format!("{OPENAPI}/invoke/v1/chat/completions")),
            ("POST", format!("{endpoint}/embeddings")),
            ("POST", format!("{endpoint}/responses")),
            ("POST", CHAT.replace("v1", "v2")),
            ("POST", CHAT.replace("p1", "p%2F1")),
            ("POST", CHAT.replace("us-central1", "US")),
            ("POST", "/v1/chat/completions".into()),
            ("POST", "/".into()),
            ("GET", "/token".into()),
        ] {
            let request = bench.request(method.parse().unwrap(), &path).body(full("{}")).unwrap();
            let answer = bench.send(request).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
            assert!(answer.is_front_end_page(), "{method} {path}: {}", answer.text());
        }
    }

    #[tokio::test]
    async fn each_wrong_credential_gets_its_own_401() {
        const MISSING: &str = "Request is missing required authentication credential.";
        const KEY: &str = "API keys are not supported by this API.";
        const INVALID: &str = "Request had invalid authentication credentials.";
        let bench = Bench::new().await;
        let good = format!("Bearer {}", bench.token);
        let brief = TokenBehavior { expires_in: json!(0.001), ..TokenBehavior::default() };
        bench.emulator.set_token_behavior(brief);
        let expired = format!("Bearer {}", bench.emulator.mint());
        let dead = Instant::now() + Duration::from_millis(2);
        until("the token expires", || Instant::now() > dead).await;

        let (good, expired) =
            (("authorization", good.as_str()), ("authorization", expired.as_str()));
        let auth = |value| ("authorization", value);
        let key = ("x-goog-api-key", "AIza-secret");
        for (query, headers, message) in [
            ("", vec![], MISSING),
            ("?access_token=secret", vec![], MISSING),
            ("", vec![key], KEY),
            ("?key=secret", vec![], KEY),
            ("", vec![key, good], KEY),
            ("?%6bey=secret", vec![good], KEY),
            ("", vec![auth("Bearer sk-openai")], INVALID),
            ("", vec![auth("Basic dTpw")], INVALID),
            ("", vec![auth("Bearer ")], INVALID),
            ("", vec![expired], INVALID),
            ("", vec![good, auth("Bearer sk-openai")], INVALID),
        ] {
            let mut request = Request::post(format!("{}{CHAT}{query}", bench.emulator.url()));
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            let answer = bench.send(request.body(full("not even JSON")).unwrap()).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{query} {headers:?}");
            let error = answer.error(false);
            assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
            assert_eq!(error["status"], "UNAUTHENTICATED");
            let invalid = message == INVALID;
            let reason =
                if invalid { "ACCESS_TOKEN_TYPE_UNSUPPORTED" } else { "CREDENTIALS_MISSING" };
            assert_eq!(error["details"][0]["reason"], reason);
            let method = "google.cloud.aiplatform.v1.PredictionService.ChatCompletions";
            assert_eq!(error["details"][0]["metadata"]["method"], method);
            let challenge = answer.headers["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with(r#"Bearer realm="https://accounts.google.com/""#));
            assert_eq!(challenge.ends_with(r#", error="invalid_token""#), invalid);
        }
        let listing = bench.emulator.url() + "/v1beta1/projects/p/locations/l/endpoints";
        let answer = bench.send(Request::get(listing).body(full("")).unwrap()).await;
        let method = "google.cloud.aiplatform.v1beta1.EndpointService.ListEndpoints";
        assert_eq!(answer.error(false)["details"][0]["metadata"]["method"], method);
    }

    #[tokio::test]
    async fn a_revoked_token_is_refused_and_the_next_is_good() {
        let mut bench = Bench::new().await;
        assert_eq!(bench.chat().await.status, StatusCode::OK);
        bench.emulator.revoke_tokens();
        assert_eq!(bench.chat().await.status, StatusCode::UNAUTHORIZED);
        bench.token = bench.emulator.mint();
        assert_eq!(bench.chat().await.status, StatusCode::OK);
        let requests = bench.emulator.requests();
        let generations: Vec<_> = requests.iter().map(|record| record.token_generation).collect();
        assert_eq!(generations, [Some(1), Some(1), Some(2)]);
        assert_eq!(bench.control("POST", "revoke", Value::Null).await.json()["revoked"], 1);
        assert_eq!(bench.chat().await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(bench.emulator.stats().token_mints, 2);
    }

    #[tokio::test]
    async fn openapi_checks_the_model() {
        let bench = Bench::new().await;
        let ask = async |model: Value| {
            let mut body = hello();
            body["model"] = model;
            bench.post(CHAT, &body).await
        };
        for good in [MODEL, "google/gemma-3", "meta/llama-3.1-maas", "openai/gpt-oss-120b-maas"] {
            assert_eq!(ask(good.into()).await.status, StatusCode::OK);
        }
        for bare in [json!("gemini-2.5-flash"), json!(""), json!("/x"), json!("google/"), json!(1)]
        {
            let error = ask(bare.clone()).await.error(true);
            let name = bare.as_str().unwrap_or_default();
            let message = format!(
                "Malformed publisher model (`model`: '{name}') for the 'openapi' request \
                 endpoint ID; expected '<publisher>/<model>'."
            );
            assert_eq!(error["message"], message);
        }
        let error = ask("google/gpt-4o".into()).await.error(true);
        assert_eq!(error["status"], "NOT_FOUND");
        assert!(error["message"].as_str().unwrap().starts_with(
            "Publisher Model `projects/p1/locations/us-central1/publishers/google/models/gpt-4o` \
             was not found or your project does not have access to it."
        ));
    }

    #[tokio::test]
    async fn what_is_no_proper_request_is_an_invalid_argument() {
        let bench = Bench::new().await;
        let deep = "[".repeat(100_000);
        for body in [
            "",
            "{",
            "hello",
            "[]",
            "\"secret-word\"",
            &deep,
            r#"{"model":"google/gemini-2.5-flash"}"#,
            r#"{"model":"google/gemini-2.5-flash","messages":[]}"#,
            r#"{"model":"google/gemini-2.5-flash","messages":[{}],"stream":"secret-word"}"#,
        ] {
            let error = bench.post(CHAT, body).await.error(true);
            assert_eq!(error["status"], "INVALID_ARGUMENT", "{body:.40}");
            assert!(!error["message"].as_str().unwrap().contains("secret-word"));
        }
    }

    #[tokio::test]
    async fn a_body_of_20_mib_passes_and_one_more_byte_does_not() {
        let bench = Bench::new().await;
        let frame = hello().to_string();
        let limit = 20 * MIB;
        for (length, status) in [(limit, 200), (limit + 1, 400)] {
            let filling = "x".repeat(length - frame.len() + "hello".len());
            let body = Bytes::from(frame.replace("hello", &filling));
            assert_eq!(body.len(), length);
            let request = bench.request(Method::POST, CHAT).body(full(body.clone())).unwrap();
            let answer = bench.send(request).await;
            assert_eq!(answer.status, status);
            if status == 400 {
                let message = "Request payload size exceeds the limit: 20971520 bytes.";
                assert_eq!(answer.error(true)["message"], message);
            }
            let read = || bench.emulator.requests().last().and_then(|last| last.body_length);
            until("the body is read", || read() == Some(length as u64)).await;
            let hash = bench.emulator.requests().last().unwrap().body_sha256.clone();
            assert_eq!(hash.unwrap(), sha256(&body));
        }
        // Without a length in its head, it is found out while it is read.
        let (mut sender, channel): (Sender<Bytes>, _) = Channel::new(1);
        let request = bench.request(Method::POST, CHAT).body(channel.boxed_unsync()).unwrap();
        let upload = tokio::spawn(async move {
            for _ in 0..21 {
                sender.send_data(vec![b' '; MIB].into()).await.unwrap();
            }
        });
        assert_eq!(bench.send(request).await.status, StatusCode::BAD_REQUEST);
        upload.await.unwrap();
        assert_eq!(bench.chat().await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn two_names_for_one_host_are_refused() {
        let bench = Bench::over(Emulator::start().await.unwrap(), Version::HTTP_2);
        let named = async |host: &str| {
            let request = bench.request(Method::POST, CHAT).header("host", host);
            bench.send(request.body(full(hello().to_string())).unwrap()).await
        };
        let own = bench.emulator.addr().to_string();
        assert_eq!(named(&own).await.status, StatusCode::OK);
        assert_eq!(named("gateway.internal:8080").await.status, StatusCode::BAD_REQUEST);
        assert_eq!(bench.emulator.requests()[1].host, Some(own));
    }
}

mod early_answers {
    use super::*;

    /// 5 MiB, of which 4 are sent only after the answer has come.
    async fn the_401_comes_during_the_upload(tls: bool, version: Version) {
        let emulator = Emulator::builder().tls(tls).start().await.unwrap();
        let mut bench = Bench::over(emulator, version);
        let good = std::mem::replace(&mut bench.token, "ya29.dead".into());
        let (mut sender, channel): (Sender<Bytes>, _) = Channel::new(1);
        let request = bench.request(Method::POST, CHAT).body(channel.boxed_unsync()).unwrap();
        let block = Bytes::from(vec![7; MIB]);
        sender.send_data(block.clone()).await.unwrap();
        let answer = soon("a 401 during the upload", bench.send(request)).await;
        assert_eq!((answer.status, answer.version), (StatusCode::UNAUTHORIZED, version));
        assert_eq!(answer.error(false)["status"], "UNAUTHENTICATED");
        assert_eq!(bench.emulator.requests()[0].body_length, None);

        for _ in 1..5 {
            sender.send_data(block.clone()).await.unwrap();
        }
        drop(sender);
        let read = || bench.emulator.requests()[0].body_length == Some(5 * MIB as u64);
        until("the rest is read", read).await;
        let hash = bench.emulator.requests()[0].body_sha256.clone();
        assert_eq!(hash.unwrap(), sha256(&vec![7; 5 * MIB]));
        // The connection is still good: nothing of the old body is left in it.
        bench.token = good;
        assert_eq!(bench.chat().await.status, StatusCode::OK);
        assert!(bench.emulator.stats().connections >= 1);
    }

    #[tokio::test]
    async fn over_http1() {
        the_401_comes_during_the_upload(false, Version::HTTP_11).await;
    }

    #[tokio::test]
    async fn over_http2_by_prior_knowledge() {
        the_401_comes_during_the_upload(false, Version::HTTP_2).await;
    }

    #[tokio::test]
    async fn over_http1_and_tls() {
        the_401_comes_during_the_upload(true, Version::HTTP_11).await;
    }

    #[tokio::test]
    async fn over_http2_and_tls() {
        the_401_comes_during_the_upload(true, Version::HTTP_2).await;
    }

    /// Sends a request whole before it reads; returns the answer, which ends with the connection.
    async fn write_then_read(emulator: &Emulator, head: &str, body: &[u8]) -> String {
        let mut socket = TcpStream::connect(emulator.addr()).await.unwrap();
        let head =
            format!("POST {CHAT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(body).await.unwrap();
        let mut answer = String::new();
        soon("the answer", socket.read_to_string(&mut answer)).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_client_that_reads_only_after_it_has_written_everything_finds_the_401() {
        let emulator = Emulator::start().await.unwrap();
        let body = vec![b' '; 5 * MIB];
        let head = format!("content-length: {}\r\nauthorization: Bearer dead", body.len());
        for _ in 0..20 {
            let answer = write_then_read(&emulator, &head, &body).await;
            assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
            assert!(answer.contains("ACCESS_TOKEN_TYPE_UNSUPPORTED"));
        }
    }

    #[tokio::test]
    async fn a_client_that_waits_to_be_told_is_not_told_to_continue() {
        let emulator = Emulator::start().await.unwrap();
        let head = "content-length: 5\r\nexpect: 100-continue\r\nauthorization: Bearer dead";
        let answer = write_then_read(&emulator, head, b"").await;
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
    }
}

mod tokens {
    use super::*;

    const METADATA_TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

    fn form(pairs: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
    }

    fn jwt_form(assertion: &str) -> String {
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        form(&[("grant_type", grant), ("assertion", assertion)])
    }

    #[cfg(feature = "gcp-auth")]
    #[tokio::test]
    async fn gcp_auth_gets_a_token_for_the_service_account() {
        use gcp_auth::{CustomServiceAccount, TokenProvider as _};

        for tls in [false, true] {
            let emulator = Emulator::builder().tls(tls).start().await.unwrap();
            let mut bench = Bench::over(emulator, Version::HTTP_11);
            let key = bench.emulator.service_account_key();
            let account = CustomServiceAccount::from_json(&key).unwrap();
            bench.token = account.token(&[SCOPE]).await.unwrap().as_str().to_owned();
            assert_eq!(bench.chat().await.status, StatusCode::OK);
            assert_eq!(bench.emulator.requests()[0].token_generation, Some(2));
            let other = CustomServiceAccount::from_json(&key).unwrap();
            assert!(other.token(&["https://example.com/other"]).await.is_err());
            assert_eq!(bench.emulator.stats().token_mints, 2);
        }
    }

    #[cfg(feature = "gcp-auth")]
    #[tokio::test]
    async fn an_assertion_is_believed_only_as_signed_and_as_meant() {
        use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

        let bench = Bench::new().await;
        let key: Value = serde_json::from_str(&bench.emulator.service_account_key()).unwrap();
        let account = gcp_auth::CustomServiceAccount::from_json(&key.to_string()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_secs()).unwrap();
        let claims = json!({
            "iss": key["client_email"], "aud": key["token_uri"], "scope": SCOPE,
            "iat": now, "exp": now + 3600,
        });
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key["private_key_id"] });
        let sign = |header: &Value, claims: &Value, pad: bool| {
            let encode = |data: &[u8]| {
                if pad { URL_SAFE.encode(data) } else { URL_SAFE_NO_PAD.encode(data) }
            };
            let header = encode(header.to_string().as_bytes());
            let signed = format!("{header}.{}", encode(claims.to_string().as_bytes()));
            let signature = account.signer().sign(signed.as_bytes()).unwrap();
            format!("{signed}.{}", encode(&signature))
        };
        let changed = |name: &str, value: Value| {
            let mut claims = claims.clone();
            claims[name] = value;
            sign(&header, &claims, false)
        };
        let ask = async |assertion: &str| bench.ask_for_token(jwt_form(assertion)).await;

        for pad in [false, true] {
            let answer = ask(&sign(&header, &claims, pad)).await.json();
            assert!(answer["access_token"].as_str().unwrap().starts_with("ya29.emulator-"));
            assert_eq!(answer["expires_in"], 3600);
            assert_eq!(answer["token_type"], "Bearer");
        }
        let good = sign(&header, &claims, false);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let other = changed("scope", json!(format!("{SCOPE} email")));
        let swapped = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
        for (why, assertion) in [
            ("signature", swapped),
            ("no signature", format!("{signed}.")),
            ("parts", signed.to_owned()),
            ("alg", sign(&json!({ "alg": "none" }), &claims, false)),
            ("alg", sign(&json!({ "alg": "HS256" }), &claims, false)),
            ("kid", sign(&json!({ "alg": "RS256", "kid": "other" }), &claims, false)),
            ("iss", changed("iss", "someone@else".into())),
            ("aud", changed("aud", "https://oauth2.googleapis.com/token".into())),
            ("scope", changed("scope", "email".into())),
            ("scope", changed("scope", Value::Null)),
            ("iat", changed("iat", (now + 600).into())),
            ("exp", changed("exp", (now + 3700).into())),
            ("exp", changed("exp", (now - 1).into())),
            ("nothing", "".into()),
        ] {
            let answer = ask(&assertion).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{why}");
            let expected = if why == "scope" { "invalid_scope" } else { "invalid_grant" };
            assert_eq!(answer.json()["error"], expected, "{why}");
            assert!(answer.json()["error_description"].is_string());
            assert!(assertion.is_empty() || !answer.text().contains(&assertion));
        }
        assert_eq!(bench.emulator.stats().token_mints, 3);
    }

    #[tokio::test]
    async fn the_refresh_grant_is_taken_as_a_form_and_as_json() {
        let bench = Bench::new().await;
        let mut grant: Value = serde_json::from_str(&bench.emulator.authorized_user()).unwrap();
        assert_eq!(grant["type"], "authorized_user");
        assert_eq!(grant["token_uri"], format!("{}/token", bench.emulator.url()));
        grant["grant_type"] = "refresh_token".into();
        let pairs: Vec<(&str, &str)> = grant
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
            .collect();
        let as_form = bench.ask_for_token(form(&pairs)).await.json();
        let as_json = bench.ask_for_token(grant.to_string()).await.json();
        assert!(as_form["access_token"].is_string());
        assert_ne!(as_form["access_token"], as_json["access_token"]);
        for (name, status, error) in [
            ("refresh_token", 400, "invalid_grant"),
            ("client_secret", 401, "invalid_client"),
            ("grant_type", 400, "unsupported_grant_type"),
        ] {
            let mut wrong = grant.clone();
            wrong[name] = "wrong".into();
            let answer = bench.ask_for_token(wrong.to_string()).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.json()["error"], error);
        }
        assert_eq!(bench.ask_for_token(String::new()).await.status, 400);
    }

    #[tokio::test]
    async fn the_metadata_server_wants_its_flavor_and_shows_it() {
        let mut bench = Bench::new().await;
        let account = "/computeMetadata/v1/instance/service-accounts/default";
        for (path, body) in [
            ("/", "computeMetadata/\n"),
            ("/computeMetadata/v1/project/project-id", "emulator-project"),
            (&format!("{account}/email"), "123456789012-compute@developer.gserviceaccount.com"),
            (&format!("{account}/scopes"), &format!("{SCOPE}\n")),
        ] {
            let answer = bench.metadata(path).await;
            assert_eq!((answer.status, answer.text()), (StatusCode::OK, body));
            assert_eq!(answer.headers["metadata-flavor"], "Google");
            let plain = bench.get(path).await;
            assert_eq!(plain.status, StatusCode::FORBIDDEN);
            assert_eq!(plain.headers["metadata-flavor"], "Google");
        }
        assert_eq!(bench.get(METADATA_TOKEN).await.status, StatusCode::FORBIDDEN);
        assert_eq!(bench.metadata("/computeMetadata/v1/other").await.status, 404);
        let answer = bench.metadata(METADATA_TOKEN).await.json();
        bench.token = answer["access_token"].as_str().unwrap().to_owned();
        assert_eq!(bench.chat().await.status, StatusCode::OK);
        // None of this was the API.
        assert_eq!(bench.emulator.stats().api_requests, 1);
    }

    #[tokio::test]
    async fn the_same_token_is_handed_out_even_when_it_is_dead() {
        let mut bench = Bench::new().await;
        let same = |expires_in| TokenBehavior {
            expires_in,
            same_until_expiry: true,
            ..TokenBehavior::default()
        };
        bench.emulator.set_token_behavior(same("3600".into()));
        let first = bench.metadata(METADATA_TOKEN).await.json();
        assert_eq!(first["expires_in"], "3600");
        bench.emulator.revoke_tokens();
        let second = bench.metadata(METADATA_TOKEN).await.json();
        assert_eq!(first["access_token"], second["access_token"]);
        assert!(second["expires_in"].as_str().unwrap().parse::<u64>().unwrap() < 3600);
        bench.token = second["access_token"].as_str().unwrap().to_owned();
        assert_eq!(bench.chat().await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(bench.emulator.stats().token_mints, 2);
        assert!(!format!("{:?}", bench.emulator).contains("ya29"));

        // A short life is renewed in its second half.
        bench.emulator.set_token_behavior(same(json!(0.2)));
        let renewed = async {
            while bench.emulator.stats().token_mints < 4 {
                bench.metadata(METADATA_TOKEN).await;
            }
        };
        soon("a new token", renewed).await;
        let stats = bench.emulator.stats();
        assert!(stats.token_requests > stats.token_mints);
    }

    #[tokio::test]
    async fn expires_in_is_answered_word_for_word_and_the_token_lives() {
        let mut bench = Bench::new().await;
        for value in [
            json!(0),
            json!(-1),
            json!(null),
            json!("3600"),
            json!("soon"),
            json!(10_000_000_000_000_000_000_u64),
            json!({ "a": [1] }),
        ] {
            let set = bench.control("PUT", "token", json!({ "expires_in": value })).await;
            assert_eq!(set.json()["expires_in"], value);
            let answer = bench.metadata(METADATA_TOKEN).await.json();
            assert_eq!(answer["expires_in"], value);
            bench.token = answer["access_token"].as_str().unwrap().to_owned();
            assert_eq!(bench.chat().await.status, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn the_token_endpoint_fails_stalls_and_babbles_as_told() {
        let bench = Bench::new().await;
        let fail = Some(TokenFault { status: 503, times: Some(2) });
        bench.emulator.set_token_behavior(TokenBehavior { fail, ..TokenBehavior::default() });
        for status in [503, 503, 200] {
            assert_eq!(bench.metadata(METADATA_TOKEN).await.status, status);
        }
        bench.control("PUT", "token", json!({ "fail": { "status": 400 } })).await;
        for _ in 0..3 {
            let refused = bench.ask_for_token(jwt_form("x")).await;
            assert_eq!(refused.json()["error"], "invalid_grant");
        }
        let respond = json!({ "respond": {
            "status": 302, "content_type": "text/html", "headers": { "location": "http://x/" },
            "body": "<html>",
        }});
        assert_eq!(bench.control("PUT", "token", respond).await.status, 200);
        let answer = bench.metadata(METADATA_TOKEN).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (302, "<html>"));
        assert_eq!(answer.headers["location"], "http://x/");
        assert_eq!(answer.headers["content-type"], "text/html");

        bench.control("PUT", "token", json!({ "delay_ms": 30 })).await;
        let start = Instant::now();
        bench.metadata(METADATA_TOKEN).await;
        assert!(start.elapsed() >= Duration::from_millis(30));

        bench.control("PUT", "token", json!({ "hang": true })).await;
        let before = bench.emulator.stats().token_requests;
        tokio::select! {
            _ = bench.metadata(METADATA_TOKEN) => panic!("it answered"),
            () = until("it asks", || bench.emulator.stats().token_requests > before) => {}
        }
        assert_eq!(bench.emulator.stats().token_mints, 3);
    }
}

mod faults {
    use super::*;

    #[tokio::test]
    async fn api_faults_come_in_googles_words_and_count_down() {
        let bench = Bench::new().await;
        let denied = "Permission 'aiplatform.endpoints.predict' denied on resource \
             '//aiplatform.googleapis.com/projects/p1/locations/us-central1/endpoints/openapi'";
        for (status, word, message) in [
            (429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."),
            (503, "UNAVAILABLE", "The service is currently unavailable."),
            (500, "INTERNAL", "Internal error encountered."),
            (403, "PERMISSION_DENIED", denied),
        ] {
            let api = ApiFault { times: Some(2), ..ApiFault::new(status) };
            bench.emulator.set_faults(Faults { api: Some(api), ..Faults::default() });
            for _ in 0..2 {
                let answer = bench.chat().await;
                assert_eq!(answer.status, status);
                let error = answer.error(true);
                assert_eq!(error["status"], word);
                assert!(error["message"].as_str().unwrap().starts_with(message));
                assert!(error.get("details").is_none());
            }
            assert_eq!(bench.chat().await.status, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn an_api_fault_takes_the_shape_that_is_asked_for() {
        let bench = Bench::new().await;
        let set = async |api: Value| {
            let answer = bench.control("PUT", "faults", json!({ "api": api })).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        };
        set(json!({ "status": 429, "retry_delay": "1.5s", "shape": "object" })).await;
        let error = bench.chat().await.error(false);
        let info = "type.googleapis.com/google.rpc.RetryInfo";
        assert_eq!(error["details"], json!([{ "@type": info, "retryDelay": "1.5s" }]));
        set(json!({ "status": 401, "shape": "array" })).await;
        assert_eq!(bench.chat().await.error(true)["status"], "UNAUTHENTICATED");
        set(json!({ "status": 502, "shape": "html" })).await;
        let page = bench.chat().await;
        assert!(page.text().contains("<title>Error 502 (Bad Gateway)!!1</title>"));
        set(json!({ "status": 404 })).await;
        let endpoint = CHAT.replace("openapi", "123");
        assert_eq!(bench.post(&endpoint, hello()).await.error(false)["status"], "NOT_FOUND");
        let none = bench.control("DELETE", "faults", Value::Null).await.json();
        assert_eq!(none["api"], Value::Null);
        assert_eq!(bench.chat().await.status, StatusCode::OK);
    }

    #[tokio::test]
    async fn a_401_ignores_the_token_and_other_faults_come_after_it() {
        let mut bench = Bench::new().await;
        let api = |status| Faults { api: Some(ApiFault::new(status)), ..Faults::default() };
        bench.emulator.set_faults(api(401));
        let answer = bench.chat().await;
        assert_eq!(answer.error(false)["details"][0]["reason"], "ACCESS_TOKEN_TYPE_UNSUPPORTED");
        assert!(answer.headers.contains_key("www-authenticate"));
        bench.emulator.set_faults(api(429));
        assert_eq!(bench.chat().await.status, StatusCode::TOO_MANY_REQUESTS);
        bench.token = "unknown".into();
        assert_eq!(bench.chat().await.status, StatusCode::UNAUTHORIZED);
    }

    #[tokio::test]
    async fn a_cut_stream_delivers_its_chunks_and_then_breaks() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let bench = Bench::over(Emulator::start().await.unwrap(), version);
            let (chunks, cut_after) = (Some(10), Some(3));
            bench.set_stream(StreamBehavior { chunks, cut_after, ..StreamBehavior::default() });
            let mut body = bench.open_stream().await;
            let mut text = Vec::new();
            let broken = loop {
                match body.frame().await {
                    Some(Ok(frame)) => text.extend_from_slice(&frame.into_data().unwrap()),
                    Some(Err(_)) => break true,
                    None => break false,
                }
            };
            assert!(broken);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(events(&text).len(), 3);
            assert!(!text.contains("[DONE]"));
            until("it is counted", || bench.emulator.stats().streams.aborted == 1).await;
            assert_eq!(bench.emulator.requests()[0].chunks_sent, 3);
        }
    }

    #[tokio::test]
    async fn the_first_chunk_arrives_before_the_second_is_sent_and_a_client_may_leave() {
        for version in [Version::HTTP_11, Version::HTTP_2] {
            let bench = Bench::over(Emulator::start().await.unwrap(), version);
            let chunk_delay = Duration::from_secs(3600);
            bench.set_stream(StreamBehavior { chunk_delay, ..StreamBehavior::default() });
            let mut body = soon("the head", bench.open_stream()).await;
            let frame = soon("the first chunk", body.frame()).await.unwrap().unwrap();
            assert!(frame.into_data().unwrap().starts_with(b"data: {"));
            assert_eq!(bench.emulator.requests()[0].chunks_sent, 1);
            assert_eq!(bench.emulator.stats().streams.open, 1);
            drop(body);
            until("it is noticed", || bench.emulator.stats().streams.aborted == 1).await;
            assert_eq!(bench.emulator.stats().streams.open, 0);
        }
    }

    #[tokio::test]
    async fn the_first_byte_can_be_late_and_a_client_may_leave_before_it() {
        let bench = Bench::new().await;
        let late = |first_byte_delay| {
            bench.set_stream(StreamBehavior { first_byte_delay, ..StreamBehavior::default() });
        };
        late(Duration::from_millis(30));
        let start = Instant::now();
        assert_eq!(bench.chat().await.status, StatusCode::OK);
        assert!(start.elapsed() >= Duration::from_millis(30));
        late(Duration::from_secs(3600));
        tokio::select! {
            _ = bench.open_stream() => panic!("it answered"),
            () = until("it is open", || bench.emulator.stats().streams.open == 1) => {}
        }
        until("it is noticed", || bench.emulator.stats().streams.aborted == 1).await;
    }
}

mod hosts {
    use super::*;

    const DNS: &str = "77.us-central1-42.prediction.vertexai.goog";

    #[tokio::test]
    async fn a_host_serves_its_own_locations() {
        const OK: &str = "";
        const INVALID: &str = "Invalid hostname: ";
        const PAGE: &str = "Error 404 (Not Found)!!1";
        const PRIVATE: &str = "77-us-central1-42.prediction.p.vertexai.goog";
        let emulator = Emulator::builder()
            .host_aware(true)
            .endpoint(EndpointInfo::dedicated("77", "mine", DNS))
            .start()
            .await
            .unwrap();
        let bench = Bench::over(emulator, Version::HTTP_11);
        for (host, location, endpoint, expected) in [
            ("us-central1-aiplatform.googleapis.com", "us-central1", "openapi", OK),
            ("us-central1-aiplatform.googleapis.com:443", "us-central1", "openapi", OK),
            ("US-Central1-AIplatform.googleapis.com", "us-central1", "openapi", OK),
            ("us-central1-aiplatform.googleapis.com", "europe-west4", "openapi", OK),
            ("us-central1-aiplatform.googleapis.com", "us-central1", "123", OK),
            ("aiplatform.googleapis.com", "global", "openapi", OK),
            ("aiplatform.googleapis.com", "us-central1", "openapi", PAGE),
            ("aiplatform.us.rep.googleapis.com", "us", "openapi", OK),
            ("aiplatform.eu.rep.googleapis.com", "eu", "openapi", OK),
            ("aiplatform.eu.rep.googleapis.com", "us", "openapi", PAGE),
            ("aiplatform.fr.rep.googleapis.com", "fr", "openapi", PAGE),
            ("us-central1-aiplatform.mtls.googleapis.com", "us-central1", "openapi", OK),
            ("aiplatform.mtls.googleapis.com", "global", "openapi", OK),
            ("aiplatform-corp.p.googleapis.com", "global", "openapi", OK),
            ("us-central1-aiplatform-corp.p.googleapis.com", "us-central1", "openapi", OK),
            ("us-central1-aiplatform.p.googleapis.com", "us-central1", "openapi", PAGE),
            ("us-central1-aiplatform-corp.googleapis.com", "us-central1", "openapi", PAGE),
            ("eu-aiplatform.googleapis.com", "eu", "openapi", INVALID),
            ("us-aiplatform.googleapis.com", "us", "openapi", INVALID),
            ("global-aiplatform.googleapis.com", "global", "openapi", INVALID),
            (DNS, "us-central1", "77", OK),
            (DNS, "us-central1", "78", PAGE),
            ("78.us-central1-42.prediction.vertexai.goog", "us-central1", "78", PAGE),
            (PRIVATE, "us-central1", "77", OK),
            (PRIVATE, "us-central1", "openapi", PAGE),
            ("us-central1-aiplatform.googleapis.com", "us-central1", "77", DNS),
            ("us-central1-aiplatform.example.com", "us-central1", "openapi", PAGE),
            ("us-central1-aiplatform.googleapis.com.evil.com", "us-central1", "openapi", PAGE),
            ("-aiplatform.googleapis.com", "us-central1", "openapi", PAGE),
            ("127.0.0.1", "us-central1", "openapi", PAGE),
            ("localhost", "us-central1", "openapi", PAGE),
        ] {
            let path = CHAT.replace("us-central1", location).replace("openapi", endpoint);
            let request = bench.request(Method::POST, &path).header("host", host);
            let answer = bench.send(request.body(full(hello().to_string())).unwrap()).await;
            let row = format!("{host} {location} {endpoint}: {}", answer.text());
            let status = match expected {
                OK => 200,
                PAGE => 404,
                _ => 400,
            };
            assert_eq!(answer.status, status, "{row}");
            assert!(answer.text().contains(expected), "{row}");
            if expected == INVALID {
                assert_eq!(answer.error(false)["message"], format!("{INVALID}{host}"));
            } else if expected == DNS {
                assert_eq!(answer.error(false)["status"], "FAILED_PRECONDITION");
            }
            assert_eq!(bench.emulator.requests().last().unwrap().host.as_deref(), Some(host));
        }
        // Control and metadata answer anywhere; an endpoint is looked up at the shared host.
        assert_eq!(bench.control("GET", "stats", Value::Null).await.status, 200);
        assert_eq!(bench.metadata("/").await.status, 200);
        let request = bench
            .request(Method::GET, "/v1/projects/p1/locations/us-central1/endpoints/77")
            .header("host", "us-central1-aiplatform.googleapis.com");
        let found = bench.send(request.body(full("")).unwrap()).await.json();
        assert_eq!(found["dedicatedEndpointDns"], DNS);
    }

    #[tokio::test]
    async fn the_certificate_is_good_for_googles_names() {
        use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

        let emulator = Emulator::builder()
            .tls(true)
            .endpoint(EndpointInfo::dedicated("77", "mine", DNS))
            .start()
            .await
            .unwrap();
        assert!(emulator.url().starts_with("https://127.0.0.1:"));
        let connector = TlsConnector::from(std::sync::Arc::new(tls_config(&emulator)));
        for (name, good) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("::1", true),
            ("us-central1-aiplatform.googleapis.com", true),
            ("aiplatform.eu.rep.googleapis.com", true),
            ("aiplatform.mtls.googleapis.com", true),
            ("aiplatform-corp.p.googleapis.com", true),
            (DNS, true),
            ("example.com", false),
        ] {
            let socket = TcpStream::connect(emulator.addr()).await.unwrap();
            let name = ServerName::try_from(name).unwrap();
            assert_eq!(connector.connect(name.clone(), socket).await.is_ok(), good, "{name:?}");
        }
    }

    #[tokio::test]
    async fn beside_tls_a_plain_port_serves_tokens_and_control_alone() {
        let emulator = Emulator::builder().tls(true).start().await.unwrap();
        assert_ne!(emulator.control_url(), emulator.url());
        let bench = Bench::over(emulator, Version::HTTP_2);
        let answer = bench.chat().await;
        assert_eq!((answer.status, answer.version), (StatusCode::OK, Version::HTTP_2));
        let plain = Client::builder(TokioExecutor::new()).build_http::<Body>();
        for (method, path, status) in [
            ("GET", "/__emulator/stats", 200),
            ("POST", "/token", 400),
            ("GET", "/", 403),
            ("POST", CHAT, 404),
        ] {
            let uri = format!("{}{path}", bench.emulator.control_url());
            let request = Request::builder().method(method).uri(uri).body(full("")).unwrap();
            assert_eq!(plain.request(request).await.unwrap().status(), status, "{path}");
        }
        assert_eq!(bench.emulator.stats().api_requests, 1);
    }
}

mod control {
    use super::*;

    #[tokio::test]
    async fn a_record_tells_everything_but_the_credential() {
        let bench = Bench::new().await;
        let secrets = [bench.token.as_str(), "secret-key", "secret-access", "secret-oauth"];
        let query =
            "a=b%20c&key=secret-key&%61ccess_token=secret-access&oauth_token=secret-oauth&x";
        let body = hello().to_string();
        let request = bench.request(Method::POST, &format!("{CHAT}?{query}"));
        let request = request.header("x-twice", "1").header("x-twice", "2");
        let answer = bench.send(request.body(full(body.clone())).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(bench.chat().await.status, StatusCode::OK);
        let read = || bench.emulator.requests().iter().all(|record| record.body_length.is_some());
        until("both bodies are read", read).await;

        let records = bench.control("GET", "requests", Value::Null).await;
        for secret in secrets {
            assert!(!records.text().contains(secret));
            assert!(!format!("{:?}", bench.emulator.requests()).contains(secret));
        }
        let records = records.json();
        assert_eq!(records.as_array().unwrap().len(), 2);
        let first = &records[0];
        let redacted = "a=b%20c&key=REDACTED&%61ccess_token=REDACTED&oauth_token=REDACTED&x";
        assert_eq!(first["query"], redacted);
        assert_eq!(first["method"], "POST");
        assert_eq!(first["path"], CHAT);
        assert_eq!(first["host"], bench.emulator.addr().to_string());
        assert_eq!(first["status"], 401);
        assert_eq!(first["token_generation"], Value::Null);
        assert_eq!(first["body_length"], body.len());
        assert_eq!(first["body_sha256"], sha256(body.as_bytes()));
        assert_eq!(first["http_version"], "HTTP/1.1");
        let names = first["header_names"].as_array().unwrap();
        assert_eq!(names.iter().filter(|name| *name == "x-twice").count(), 2);
        assert!(names.contains(&"authorization".into()));
        assert_eq!(records[1]["token_generation"], 1);
        assert_eq!(records[1]["query"], Value::Null);
        assert_eq!(serde_json::to_value(bench.emulator.requests()).unwrap(), records);
    }

    #[tokio::test]
    async fn stats_count_requests_connections_and_mints() {
        let bench = Bench::new().await;
        bench.control("GET", "stats", Value::Null).await;
        assert_eq!(bench.emulator.stats().connections, 0);
        bench.chat().await;
        bench.get("/nowhere").await;
        let stats = bench.control("GET", "stats", Value::Null).await.json();
        let connections = bench.emulator.stats().connections;
        assert!(connections >= 1);
        assert_eq!(
            stats,
            json!({
                "token_mints": 1, "token_requests": 0, "api_requests": 2,
                "by_status": { "200": 1, "404": 1 },
                "connections": connections, "connections_total": connections,
                "streams": { "open": 0, "completed": 0, "aborted": 0 },
            })
        );
        let reset = bench.control("DELETE", "stats", Value::Null).await.json();
        assert_eq!(reset["connections"], connections);
        assert_eq!(reset["connections_total"], 0);
        assert_eq!(bench.control("GET", "requests", Value::Null).await.json(), json!([]));
        let Bench { emulator, client, .. } = bench;
        drop(client);
        until("the connections close", || emulator.stats().connections == 0).await;
    }

    #[tokio::test]
    async fn only_the_last_ten_thousand_requests_are_kept() {
        let emulator = Emulator::start().await.unwrap();
        let mut socket = TcpStream::connect(emulator.addr()).await.unwrap();
        let (mut read, mut write) = socket.split();
        let send = async {
            for number in 0..10_001 {
                let head = format!("GET /n{number} HTTP/1.1\r\nhost: x\r\n\r\n");
                write.write_all(head.as_bytes()).await.unwrap();
            }
            let answered = || emulator.stats().by_status.get(&404) == Some(&10_001);
            until("all are answered", answered).await;
        };
        let mut sink = tokio::io::sink();
        tokio::select! {
            () = send => {}
            _ = tokio::io::copy(&mut read, &mut sink) => panic!("closed"),
        }
        let requests = emulator.requests();
        assert_eq!(requests.len(), 10_000);
        assert_eq!((&*requests[0].path, &*requests[9_999].path), ("/n1", "/n10000"));
    }

    #[tokio::test]
    async fn a_bad_setting_is_explained_and_changes_nothing() {
        let bench = Bench::new().await;
        let token = json!({ "delay_ms": 1, "same_until_expiry": true });
        let token = bench.control("PUT", "token", token).await.json();
        let faults = json!({ "stream": { "chunks": 7 } });
        let faults = bench.control("PUT", "faults", faults).await.json();
        for (what, body, word) in [
            ("token", json!({ "expiry": 1 }), "expiry"),
            ("token", json!({ "delay_ms": -1 }), "-1"),
            ("token", json!({ "fail": { "status": 200 } }), "fail.status"),
            ("token", json!({ "fail": { "times": 1 } }), "status"),
            ("token", json!({ "respond": { "status": 99 } }), "respond.status"),
            ("token", json!({ "respond": { "headers": { "a": "b\nc" } } }), "header"),
            ("faults", json!({ "api": { "status": 42 } }), "api.status"),
            ("faults", json!({ "api": { "status": 429, "shape": "round" } }), "round"),
            ("faults", json!({ "api": { "status": 429, "retry_delay": "soon" } }), "retry_delay"),
            ("faults", json!({ "stream": { "chunks": 0 } }), "chunks"),
            ("faults", json!({ "stream": { "pace": 1 } }), "pace"),
            ("faults", json!([1]), ""),
            ("faults", Value::Null, ""),
        ] {
            let answer = bench.control("PUT", what, body.clone()).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
            let error = answer.json()["error"].as_str().unwrap().to_owned();
            assert!(error.contains(word) && !error.is_empty(), "{body}: {error}");
        }
        assert_eq!(bench.control("GET", "token", Value::Null).await.json(), token);
        assert_eq!(bench.control("GET", "faults", Value::Null).await.json(), faults);
    }

    #[tokio::test]
    async fn an_unknown_control_path_or_verb_is_json_too() {
        let bench = Bench::new().await;
        for (method, what, status) in [
            ("GET", "nothing", 404),
            ("GET", "", 404),
            ("PATCH", "token", 405),
            ("GET", "revoke", 405),
        ] {
            let answer = bench.control(method, what, Value::Null).await;
            assert_eq!(answer.status, status);
            assert!(answer.json()["error"].is_string());
        }
    }

    #[tokio::test]
    async fn credentials_are_given_out_for_tests_in_any_language() {
        let bench = Bench::new().await;
        let key = bench.control("GET", "service_account_key", Value::Null).await.json();
        assert_eq!(key.to_string(), bench.emulator.service_account_key());
        assert_eq!(key["token_uri"], format!("{}/token", bench.emulator.url()));
        assert!(key["private_key"].as_str().unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let user = bench.control("GET", "authorized_user", Value::Null).await.json();
        assert_eq!(user.to_string(), bench.emulator.authorized_user());
    }

    #[tokio::test]
    async fn dropping_it_stops_it() {
        let bench = Bench::new().await;
        assert_eq!(bench.chat().await.status, StatusCode::OK);
        let Bench { emulator, client, .. } = bench;
        let url = emulator.url();
        let mut open = TcpStream::connect(emulator.addr()).await.unwrap();
        // Answered, hence accepted.
        open.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_ne!(open.read(&mut [0; 64]).await.unwrap(), 0);
        drop(emulator);
        let _ = soon("the connection ends", open.read_to_end(&mut Vec::new())).await;
        let request = Request::get(url).body(full("")).unwrap();
        assert!(client.request(request).await.is_err());
    }
}
