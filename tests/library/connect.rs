//! `Network` and its connector: through a proxy whose other end is the emulator under Google's own
//! host names.

mod proxy;

use std::{error::Error as StdError, fs, path::PathBuf};

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{Client as HyperUtilClient, Error as ClientError},
    rt::TokioExecutor,
};
use tempfile::TempDir;
use tower::ServiceExt as _;
use tower_vertex::{
    BoxError, Client,
    connect::{Network, NetworkBuilder, ProxyError, ProxyErrorKind},
    route::Upstream,
    token::{Credentials, GcpAuth, Impersonated, TokenSource},
};
use tower_vertex_emulator::{CredentialKind, Emulator};

use self::proxy::{Authority, Proxy, Script, tls_server};
use crate::common::echo;

const GOOGLE: &str = "https://us-central1-aiplatform.googleapis.com";

/// The emulator over TLS, and the file of its authority.
async fn google() -> (Emulator, TempDir, PathBuf) {
    let google = Emulator::builder().tls(true).host_aware(true).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    fs::write(&authority, google.certificate_pem().unwrap()).unwrap();
    (google, folder, authority)
}

/// Settings that the environment of the test does not change.
fn network() -> NetworkBuilder {
    Network::builder().ignore_environment()
}

fn upstream() -> Upstream {
    Upstream::new("p1", "us-central1").unwrap()
}

async fn chat(network: &Network, source: impl TokenSource) -> Result<String, BoxError> {
    let request = Request::post("/v1/chat/completions").header("content-type", "application/json");
    let request = request.body(
        r#"{"model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "hello"}]}"#,
    )?;
    let response = Client::with_network(upstream(), source, network).send(request).await?;
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().text().await
}

/// Sends one request by another stack, and returns the error.
async fn error(network: &Network, uri: &str) -> ClientError {
    let client = HyperUtilClient::builder(TokioExecutor::new()).build(network.connector());
    let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    client.request(request).await.unwrap_err()
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = format!("{error:?}");
    let mut next = Some(error);
    while let Some(error) = next {
        text.push_str(&format!("; {error}"));
        next = error.source();
    }
    text
}

fn proxy_error(error: &ClientError) -> &ProxyError {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return found;
        }
        next = error.source();
    }
    panic!("no proxy error: {}", chain(error));
}

#[tokio::test]
async fn every_token_source_and_every_request_goes_through_the_proxy() {
    let (google, folder, authority) = google().await;
    let proxy = Proxy::start(google.addr(), Script::Login("me:pass@word")).await;
    let network = network().proxy(proxy.url("me:pass%40word@")).ca_file(authority).build().unwrap();
    let subject = folder.path().join("subject");
    fs::write(&subject, google.subject_token()).unwrap();
    let api = "us-central1-aiplatform.googleapis.com:443";
    let (oauth, sts) = ("oauth2.googleapis.com:443", "sts.googleapis.com:443");
    let iam = "iamcredentials.googleapis.com:443";
    for (kind, hosts) in [
        (CredentialKind::ServiceAccount, &[oauth, api][..]),
        (CredentialKind::AuthorizedUser, &[oauth, api]),
        (CredentialKind::ImpersonatedServiceAccount, &[oauth, iam, api]),
        (CredentialKind::ExternalAccount, &[sts, api]),
        (CredentialKind::ExternalAccountImpersonated, &[sts, iam, api]),
        (CredentialKind::ExternalAccountAuthorizedUser, &[sts, api]),
    ] {
        let file = folder.path().join("credentials.json");
        fs::write(&file, google.credential_at_google(kind, &subject)).unwrap();
        let found = Credentials::builder().file(file).network(&network).detect().await.unwrap();
        let text = chat(&network, found).await.unwrap();
        assert!(text.contains(&echo("hello")), "{text}");
        assert_eq!(proxy.connects(), hosts, "{kind:?}");
    }
    let key = google.credential_at_google(CredentialKind::ServiceAccount, &subject);
    let base = GcpAuth::from_service_account_key(key).unwrap().network(&network);
    let source = Impersonated::new(base, "vertex@p1.iam.gserviceaccount.com").unwrap();
    chat(&network, source.network(&network)).await.unwrap();
    assert_eq!(proxy.connects(), [oauth, iam, api]);
    assert_eq!(google.stats().api_requests, 7);
}

#[tokio::test]
async fn an_exempt_host_is_connected_to_directly() {
    let vertex = Emulator::start().await.unwrap();
    let proxy = Proxy::start(vertex.addr(), Script::Open).await;
    let network = network().proxy(proxy.url("")).no_proxy("*.invalid").build().unwrap();
    let client = HyperUtilClient::builder(TokioExecutor::new()).build(network.connector());
    // A loopback address, and a name that no one resolves.
    let uri = format!("{}/__emulator/stats", vertex.url());
    let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
    assert_eq!(client.request(request).await.unwrap().status(), StatusCode::OK);
    let error = error(&network, "https://vertex.invalid").await;
    assert!(error.is_connect(), "{error:?}");
    assert_eq!(proxy.connects(), [] as [&str; 0]);
    let uri: Uri = "https://sub.vertex.invalid".parse().unwrap();
    assert_eq!(network.proxy_for(&uri), None);
}

