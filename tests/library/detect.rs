//! The credentials that a machine offers, the errors for unusable ones, and the stable identity of
//! a process.

mod every_source;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use http::StatusCode;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};
use tower_vertex::{
    Error,
    auth::VertexAuthLayer,
    route::VertexRouteLayer,
    token::{
        CredentialKind, Credentials, FetchReason, GcpAuth, GoogleCloudAuth, TokenCache,
        TokenSource, token_fn,
    },
};
use tower_vertex_emulator::{Emulator, TokenBehavior, UserGrantFault};

use crate::common::{
    auth, chat, client, eventually,
    metadata::{self, Reply},
    upstream,
    world::World,
};

/// A world without a metadata server and without gcloud.
fn bare() -> World {
    World::new().variable("PATH", "").variable("NO_GCE_CHECK", "true")
}

fn home() -> PathBuf {
    std::env::var_os("HOME").unwrap().into()
}

fn write(path: impl AsRef<Path>, text: impl AsRef<str>) -> PathBuf {
    let path = home().join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text.as_ref()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

#[tokio::test]
async fn without_credentials_the_error_lists_every_place() {
    if !bare().enter(module_path!(), "without_credentials_the_error_lists_every_place") {
        return;
    }
    let began = std::time::Instant::now();
    let error = Credentials::detect().await.unwrap_err();
    // This is the promise itself and not a benchmark: nothing needs a longer wait.
    assert!(began.elapsed() < Duration::from_secs(5));
    let text = error.to_string();
    let Error::Credentials(error) = error else { panic!("{text}") };
    assert!(error.is_not_found());
    let places: Vec<_> = error.places().map(|(place, _)| place).collect();
    assert_eq!(
        places,
        ["GOOGLE_APPLICATION_CREDENTIALS", "user credentials", "metadata server", "gcloud"]
    );
    // A source that searches with each fetch reports the same.
    let source =
        token_fn(|_| async { Credentials::detect().await?.fetch(FetchReason::Cold).await });
    let token = TokenCache::new(source).get().await.unwrap_err();
    assert_eq!(token.remedy(), error.remedy());
    let places: Vec<String> = places.iter().map(|place| format!("\n- {place}: ")).collect();
    assert!(places.iter().all(|place| token.to_string().contains(place)), "{token}");
    for words in [
        "not set",
        "application_default_credentials.json: run `gcloud auth application-default login`",
        "not contacted, because NO_GCE_CHECK is set",
        "no such command; install it",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}

#[tokio::test]
async fn user_credentials_in_the_folder_that_the_environment_names_are_found() {
    let world = bare().variable("CLOUDSDK_CONFIG", "elsewhere");
    if !world.enter(
        module_path!(),
        "user_credentials_in_the_folder_that_the_environment_names_are_found",
    ) {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let path = write("elsewhere/application_default_credentials.json", vertex.authorized_user());
    write(".config/gcloud/application_default_credentials.json", "not this one");
    Credentials::detect().await.unwrap().fetch(FetchReason::Cold).await.unwrap();
    assert_eq!(vertex.stats().token_mints, 1);

    // The path exists, but cannot be read.
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&path, &path).unwrap();
    let found = Credentials::detect().await.unwrap_err().to_string();
    assert!(found.contains("elsewhere/application_default_credentials.json: "), "{found}");
}

/// The default name of the metadata server leads to another machine.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn only_the_metadata_server_that_the_environment_names_is_used() {
    let world = World::new()
        .hosts("127.0.0.2 metadata.google.internal")
        .variable("GCE_METADATA_HOST", "127.0.0.1:8123");
    if !world.enter(module_path!(), "only_the_metadata_server_that_the_environment_names_is_used") {
        return;
    }
    let (named, other) = (Emulator::start().await.unwrap(), Emulator::start().await.unwrap());
    let listen = tokio::net::TcpListener::bind;
    let listener = listen(("127.0.0.1", 8123)).await.unwrap();
    tokio::spawn(metadata::serve(listener, named.addr(), |_, _| Reply::Good));
    let listener = listen(("127.0.0.2", 80)).await.unwrap();
    tokio::spawn(metadata::serve(listener, other.addr(), |_, _| Reply::Good));
    Credentials::detect().await.unwrap().fetch(FetchReason::Cold).await.unwrap();
    assert_eq!((named.stats().token_mints, other.stats().token_mints), (1, 0));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_token_of_a_server_without_the_metadata_header_is_refused() {
    let world = World::new().hosts("").variable("GCE_METADATA_HOST", "127.0.0.1:8123");
    if !world.enter(module_path!(), "a_token_of_a_server_without_the_metadata_header_is_refused") {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 8123)).await.unwrap();
    tokio::spawn(metadata::serve(listener, vertex.addr(), |_, path| {
        match path.contains("/token") {
            true => Reply::Stranger(r#"{"access_token":"ya29.other","expires_in":3600}"#),
            false => Reply::Good,
        }
    }));
    let found = Credentials::detect().await.unwrap();
    let error = found.fetch(FetchReason::Cold).await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:8123 is not that of a metadata server"), "{error}");
}

/// The neighbour is known, but packets to it are lost.
#[cfg(target_os = "linux")]
const LOST: &str = "ip link add here type veth peer name there
ip addr add 10.9.8.1/24 dev here
ip link set here up
ip link set there up
ip neigh add 10.9.8.2 lladdr 02:00:00:00:00:02 dev here";

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_token_endpoint_whose_packets_are_dropped_is_named() {
    let world = bare()
        .hosts("10.9.8.2 tokens.example")
        .network(LOST)
        .variable("PATH", std::env::var_os("PATH").unwrap_or_default());
    if !world.enter(module_path!(), "a_token_endpoint_whose_packets_are_dropped_is_named") {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let mut key: Value = serde_json::from_str(&vertex.service_account_key()).unwrap();
    key["token_uri"] = "https://tokens.example/token".into();
    let source = GcpAuth::from_service_account_key(key.to_string()).unwrap();
    let error = TokenCache::new(source).get().await.unwrap_err();
    assert!(error.to_string().contains("tokens.example cannot be reached: "), "{error}");
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("firewall")), "{error}");
}

#[test]
fn a_search_can_be_spawned() {
    fn check<T: Send>(_: T) {}
    check(Credentials::detect());
}

/// This is the case in the first seconds of a pod of GKE that cannot see the firmware.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn in_kubernetes_a_metadata_server_that_hangs_at_first_is_tried_again() {
    let world = World::new()
        .hosts("127.0.0.1 metadata.google.internal")
        .variable("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    if !world
        .enter(module_path!(), "in_kubernetes_a_metadata_server_that_hangs_at_first_is_tried_again")
    {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 80)).await.unwrap();
    tokio::spawn(metadata::serve(listener, vertex.addr(), |number, _| match number {
        0 => Reply::Hang,
        1 => Reply::Status(404),
        _ => Reply::Good,
    }));
    let found = Credentials::detect().await.unwrap();
    assert_eq!(found.info().kind(), CredentialKind::MetadataServer);
    assert_eq!(found.info().project_id(), Some("emulator-project"));
}

