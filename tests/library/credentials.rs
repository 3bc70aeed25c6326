//! Each kind of credential, through the real `gcp_auth` and the real `google-cloud-auth` over
//! sockets: the first token, refreshes ahead of time and after a 401, and a token endpoint that is
//! down, hangs, refuses, and recovers.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};
use tower_vertex::{
    auth::{VertexAuth, VertexAuthLayer},
    replay::ReplayBody,
    route::{VertexRoute, VertexRouteLayer},
    token::{
        CredentialKind, Credentials, FetchReason, GcpAuth, GoogleCloudAuth, Impersonated,
        TokenCache, TokenSource,
    },
};
use tower_vertex_emulator::{Emulator, TokenBehavior, TokenFault};

use crate::common::{chat, door::Door, upstream, world::World};

type Body = ReplayBody<Full<Bytes>>;
type Stack = VertexRoute<VertexAuth<Client<HttpsConnector<HttpConnector>, Body>>>;

/// An emulator, and a proxy in front of its token endpoints that can be closed.
struct Place {
    vertex: Emulator,
    door: Arc<Door>,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new() -> Self {
        let vertex = Emulator::start().await.unwrap();
        let door = Door::new((Ipv4Addr::LOCALHOST, 0).into(), vertex.addr()).await;
        Self::of(vertex, door)
    }

    /// Puts the proxy at a port that the client cannot choose.
    async fn at(port: u16) -> Self {
        let vertex = Emulator::start().await.unwrap();
        let door = Door::new((Ipv4Addr::LOCALHOST, port).into(), vertex.addr()).await;
        Self::of(vertex, door)
    }