#[tokio::test]
async fn an_http_url_goes_through_a_tunnel_too() {
    let vertex = Emulator::start().await.unwrap();
    let proxy = Proxy::start(vertex.addr(), Script::Open).await;
    let network = network().proxy(proxy.url("")).build().unwrap();
    let client = HyperUtilClient::builder(TokioExecutor::new()).build(network.connector());
    for uri in ["http://vertex.example.com/x", "http://vertex.example.com:8080/x"] {
        let request = Request::get(uri).body(Empty::<Bytes>::new()).unwrap();
        client.request(request).await.unwrap().into_body().collect().await.unwrap();
    }
    assert_eq!(proxy.connects(), ["vertex.example.com:80", "vertex.example.com:8080"]);
}

#[tokio::test]
async fn each_failure_of_a_proxy_has_its_kind_and_its_remedy_and_shows_no_login() {
    let (google, _folder, authority) = google().await;
    let refused = StatusCode::FORBIDDEN;
    let unreached = StatusCode::SERVICE_UNAVAILABLE;
    for (script, user, kind, says) in [
        (Script::Login("me:SECRET"), "", ProxyErrorKind::LoginRequired, "USER:PASSWORD"),
        (Script::Login("me:x"), "me:SECRET@", ProxyErrorKind::LoginRejected, "%40"),
        (
            Script::Status("407 Login", "Proxy-Authenticate: Negotiate\r\n"),
            "me:SECRET@",
            ProxyErrorKind::LoginUnsupported,
            "cntlm",
        ),
        (
            Script::Status("403 Forbidden", ""),
            "me:SECRET@",
            ProxyErrorKind::Refused(refused),
            "allow CONNECT to us-central1-aiplatform.googleapis.com:443",
        ),
        (
            Script::Status("503 Service Unavailable", ""),
            "me:SECRET@",
            ProxyErrorKind::Refused(unreached),
            "NO_PROXY",
        ),
        (Script::Bytes("SSH-2.0-x\r\n"), "me:SECRET@", ProxyErrorKind::NoTunnel, "HTTP proxy"),
        (Script::Bytes(""), "me:SECRET@", ProxyErrorKind::NoTunnel, "HTTP proxy"),
        (
            Script::Bytes("HTTP/1.1 200 OK\r\n\r\nHELLO"),
            "me:SECRET@",
            ProxyErrorKind::NoTunnel,
            "HTTP proxy",
        ),
        (Script::Gone, "me:SECRET@", ProxyErrorKind::Unreachable, "that it runs"),
    ] {
        let proxy = Proxy::start(google.addr(), script).await;
        let network = network().proxy(proxy.url(user)).ca_file(&authority).build().unwrap();
        let error = error(&network, GOOGLE).await;
        let found = proxy_error(&error);
        assert_eq!(found.kind(), kind, "{}", chain(&error));
        assert!(found.remedy().contains(says), "{}", found.remedy());
        let text = format!("{} {} {network:?}", chain(&error), found.remedy());
        assert!(text.contains(&proxy.url("")), "{text}");
        // `bWU6U0VDUkVU` is `me:SECRET` in base64.
        for secret in ["SECRET", "bWU6U0VDUkVU", "me:"] {
            assert!(!text.contains(secret), "{text}");
        }
        // The same failure at the token endpoint names the proxy and the remedy, too.
        let key = google.credential_at_google(CredentialKind::ServiceAccount, "");
        let source = GcpAuth::from_service_account_key(key).unwrap().network(&network);
        let error = chat(&network, source).await.unwrap_err();
        let error = error.downcast_ref::<tower_vertex::Error>().unwrap();
        let remedy = found.remedy().replace("us-central1-aiplatform", "oauth2");
        assert_eq!(error.remedy(), Some(&*remedy), "{error}");
        assert!(error.to_string().contains(&proxy.url("")), "{error}");
        assert!(!error.to_string().contains("SECRET"), "{error}");
    }
}

#[tokio::test]
async fn an_unknown_authority_is_named_with_its_remedy() {
    let (google, _folder, _authority) = google().await;
    let proxy = Proxy::start(google.addr(), Script::Open).await;
    let network = network().proxy(proxy.url("")).build().unwrap();
    let key = google.credential_at_google(CredentialKind::ServiceAccount, "");
    let source = GcpAuth::from_service_account_key(key).unwrap().network(&network);
    let error = chat(&network, source).await.unwrap_err();
    let error = error.downcast_ref::<tower_vertex::Error>().unwrap();
    assert!(error.remedy().unwrap().contains("--upstream-ca"), "{error}");
}

