//! ID tokens of each kind of credential, over sockets: a service that checks them as Cloud Run does,
//! and the emulator as their issuer.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower::{Layer as _, ServiceExt as _};
use tower_vertex::{
    Error,
    auth::{RefreshOutcome, VertexAuth, VertexAuthLayer},
    token::{Credentials, FetchReason, GcpAuth, IdToken, Impersonated, TokenCache, TokenSource},
};
use tower_vertex_emulator::{Emulator, LiteralResponse, TokenBehavior, TokenFault};

use crate::common::{Http, HttpClient, client, eventually, in_time, metadata, world::World};

const AUDIENCE: &str = "https://service-abc.a.run.app";
const ACCOUNT: &str = "impersonated@emulator-project.iam.gserviceaccount.com";

type Stack = VertexAuth<HttpClient<Full<Bytes>>>;

/// A service that accepts ID tokens for its audience.
struct Service {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    audience: String,
    /// The clock of the service, ahead of this machine's in seconds.
    ahead: u64,
    revoked: BTreeSet<String>,
    /// The claims of each request, with the status of its response.
    calls: Vec<(String, Value, u16)>,
}

impl Service {
    async fn start(audience: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let seen = Seen { audience: audience.to_owned(), ..Seen::default() };
        let service =
            Self { address: listener.local_addr().unwrap(), seen: Arc::new(Mutex::new(seen)) };
        let seen = Arc::clone(&service.seen);
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let seen = Arc::clone(&seen);
                let serve = service_fn(move |request| respond(Arc::clone(&seen), request));
                let builder = hyper::server::conn::http1::Builder::new();
                tokio::spawn(builder.serve_connection(TokioIo::new(socket), serve));
            }
        });
        service
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    fn stack(&self, cache: &TokenCache) -> Stack {
        let auth = VertexAuthLayer::with_cache(cache.clone()).trust_origin(self.origin());
        auth.unwrap().layer(client(Http::One))
    }

    async fn call(&self, stack: &Stack) -> Response<Incoming> {
        let request = Request::post(self.origin()).body(Full::from("hello")).unwrap();
        in_time("a response", stack.clone().oneshot(request)).await.unwrap()
    }

    /// Rejects all tokens that were sent so far.
    fn revoke(&self) {
        let mut seen = self.seen.lock().unwrap();
        let tokens: Vec<_> = seen.calls.iter().map(|(token, ..)| token.clone()).collect();
        seen.revoked.extend(tokens);
    }

    fn statuses(&self) -> Vec<u16> {
        self.seen.lock().unwrap().calls.iter().map(|(.., status)| *status).collect()
    }

    fn last_claims(&self) -> Value {
        self.seen.lock().unwrap().calls.last().unwrap().1.clone()
    }

    fn tokens(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap().calls.iter().map(|(token, ..)| token.clone()).collect()
    }
}

async fn respond(
    seen: Arc<Mutex<Seen>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    assert!(!head.headers.contains_key("x-goog-user-project"));
    let token = head.headers["authorization"].to_str().unwrap().strip_prefix("Bearer ").unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let body = body.collect().await.unwrap().to_bytes();
    let mut seen = seen.lock().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let good = claims["aud"] == seen.audience.as_str()
        && claims["exp"].as_u64().unwrap() > now + seen.ahead
        && !seen.revoked.contains(token);
    let status = if good { 200 } else { 401 };
    seen.calls.push((token.to_owned(), claims, status));
    Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
}

/// Moves the emulator's clock, so that the next ID token is another one: a token of the same second
/// has the same bytes.
fn clock(vertex: &Emulator, ahead: i64) {
    vertex.set_token_behavior(TokenBehavior { clock_offset_s: ahead, ..TokenBehavior::default() });
}

/// Checks the tokens of a source: the first one, and the next one after a 401.
async fn live(vertex: &Emulator, source: impl TokenSource, audience: &str) -> Value {
    let service = Service::start(audience).await;
    let cache = TokenCache::new(source);
    let stack = service.stack(&cache);
    clock(vertex, 0);
    vertex.reset_stats();
    assert_eq!(service.call(&stack).await.status(), StatusCode::OK);
    let left = cache.stats().expires_in.unwrap();
    assert!(left <= Duration::from_secs(3600) && left > Duration::from_secs(3000), "{left:?}");

    service.revoke();
    clock(vertex, 2);
    let response = service.call(&stack).await;
    assert!(matches!(response.extensions().get(), Some(RefreshOutcome::Replayed)), "{response:?}");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(service.statuses(), [200, 401, 200]);
    service.last_claims()
}