/// The name resolves only in Google's clusters, which decides at once.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn outside_of_gke_no_metadata_server_is_waited_for() {
    let world = World::new().hosts("").variable("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    if !world.enter(module_path!(), "outside_of_gke_no_metadata_server_is_waited_for") {
        return;
    }
    let error = Credentials::detect().await.unwrap_err().to_string();
    assert!(error.contains("metadata.google.internal: its name does not resolve"), "{error}");
    assert!(error.contains("only on Google Cloud"), "{error}");
}

#[tokio::test]
async fn the_places_are_searched_in_their_order() {
    if !bare()
        .variable("CLOUDSDK_CONFIG", "elsewhere")
        .variable("GOOGLE_CLOUD_QUOTA_PROJECT", "payer")
        .enter(module_path!(), "the_places_are_searched_in_their_order")
    {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let mut user: Value = serde_json::from_str(&vertex.authorized_user()).unwrap();
    user["quota_project_id"] = "file-payer".into();
    write("elsewhere/application_default_credentials.json", user.to_string());
    write(".config/gcloud/application_default_credentials.json", "not this one");
    let found = Credentials::detect().await.unwrap();
    assert_eq!(found.info().kind(), CredentialKind::AuthorizedUser);
    assert_eq!(found.info().backend(), "tower-vertex");
    assert!(found.info().path().unwrap().starts_with("elsewhere"));
    assert_eq!(
        found.info().quota_project(),
        Some("payer"),
        "the variable takes precedence over the file"
    );
    assert_eq!(found.quota_project(), Some("payer"));

    // The quota project reaches the service, which accepts the token.
    let layer = VertexAuthLayer::new(found).trust_origin(vertex.url()).unwrap();
    let stack = VertexRouteLayer::new(upstream(&vertex))
        .layer(layer.layer(client(crate::common::Http::One)));
    assert_eq!(stack.oneshot(chat("hello")).await.unwrap().status(), StatusCode::OK);
    let request = vertex.requests().pop().unwrap();
    assert!(request.header_names.iter().any(|name| name == "x-goog-user-project"));
    assert_eq!(request.principal.as_deref(), Some("developer@example.com"));

    // A file that is named explicitly takes precedence, regardless of its type. Its information is
    // returned.
    let sub = write("subject", vertex.subject_token());
    for (text, kind, backend) in [
        (vertex.service_account_key(), CredentialKind::ServiceAccount, "gcp_auth"),
        (vertex.authorized_user(), CredentialKind::AuthorizedUser, "tower-vertex"),
        (vertex.external_account(&sub), CredentialKind::ExternalAccount, "tower-vertex"),
        (
            vertex.impersonated_service_account(),
            CredentialKind::ImpersonatedServiceAccount,
            "tower-vertex",
        ),
        (
            vertex.external_account_authorized_user(),
            CredentialKind::ExternalAccountAuthorizedUser,
            "tower-vertex",
        ),
    ] {
        let path = write("named.json", text);
        let found =
            Credentials::builder().file(&path).quota_project("other").detect().await.unwrap();
        assert_eq!((found.info().kind(), found.info().backend()), (kind, backend));
        assert_eq!(found.info().quota_project(), Some("other"));
        assert_eq!(found.info().warnings(), [""; 0]);
        found.fetch(FetchReason::Cold).await.unwrap();
        let line = found.info().to_string();
        assert!(line.contains("named.json"), "{line}");
        if kind == CredentialKind::ServiceAccount {
            assert!(line.starts_with("service account key of ") && line.contains('@'), "{line}");
            assert!(found.info().project_id().is_some());
        }
    }
}

#[tokio::test]
async fn a_key_with_open_permissions_causes_a_warning() {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.json");
    fs::write(&path, vertex.service_account_key()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let found = Credentials::builder().file(&path).detect().await.unwrap();
    let [warning] = found.info().warnings() else { panic!("{:?}", found.info()) };
    assert!(warning.contains("chmod 600") && warning.contains("key.json"), "{warning}");
}

/// Each file contains marked secrets, which no error may quote.
#[tokio::test]
async fn an_unusable_file_is_never_skipped_and_never_quoted() {
    if !bare()
        .variable("GOOGLE_APPLICATION_CREDENTIALS", "named.json")
        .enter(module_path!(), "an_unusable_file_is_never_skipped_and_never_quoted")
    {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    // These credentials would be found if a broken file were skipped.
    write(".config/gcloud/application_default_credentials.json", vertex.authorized_user());
    let key: Value = serde_json::from_str(&vertex.service_account_key()).unwrap();
    let pem = |label: &str| format!("-----BEGIN {label}-----\nU0VDUkVU\n-----END {label}-----\n");
    let with = |field: &str, value: Value| {
        let mut key = key.clone();
        key[field] = value;
        key.to_string()
    };
    for (text, why) in [
        ("SECRET".to_owned(), "not JSON"),
        ("[\"SECRET\"]".into(), "no \"type\""),
        (json!({ "installed": { "client_secret": "SECRET" } }).to_string(), "OAuth client"),
        (with("type", "SECRET".into()), "\"type\""),
        (with("type", "gdch_service_account".into()), "\"type\""),
        (with("private_key", "SECRET".into()), "PKCS#8"),
        (with("private_key", pem("PRIVATE KEY").into()), "PKCS#8"),
        (with("private_key", pem("RSA PRIVATE KEY").into()), "openssl pkcs8"),
        (with("private_key", json!(["SECRET"])), "\"private_key\""),
        (with("client_email", json!({ "SECRET": 1 })), "\"client_email\""),
        (with("token_uri", "SECRET".into()), "\"token_uri\""),
        (
            json!({ "type": "authorized_user", "client_id": "SECRET", "client_secret": "SECRET" })
                .to_string(),
            "\"refresh_token\"",
        ),
        (
            json!({ "type": "external_account", "audience": "SECRET", "token_url": "SECRET" })
                .to_string(),
            "\"subject_token_type\"",
        ),
        (
            json!({ "type": "impersonated_service_account", "service_account_impersonation_url": "SECRET",
                    "source_credentials": { "type": "SECRET" } })
            .to_string(),
            "\"service_account_impersonation_url\"",
        ),
    ] {
        write("named.json", &text);
        let error = Credentials::detect().await.unwrap_err().to_string();
        assert!(error.contains("GOOGLE_APPLICATION_CREDENTIALS: named.json: "), "{error}");
        assert!(error.contains(why), "{text}: {error}");
        assert!(!error.contains("SECRET") && !error.contains("U0VDUkVU"), "{error}");
    }
    fs::remove_file("named.json").unwrap();
    let error = Credentials::detect().await.unwrap_err().to_string();
    assert!(error.contains("no such file"), "{error}");
    fs::create_dir("named.json").unwrap();
    let error = Credentials::detect().await.unwrap_err().to_string();
    assert!(error.contains("directory"), "{error}");
}

/// The refusals of token endpoints, and the errors that explain them.
#[tokio::test]
async fn a_refusal_has_a_remedy() {
    let vertex = Emulator::start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let subject = write("subject", "SECRET-subject".into());
    let key = write("key.json", vertex.service_account_key());
    let user = write("user.json", vertex.authorized_user());
    let workforce = write("workforce.json", vertex.external_account_authorized_user());
    let external = write("external.json", vertex.external_account(&subject));
    let impersonated = write("impersonated.json", vertex.impersonated_service_account());
    let revoked = |fault| move |behavior: &mut TokenBehavior| behavior.user_grant = Some(fault);
    type Change<'a> = Box<dyn Fn(&mut TokenBehavior) + 'a>;
    let cases: [(&Path, Change<'_>, &str); 9] = [
        (
            &user,
            Box::new(revoked(UserGrantFault::Revoked)),
            "run `gcloud auth application-default login`",
        ),
        (&user, Box::new(revoked(UserGrantFault::ReauthRequired)), "wants you to log in again"),
        (&workforce, Box::new(revoked(UserGrantFault::Revoked)), "--login-config=FILE"),
        (&impersonated, Box::new(revoked(UserGrantFault::Revoked)), "application-default login"),
        (&key, Box::new(|behavior| behavior.clock_offset_s = -7200), "clock is wrong"),
        (&external, Box::new(|_| {}), "the subject token is expired"),
        (
            &impersonated,
            Box::new(|behavior| behavior.impersonation_denied = true),
            "serviceAccountTokenCreator",
        ),
        (
            &user,
            Box::new(|behavior| behavior.respond = Some(literal("SECRET"))),
            "not a JSON object",
        ),
        (
            &key,
            Box::new(|behavior| behavior.respond = Some(literal("SECRET"))),
            "not a JSON object",
        ),
    ];
    for (path, change, why) in cases {
        let mut behavior = TokenBehavior::default();
        change(&mut behavior);
        vertex.set_token_behavior(behavior);
        let found = Credentials::builder().file(path).detect().await.unwrap();
        let error = found.fetch(FetchReason::Cold).await.unwrap_err().to_string();
        assert!(error.contains(why), "{path:?}, {why}: {error}");
        assert!(!error.contains("SECRET"), "{error}");
    }

    // A lifetime that no policy allows, and the same lifetime with the policy.
    let long = || {
        Credentials::builder()
            .file(&key)
            .impersonate("target@p.iam.gserviceaccount.com")
            .token_lifetime(Duration::from_secs(12 * 3600))
            .iam_endpoint(vertex.url())
            .detect()
    };
    vertex.set_token_behavior(TokenBehavior::default());
    let error = long().await.unwrap().fetch(FetchReason::Cold).await.unwrap_err().to_string();
    assert!(error.contains("allowServiceAccountCredentialLifetimeExtension"), "{error}");
    vertex.set_token_behavior(TokenBehavior { allow_long_lifetimes: true, ..Default::default() });
    let found = long().await.unwrap();
    assert_eq!(found.info().impersonates(), Some("target@p.iam.gserviceaccount.com"));
    let life = found.fetch(FetchReason::Cold).await.unwrap().expires_in().unwrap().as_secs();
    assert!((43_190..=43_200).contains(&life), "{life}");

    // The server's clock determines the lifetime, so a wrong local clock changes nothing.
    vertex.set_token_behavior(TokenBehavior { clock_offset_s: 200, ..Default::default() });
    let found = Credentials::builder()
        .file(&key)
        .impersonate("target@p.iam.gserviceaccount.com")
        .iam_endpoint(vertex.url())
        .detect()
        .await
        .unwrap();
    let life = found.fetch(FetchReason::Cold).await.unwrap().expires_in().unwrap().as_secs();
    assert!((3_590..=3_600).contains(&life), "{life}");
    vertex.set_token_behavior(TokenBehavior::default());

    // google-cloud-auth panics over this response. The panic becomes an error.
    vertex.set_token_behavior(TokenBehavior { clock_offset_s: -7200, ..Default::default() });
    let source = GoogleCloudAuth::from_file(&impersonated).unwrap();
    for _ in 0..2 {
        let error = source.fetch(FetchReason::Cold).await.unwrap_err().to_string();
        assert!(error.contains("check this machine's clock"), "{error}");
    }
    vertex.set_token_behavior(TokenBehavior::default());
    source.fetch(FetchReason::Cold).await.unwrap();

    // Only impersonated accounts have tokens of a chosen lifetime.
    let error =
        Credentials::builder().file(&key).token_lifetime(Duration::from_secs(60)).detect().await;
    assert!(error.unwrap_err().to_string().contains("impersonate"));

    fs::write(&subject, vertex.subject_token()).unwrap();
    let source = GoogleCloudAuth::from_file(&external).unwrap();
    source.fetch(FetchReason::Cold).await.unwrap();
    fs::remove_file(&subject).unwrap();
    let error = source.fetch(FetchReason::Rejected).await.unwrap_err().to_string();
    assert!(error.contains("subject cannot be read: there is no such file"), "{error}");
    fs::write(&subject, vertex.subject_token()).unwrap();
    source.fetch(FetchReason::Proactive).await.unwrap();
}

fn literal(body: &str) -> tower_vertex_emulator::LiteralResponse {
    tower_vertex_emulator::LiteralResponse { body: body.to_owned(), ..Default::default() }
}

#[tokio::test]
async fn a_key_that_vanishes_never_changes_the_identity_of_the_process() {
    let name = "a_key_that_vanishes_never_changes_the_identity_of_the_process";
    let world = World::new()
        .hosts("127.0.0.1 metadata.google.internal")
        .variable("GOOGLE_APPLICATION_CREDENTIALS", "key.json");
    if cfg!(not(target_os = "linux")) || !world.enter(module_path!(), name) {
        return;
    }
    // The machine has an identity of its own, at the address that every library tries.
    let vertex = Emulator::builder().listen(([127, 0, 0, 1], 80).into()).start().await.unwrap();
    for make in [
        vertex.service_account_key(),
        vertex.authorized_user(),
        vertex.external_account(write("subject", vertex.subject_token())),
        vertex.external_account_authorized_user(),
    ] {
        let is_key = make == vertex.service_account_key();
        write("key.json", &make);
        let mut sources: Vec<Box<dyn TokenSource>> =
            vec![Box::new(Credentials::detect().await.unwrap())];
        if is_key {
            sources.push(Box::new(GcpAuth::from_service_account_file("key.json").unwrap()));
        }
        for source in sources {
            write("key.json", &make);
            let layer = auth(&vertex, TokenCache::new(source));
            let stack = VertexRouteLayer::new(upstream(&vertex))
                .layer(layer.layer(client(crate::common::Http::One)));
            vertex.reset_stats();
            let _ = stack.clone().oneshot(chat("hello")).await;
            for broken in [None, Some(""), Some("{}"), Some("{\"type\":\"authorized_user\"}")] {
                match broken {
                    Some(text) => drop(write("key.json", text)),
                    None => fs::remove_file("key.json").unwrap(),
                }
                vertex.revoke_tokens();
                let _ = stack.clone().oneshot(chat("hello")).await;
            }
            let principals: std::collections::BTreeSet<_> =
                vertex.requests().into_iter().filter_map(|request| request.principal).collect();
            assert_eq!(principals.len(), 1, "{principals:?}");
            assert!(!principals.iter().any(|who| who.contains("compute@")), "{principals:?}");
        }
    }
}

/// The number of threads of `google-cloud-auth` in this process. Linux keeps 15 characters of a
/// name.
#[cfg(target_os = "linux")]
fn threads() -> usize {
    let names = fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("google-cloud-a")).count()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn fifty_rebuilds_leak_no_threads_and_no_tasks() {
    // This runs in a process of its own, because threads of other tests would be counted.
    if !bare().enter(module_path!(), "fifty_rebuilds_leak_no_threads_and_no_tasks") {
        return;
    }
    let vertex = Emulator::start().await.unwrap();
    let subject = write("subject", vertex.subject_token());
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    for text in [
        vertex.service_account_key(),
        vertex.authorized_user(),
        vertex.external_account(&subject),
        vertex.external_account_impersonated(&subject),
        vertex.impersonated_service_account(),
    ] {
        let source = GoogleCloudAuth::from_json(text).unwrap();
        source.fetch(FetchReason::Cold).await.unwrap();
        eventually("one thread", || threads() == 1).await;
        let before = tasks();
        for _ in 0..50 {
            source.fetch(FetchReason::Rejected).await.unwrap();
        }
        eventually("one thread after fifty rebuilds", || threads() == 1).await;
        eventually("no more tasks than before", || tasks() <= before).await;
        drop(source);
        eventually("no thread", || threads() == 0).await;
    }
}

/// Tasks end with the runtime that spawned them, but the source has a runtime of its own.
#[test]
fn a_source_survives_the_runtime_that_used_it_first() {
    let start = || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    };
    let emulators = start();
    let vertex = emulators.block_on(Emulator::start()).unwrap();
    let source = GoogleCloudAuth::from_json(vertex.authorized_user()).unwrap();
    for reason in [FetchReason::Cold, FetchReason::Proactive, FetchReason::Rejected] {
        let runtime = start();
        runtime.block_on(source.fetch(reason)).unwrap();
    }
    assert_eq!(vertex.stats().token_mints, 2, "the second fetch used the cache");
}