#[tokio::test]
async fn a_proxy_at_an_https_url_gets_the_login_over_tls() {
    let (google, folder, authority) = google().await;
    let own = Authority::new();
    let proxy = Proxy::start_tls(google.addr(), Script::Login("me:x"), &own).await;
    let file = folder.path().join("proxy.pem");
    fs::write(&file, own.pem()).unwrap();
    let builder = network().proxy(proxy.url("me:x@")).ca_file(&authority);
    let error = error(&builder.clone().build().unwrap(), GOOGLE).await;
    assert_eq!(proxy_error(&error).kind(), ProxyErrorKind::Tls);
    let network = builder.ca_file(file).build().unwrap();
    let key = google.credential_at_google(CredentialKind::ServiceAccount, "");
    let source = GcpAuth::from_service_account_key(key).unwrap().network(&network);
    chat(&network, source).await.unwrap();
    assert_eq!(
        proxy.connects(),
        ["oauth2.googleapis.com:443", "us-central1-aiplatform.googleapis.com:443"]
    );
}

#[tokio::test]
async fn a_client_certificate_is_presented_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (authority, other) = (Authority::new(), Authority::new());
    let server = tls_server(&authority, Some(&authority)).await;
    let proxy = Proxy::start(server, Script::Open).await;
    fs::write(path("ca.pem"), authority.pem()).unwrap();
    let write = |authority: &Authority| {
        let (certificate, key) = authority.client();
        fs::write(path("cert.pem"), certificate).unwrap();
        fs::write(path("key.pem"), key).unwrap();
    };
    write(&other);
    let builder = network().proxy(proxy.url("")).ca_file(path("ca.pem"));
    let network = builder
        .clone()
        .client_certificate(path("cert.pem"), path("key.pem"))
        .http2(true)
        .build()
        .unwrap();
    let connect = |network: &Network| {
        let opened = network.connector().oneshot(Uri::from_static("https://vertex.example.com"));
        async move { proxy::greeting(opened.await?).await }
    };
    assert!(connect(&builder.build().unwrap()).await.is_err(), "without a certificate");
    assert!(connect(&network).await.is_err(), "of another authority");
    write(&authority);
    network.reload().unwrap();
    assert_eq!(connect(&network).await.unwrap(), *b"!h2", "the last one says the protocol");
    // A broken file leaves the last certificate in use.
    fs::write(path("key.pem"), "SECRET").unwrap();
    let error = network.reload().unwrap_err();
    assert!(
        error.to_string().contains("no private key") && !format!("{error:?}").contains("SECRET")
    );
    assert_eq!(connect(&network).await.unwrap(), *b"!h2");
    assert_eq!(network.files().count(), 3);
}

#[tokio::test]
async fn a_client_certificate_leads_to_the_hosts_for_mutual_tls() {
    let (google, folder, authority) = google().await;
    let path = |name: &str| folder.path().join(name);
    let (certificate, key) = Authority::new().client();
    fs::write(path("cert.pem"), certificate).unwrap();
    fs::write(path("key.pem"), key).unwrap();
    let proxy = Proxy::start(google.addr(), Script::Open).await;
    let network = network().proxy(proxy.url("")).ca_file(authority);
    let network = network.client_certificate(path("cert.pem"), path("key.pem")).build().unwrap();
    for (uri, there) in [
        (GOOGLE, Some("https://us-central1-aiplatform.mtls.googleapis.com/")),
        (
            "https://aiplatform.googleapis.com:443/x?y",
            Some("https://aiplatform.mtls.googleapis.com/x?y"),
        ),
        ("https://sts.googleapis.com/v1/token", Some("https://sts.mtls.googleapis.com/v1/token")),
        ("https://aiplatform.us.rep.googleapis.com", None),
        ("https://evil.x-aiplatform.googleapis.com", None),
        ("https://me@x-aiplatform.googleapis.com", None),
        ("https://storage.googleapis.com", None),
        ("https://aiplatform.googleapis.com:8443", None),
        ("http://aiplatform.googleapis.com", None),
        ("https://vertex.example.com", None),
    ] {
        let uri = network.mtls_uri(&uri.parse().unwrap()).map(|uri| uri.to_string());
        assert_eq!(uri.as_deref(), there);
    }
    let key = google.credential_at_google(CredentialKind::ServiceAccount, "");
    let source = GcpAuth::from_service_account_key(key).unwrap().network(&network);
    chat(&network, source).await.unwrap();
    assert_eq!(
        proxy.connects(),
        ["oauth2.mtls.googleapis.com:443", "us-central1-aiplatform.mtls.googleapis.com:443"]
    );
}

#[test]
fn a_file_that_cannot_be_used_is_an_error_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pem");
    for (content, why) in [("", "no certificate"), ("-----BEGIN CERTIFICATE-----\n!", "PEM")] {
        fs::write(&path, content).unwrap();
        let error = network().ca_file(&path).build().unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = network().ca_file(folder.path().join("none")).build().unwrap_err();
    assert!(error.to_string().contains("no such file"), "{error}");
}