fn subject_token(vertex: &Emulator, folder: &Path) -> std::path::PathBuf {
    let path = folder.join("subject-token");
    std::fs::write(&path, vertex.subject_token()).unwrap();
    path
}

#[tokio::test]
async fn a_key_has_id_tokens_that_are_healed_after_a_401() {
    let vertex = Emulator::start().await.unwrap();
    let source = IdToken::from_json(vertex.service_account_key(), AUDIENCE).unwrap();
    let claims = live(&vertex, source, AUDIENCE).await;
    assert_eq!(claims["email"], "emulator@emulator-project.iam.gserviceaccount.com");
    assert_eq!(vertex.stats().token_mints, 2);
}

#[tokio::test]
async fn impersonated_accounts_have_id_tokens_with_their_address() {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let subject_token = subject_token(&vertex, folder.path());
    let base = GcpAuth::from_service_account_key(vertex.service_account_key()).unwrap();
    let account = Impersonated::new(base, ACCOUNT).unwrap().endpoint(vertex.url()).unwrap();
    let federation = vertex.external_account_impersonated(&subject_token);
    let file = folder.path().join("file.json");
    std::fs::write(&file, vertex.impersonated_service_account()).unwrap();
    for source in [
        IdToken::impersonated(account, AUDIENCE).unwrap(),
        IdToken::from_file(file, AUDIENCE).unwrap(),
        IdToken::from_json(federation, AUDIENCE).unwrap(),
    ] {
        let what = format!("{source:?}");
        assert_eq!(live(&vertex, source, AUDIENCE).await["email"], ACCOUNT, "{what}");
    }
}