    fn of(vertex: Emulator, door: Arc<Door>) -> Self {
        Self { vertex, door, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a credential file whose token endpoints are behind the proxy.
    fn file(&self, text: &str) -> PathBuf {
        let path = self.path("credentials.json");
        fs::write(&path, text.replace(&self.vertex.control_url(), &self.door.url())).unwrap();
        path
    }

    /// Writes the file in which a workload finds its subject token.
    fn subject_token(&self) -> PathBuf {
        let path = self.path("subject-token");
        fs::write(&path, self.vertex.subject_token()).unwrap();
        path
    }

    fn behave(&self, change: impl FnOnce(&mut TokenBehavior)) {
        let mut behavior = TokenBehavior::default();
        change(&mut behavior);
        self.vertex.set_token_behavior(behavior);
    }

    fn stack(&self, cache: TokenCache) -> Stack {
        let connector = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(rustls::crypto::ring::default_provider())
            .unwrap()
            .https_or_http()
            .enable_http1()
            .build();
        let auth = VertexAuthLayer::with_cache(cache).trust_origin(self.vertex.url()).unwrap();
        ServiceBuilder::new()
            .layer(VertexRouteLayer::new(upstream(&self.vertex)))
            .layer(auth)
            .service(
                Client::builder(TokioExecutor::new())
                    .pool_timer(TokioTimer::new())
                    .build(connector),
            )
    }
}

/// A cache for tests, with the same behaviour and shorter times.
fn cache(source: impl TokenSource) -> TokenCache {
    TokenCache::builder()
        .refresh_before(Duration::from_secs(4))
        .refresh_jitter(Duration::ZERO)
        .expiry_margin(Duration::from_millis(100))
        .fetch_timeout(Duration::from_secs(5))
        .backoff(Duration::from_millis(50), Duration::from_millis(100))
        .same_token_pause(Duration::from_millis(50), Duration::from_millis(50))
        .forced_refreshes(1000, Duration::from_millis(1))
        .unknown_lifetime(Duration::from_secs(1))
        .build(source)
}

/// The lifetime of the tokens of a kind, in seconds, chosen so that they are refreshed soon.
#[derive(Clone, Copy)]
enum Life {
    Seconds(u64),
    /// The library decides on the lifetime, which is an hour.
    Fixed,
}

/// A token is refreshed after half of this time, and the rest of it is for the events until its
/// expiry.
const SHORT: Life = Life::Seconds(8);
/// `google-cloud-auth` refreshes 240 s before the expiry, which is not configurable.
const JUST_ABOVE_THE_SLACK: Life = Life::Seconds(246);

async fn chat_status(stack: &Stack) -> Result<StatusCode, String> {
    let answer: Result<Response<Incoming>, _> = stack.clone().oneshot(chat("hello")).await;
    answer.map(|answer| answer.status()).map_err(|error| error.to_string())
}

async fn until_recovered(stack: &Stack) {
    for _ in 0..200 {
        if chat_status(stack).await == Ok(StatusCode::OK) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no recovery: {:?}", chat_status(stack).await);
}

/// A self-signed token contains the second in which it was signed, so two tokens of the same second
/// are equal.
async fn next_second() {
    let second = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let now = second();
    while second() == now {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Tests the life of one kind of credential. `endpoint` is whether its tokens come from a token
/// endpoint, and `mints` is the number of tokens that it takes to get one.
async fn live(
    place: &Place,
    source: impl TokenSource + Clone,
    life: Life,
    endpoint: bool,
    mints: u64,
) {
    let token_life =
        |seconds: u64| move |behavior: &mut TokenBehavior| behavior.expires_in = seconds.into();
    let seconds = match life {
        Life::Seconds(seconds) => seconds,
        Life::Fixed => 3600,
    };
    place.behave(token_life(seconds));
    let cache = cache(source.clone());
    let stack = place.stack(cache.clone());

    if endpoint {
        let down = chat_status(&stack).await.expect_err("the token endpoint is down");
        assert!(down.starts_with("no access token for Vertex AI: "), "{down}");

        place.door.silence().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        let silent = chat_status(&stack).await.expect_err("the token endpoint hangs");
        assert!(silent.starts_with("no access token for Vertex AI: "), "{silent}");
        place.door.open().await;

        // One of the libraries remembers a permanent error for ever.
        place.behave(|behavior| {
            behavior.fail = Some(TokenFault { status: 400, times: None });
        });
        tokio::time::sleep(Duration::from_millis(150)).await;
        chat_status(&stack).await.expect_err("the token endpoint refuses");
        place.behave(token_life(seconds));
    }
    place.door.open().await;
    place.vertex.reset_stats();
    until_recovered(&stack).await;
    // `gcp_auth` immediately requests another token if one has less than 20 s left.
    let minted = place.vertex.stats().token_mints;
    assert!((mints..=2 * mints).contains(&minted), "the first token took {minted}");

    match life {
        Life::Seconds(_) => {
            let first = cache.stats().generation;
            for _ in 0..400 {
                assert_eq!(chat_status(&stack).await, Ok(StatusCode::OK));
                if cache.stats().generation > first {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            assert!(cache.stats().generation > first, "refreshed ahead of time");
            assert_eq!(place.vertex.stats().by_status.get(&401), None);
        }
        Life::Fixed => {
            source.fetch(FetchReason::Proactive).await.unwrap();
        }
    }

    if endpoint {
        place.door.shut();
        let (fetches, began) = (cache.stats().fetches, std::time::Instant::now());
        // A valid token is still used. With a lifetime of an hour there is no refresh to wait for.
        while cache.stats().fetches == fetches && began.elapsed() < Duration::from_secs(5) {
            assert_eq!(chat_status(&stack).await, Ok(StatusCode::OK), "while the endpoint is down");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        place.vertex.revoke_tokens();
        assert_eq!(
            chat_status(&stack).await,
            Ok(StatusCode::UNAUTHORIZED),
            "the 401 goes to the caller"
        );
        place.door.open().await;
        until_recovered(&stack).await;
    }

    // From here on, no token is refreshed because of its age.
    place.behave(|_| {});
    for round in 0..3 {
        next_second().await;
        place.vertex.revoke_tokens();
        assert_eq!(chat_status(&stack).await, Ok(StatusCode::OK), "round {round}: healed");
    }
    next_second().await;
    place.vertex.revoke_tokens();
    place.vertex.reset_stats();
    let requests: Vec<_> = (0..64)
        .map(|_| {
            tokio::spawn({
                let stack = stack.clone();
                async move { chat_status(&stack).await }
            })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await.unwrap(), Ok(StatusCode::OK));
    }
    let stats = place.vertex.stats();
    assert_eq!(stats.token_mints, mints, "one fetch for 64 requests");
    assert!(stats.by_status[&401] >= 1 && stats.by_status[&200] == 64, "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_account_key_by_gcp_auth() {
    let place = Place::new().await;
    let path = place.file(&place.vertex.service_account_key());
    live(&place, GcpAuth::from_service_account_file(path).unwrap(), SHORT, true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn service_account_key_by_google_cloud_auth() {
    let place = Place::new().await;
    let path = place.file(&place.vertex.service_account_key());
    // This credential signs its tokens itself.
    live(&place, GoogleCloudAuth::from_file(path).unwrap(), Life::Fixed, false, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authorized_user_by_google_cloud_auth() {
    let place = Place::new().await;
    let path = place.file(&place.vertex.authorized_user());
    let source = GoogleCloudAuth::from_file(path).unwrap();
    live(&place, source, JUST_ABOVE_THE_SLACK, true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_account_by_google_cloud_auth() {
    let place = Place::new().await;
    let path = place.file(&place.vertex.external_account(place.subject_token()));
    let source = GoogleCloudAuth::from_file(path).unwrap();
    live(&place, source, JUST_ABOVE_THE_SLACK, true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn external_account_with_impersonation_by_google_cloud_auth() {
    let place = Place::new().await;
    let path = place.file(&place.vertex.external_account_impersonated(place.subject_token()));
    let source = GoogleCloudAuth::from_file(path).unwrap();
    live(&place, source, JUST_ABOVE_THE_SLACK, true, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impersonated_service_account_by_google_cloud_auth() {
    let place = Place::new().await;
    let path = place.file(&place.vertex.impersonated_service_account());
    let source = GoogleCloudAuth::from_file(path).unwrap();
    live(&place, source, JUST_ABOVE_THE_SLACK, true, 2).await;
}

/// The credentials that are found by their files, each with the number of tokens that it takes.
/// They run concurrently.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn federation_and_impersonation() {
    let mut lives = JoinSet::new();
    for (which, mints) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        lives.spawn(async move {
            let place = Place::new().await;
            let text = match which {
                0 => place.vertex.authorized_user(),
                1 => place.vertex.external_account(place.subject_token()),
                2 => place.vertex.external_account_impersonated(place.subject_token()),
                _ => place.vertex.impersonated_service_account(),
            };
            let found = Credentials::builder().file(place.file(&text)).detect().await.unwrap();
            assert_eq!(found.info().backend(), "tower-vertex");
            live(&place, found, SHORT, true, mints).await;
        });
    }
    while let Some(lived) = lives.join_next().await {
        lived.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workforce_login() {
    let place = Place::new().await;
    let path = place.file(&place.vertex.external_account_authorized_user());
    let found = Credentials::builder().file(path).detect().await.unwrap();
    assert_eq!(found.info().kind(), CredentialKind::ExternalAccountAuthorizedUser);
    live(&place, found, SHORT, true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_impersonates() {
    let place = Place::new().await;
    let path = place.file(&place.vertex.service_account_key());
    let source = Impersonated::new(
        GcpAuth::from_service_account_file(path).unwrap(),
        "target@p.iam.gserviceaccount.com",
    )
    .unwrap()
    .endpoint(place.door.url())
    .unwrap();
    live(&place, source, SHORT, true, 2).await;
    let last = place.vertex.requests().pop().unwrap();
    assert_eq!(last.principal.as_deref(), Some("target@p.iam.gserviceaccount.com"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_server() {
    let world = World::new().hosts("127.0.0.1 metadata.google.internal");
    if !world.enter(module_path!(), "metadata_server") {
        return;
    }
    let place = Place::at(80).await;
    place.door.open().await;
    let found = Credentials::detect().await.unwrap();
    let info = found.info();
    assert_eq!((info.kind(), info.backend()), (CredentialKind::MetadataServer, "tower-vertex"));
    assert!(info.principal().unwrap().ends_with("-compute@developer.gserviceaccount.com"));
    assert!(info.project_id().is_some());
    place.door.shut();
    live(&place, found, SHORT, true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_server_elsewhere() {
    let world = World::new().hosts("").variable("GCE_METADATA_HOST", "127.0.0.1:8123");
    if !world.enter(module_path!(), "metadata_server_elsewhere") {
        return;
    }
    let place = Place::at(8123).await;
    place.door.open().await;
    let found = Credentials::detect().await.unwrap();
    let info = found.info();
    assert_eq!((info.kind(), info.backend()), (CredentialKind::MetadataServer, "tower-vertex"));
    place.door.shut();
    live(&place, found, SHORT, true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_credentials() {
    let world = World::new()
        .hosts("127.0.0.1 oauth2.googleapis.com")
        .variable("NO_GCE_CHECK", "true")
        .variable("SSL_CERT_FILE", "ca.pem");
    if !world.enter(module_path!(), "user_credentials") {
        return;
    }
    let vertex = Emulator::builder().tls(true).start().await.unwrap();
    fs::write("ca.pem", vertex.certificate_pem().unwrap()).unwrap();
    let door = Door::new((Ipv4Addr::LOCALHOST, 443).into(), vertex.addr()).await;
    let place = Place::of(vertex, door);
    let mut file: serde_json::Value =
        serde_json::from_str(&place.vertex.authorized_user()).unwrap();
    file.as_object_mut().unwrap().remove("token_uri");
    adc(&file.to_string());
    let found = Credentials::detect().await.unwrap();
    let info = found.info();
    assert_eq!((info.kind(), info.backend()), (CredentialKind::AuthorizedUser, "tower-vertex"));
    live(&place, found, SHORT, true, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcloud_by_gcp_auth() {
    let path = std::env::var("PATH").unwrap();
    // This folder is relative to the test's own.
    let world =
        World::new().variable("PATH", format!("bin:{path}")).variable("NO_GCE_CHECK", "true");
    if !world.enter(module_path!(), "gcloud_by_gcp_auth") {
        return;
    }
    let place = Place::new().await;
    gcloud(&place);
    place.door.open().await;
    let found = Credentials::detect().await.unwrap();
    let info = found.info();
    assert_eq!((info.kind(), info.backend()), (CredentialKind::Gcloud, "gcp_auth"));
    assert_eq!(info.project_id(), Some("gcloud-project"));
    place.door.shut();
    live(&place, found, Life::Fixed, true, 1).await;
}

/// Writes user credentials to the file of gcloud.
fn adc(text: &str) {
    let folder = Path::new(&std::env::var("HOME").unwrap()).join(".config/gcloud");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("application_default_credentials.json"), text).unwrap();
}

/// Writes a `gcloud` that is logged in, as far as this crate uses it.
fn gcloud(place: &Place) {
    use std::os::unix::fs::PermissionsExt as _;
    let user: serde_json::Value = serde_json::from_str(&place.vertex.authorized_user()).unwrap();
    let field = |name: &str| format!("--data-urlencode {name}={} ", user[name].as_str().unwrap());
    let form: String = ["client_id", "client_secret", "refresh_token"].map(field).concat();
    let script = format!(
        "#!/bin/sh\n\
         case \"$*\" in\n\
         'auth print-access-token'*)\n\
         set -e\n\
         answer=$(curl --silent --fail --max-time 30 {url}/token -d grant_type=refresh_token {form})\n\
         echo \"$answer\" | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/' ;;\n\
         'config get-value project') echo gcloud-project ;;\n\
         *) exit 1 ;;\n\
         esac\n",
        url = place.door.url(),
    );
    fs::create_dir_all("bin").unwrap();
    fs::write("bin/gcloud", script).unwrap();
    fs::set_permissions("bin/gcloud", fs::Permissions::from_mode(0o755)).unwrap();
}