#[tokio::test]
async fn credentials_that_were_found_have_id_tokens_of_the_account_that_they_impersonate() {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key.json");
    std::fs::write(&file, vertex.service_account_key()).unwrap();
    let builder = || Credentials::builder().file(&file);
    let found = builder().detect().await.unwrap();
    let claims = live(&vertex, IdToken::of(&found, AUDIENCE).unwrap(), AUDIENCE).await;
    assert_eq!(claims["email"], "emulator@emulator-project.iam.gserviceaccount.com");

    let found = builder().impersonate(ACCOUNT).iam_endpoint(vertex.url()).detect().await.unwrap();
    let claims = live(&vertex, IdToken::of(&found, AUDIENCE).unwrap(), AUDIENCE).await;
    assert_eq!(claims["email"], ACCOUNT);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_metadata_server_has_id_tokens_for_any_audience() {
    let world = World::new().hosts("").variable("GCE_METADATA_HOST", "127.0.0.1:8123");
    if !world.enter(module_path!(), "a_metadata_server_has_id_tokens_for_any_audience") {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let listener = TcpListener::bind(("127.0.0.1", 8123)).await.unwrap();
    tokio::spawn(metadata::serve(listener, vertex.addr(), |_, _| metadata::Reply::Good));
    let audience = "https://service-abc.a.run.app/path?a=b&c=d#%20";
    let claims = live(&vertex, IdToken::metadata_server(audience).unwrap(), audience).await;
    assert!(claims["google"]["compute_engine"].is_object(), "the full format: {claims}");
    let found = IdToken::detect(AUDIENCE).await.unwrap();
    live(&vertex, found, AUDIENCE).await;
    assert_eq!(vertex.stats().token_mints, 2);
}

#[tokio::test]
async fn a_login_has_id_tokens_for_its_own_client_alone() {
    let vertex = Emulator::start().await.unwrap();
    let login = vertex.authorized_user();
    let json: Value = serde_json::from_str(&login).unwrap();
    let client = json["client_id"].as_str().unwrap();
    let source = IdToken::from_json(&*login, client).unwrap();
    live(&vertex, source, client).await;

    let error = IdToken::from_json(&*login, AUDIENCE).unwrap_err();
    assert!(error.to_string().contains("\"client_id\" alone"), "{error}");
    assert!(error.remedy().contains("impersonate a service account"), "{error}");
}

#[tokio::test]
async fn credentials_without_id_tokens_are_refused_with_a_remedy() {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let subject_token = subject_token(&vertex, folder.path());
    let file = folder.path().join("file.json");
    for (text, words) in [
        (vertex.external_account_authorized_user(), "workforce identity federation"),
        (vertex.external_account(&subject_token), "a federated identity has no ID tokens"),
        ("{}".to_owned(), "it has no \"type\""),
    ] {
        let error = IdToken::from_json(&*text, AUDIENCE).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        std::fs::write(&file, &text).unwrap();
        let error = IdToken::from_file(&file, AUDIENCE).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("file.json"), "{error}");
        if let Ok(found) = Credentials::builder().file(&file).detect().await {
            let error = IdToken::of(&found, AUDIENCE).unwrap_err();
            assert!(matches!(error, Error::Credentials(_)), "{error:?}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }
    for audience in ["", " ", "a b", "a\n", "\u{e9}", &"a".repeat(2049)] {
        let error = IdToken::from_json(vertex.service_account_key(), audience).unwrap_err();
        assert_eq!(error.setting(), "audience", "{audience:?}");
    }
}

#[tokio::test]
async fn an_id_token_goes_to_no_other_host_than_that_of_its_audience() {
    let vertex = Emulator::start().await.unwrap();
    for audience in [AUDIENCE, "1234-abc.apps.googleusercontent.com"] {
        let source = IdToken::from_json(vertex.service_account_key(), audience).unwrap();
        assert_eq!(source.audience(), Some(audience));
        let layer = VertexAuthLayer::new(source);
        for (uri, of_audience) in [
            ("https://service-abc.a.run.app/x", audience == AUDIENCE),
            ("https://service-abc.a.run.app:8443/", false),
            ("https://other-abc.a.run.app/", false),
            ("https://aiplatform.googleapis.com/", false),
            ("https://us-central1-aiplatform.googleapis.com/", false),
            ("https://1234-abc.apps.googleusercontent.com/", false),
        ] {
            assert_eq!(layer.check_host(&uri.parse().unwrap()).is_ok(), of_audience, "{uri}");
        }
        let stack: Stack = layer.layer(client(Http::One));
        let request = Request::get("https://aiplatform.googleapis.com/").body(Full::default());
        let error = stack.oneshot(request.unwrap()).await.unwrap_err();
        assert!(matches!(error.downcast_ref(), Some(Error::UntrustedHost(_))), "{error}");
    }
    assert_eq!(vertex.stats().token_requests, 0, "not even a token is fetched");
}

#[tokio::test]
async fn an_id_token_is_replaced_before_its_exp() {
    let vertex = Emulator::start().await.unwrap();
    vertex.set_token_behavior(TokenBehavior { expires_in: 4.into(), ..TokenBehavior::default() });
    let service = Service::start(AUDIENCE).await;
    let source = IdToken::from_json(vertex.service_account_key(), AUDIENCE).unwrap();
    let cache = TokenCache::builder().refresh_jitter(Duration::ZERO).build(source);
    let stack = service.stack(&cache);
    in_time("the third token", async {
        while service.tokens().len() < 3 {
            assert_eq!(service.call(&stack).await.status(), StatusCode::OK);
        }
    })
    .await;
    assert!(service.statuses().iter().all(|status| *status == 200));
}

#[tokio::test]
async fn the_lifetime_is_counted_by_the_clock_of_the_issuer() {
    let vertex = Emulator::start().await.unwrap();
    let key = || IdToken::from_json(vertex.service_account_key(), AUDIENCE).unwrap();
    let account = || {
        Impersonated::new(
            GcpAuth::from_service_account_key(vertex.service_account_key()).unwrap(),
            ACCOUNT,
        )
    };
    for ahead in [-200, 200] {
        clock(&vertex, ahead);
        let account = account().unwrap().endpoint(vertex.url()).unwrap();
        for source in [key(), IdToken::impersonated(account, AUDIENCE).unwrap()] {
            let life = source.fetch(FetchReason::Cold).await.unwrap().expires_in().unwrap();
            assert!(life <= Duration::from_secs(3600), "{life:?}");
            assert!(life > Duration::from_secs(3500), "{life:?}");
        }
    }
}

#[tokio::test]
async fn a_response_without_a_token_for_the_audience_is_refused_without_its_text() {
    let vertex = Emulator::start().await.unwrap();
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let token = |aud: &str| {
        let claims = json!({ "aud": aud, "exp": 9_999_999_999_u64, "sub": "SECRET" });
        format!("{}.{}.SECRET", part(json!({ "alg": "RS256" })), part(claims))
    };
    let source = IdToken::from_json(vertex.service_account_key(), AUDIENCE).unwrap();
    for (body, words) in [
        (json!({ "id_token": token("https://other.a.run.app") }), "another audience"),
        (json!({ "id_token": "SECRET" }), "not a JWT"),
        (json!({ "id_token": 5 }), "no \"id_token\""),
        (json!({ "access_token": "SECRET", "expires_in": 3600 }), "no \"id_token\""),
        (json!(["SECRET"]), "no \"id_token\""),
    ] {
        let respond = LiteralResponse { body: body.to_string(), ..LiteralResponse::default() };
        let respond = Some(respond);
        vertex.set_token_behavior(TokenBehavior { respond, ..TokenBehavior::default() });
        let error = source.fetch(FetchReason::Cold).await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("SECRET"), "{error}");
    }
}

#[tokio::test]
async fn a_service_account_that_may_not_be_impersonated_is_named() {
    let vertex = Emulator::start().await.unwrap();
    let base = GcpAuth::from_service_account_key(vertex.service_account_key()).unwrap();
    let account = Impersonated::new(base, ACCOUNT).unwrap().endpoint(vertex.url()).unwrap();
    let cache = TokenCache::new(IdToken::impersonated(account, AUDIENCE).unwrap());
    let denied = TokenBehavior { impersonation_denied: true, ..TokenBehavior::default() };
    vertex.set_token_behavior(denied);
    let Err(Error::Token(error)) = cache.get().await else { panic!("no error") };
    assert!(error.is_impersonation_denied(), "{error}");
    assert!(error.to_string().contains(ACCOUNT), "{error}");

    // The base's own token is replaced if Google's IAM rejects it.
    vertex.set_token_behavior(TokenBehavior::default());
    let base = GcpAuth::from_service_account_key(vertex.service_account_key()).unwrap();
    let account = Impersonated::new(base, ACCOUNT).unwrap().endpoint(vertex.url()).unwrap();
    let source = IdToken::impersonated(account, AUDIENCE).unwrap();
    source.fetch(FetchReason::Cold).await.unwrap();
    vertex.revoke_tokens();
    source.fetch(FetchReason::Rejected).await.unwrap();
}

#[tokio::test]
async fn a_fetch_that_fails_keeps_the_token_that_is_valid() {
    let vertex = Emulator::start().await.unwrap();
    let service = Service::start(AUDIENCE).await;
    let cache =
        TokenCache::new(IdToken::from_json(vertex.service_account_key(), AUDIENCE).unwrap());
    let stack = service.stack(&cache);
    service.call(&stack).await;
    service.revoke();
    let fail = Some(TokenFault { status: 503, times: None });
    vertex.set_token_behavior(TokenBehavior { fail, ..TokenBehavior::default() });
    let response = service.call(&stack).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert!(matches!(response.extensions().get(), Some(RefreshOutcome::Failed(_))));
    service.seen.lock().unwrap().revoked.clear();
    eventually("the failure was counted", || cache.stats().failures == 1).await;
    assert_eq!(service.call(&stack).await.status(), StatusCode::OK);
}

#[test]
fn an_id_token_source_is_shown_without_a_secret() {
    let key = include_str!("../../crates/tower-vertex-emulator/src/public-test-key.pem");
    let json = json!({
        "type": "service_account", "client_email": "a@b.iam.gserviceaccount.com",
        "private_key": key,
    });
    let source = IdToken::from_json(json.to_string(), AUDIENCE).unwrap();
    let text = format!("{source:?}");
    assert!(text.contains(AUDIENCE) && text.contains("ServiceAccount"), "{text}");
    assert!(!text.contains("PRIVATE"), "{text}");
    assert_eq!(source.quota_project(), None);
}
