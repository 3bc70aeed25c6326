//! The emulator's credential flows, over real sockets.

mod api;
mod clock;
mod everywhere;
mod federation;
mod files;
mod impersonation;
mod metadata;
mod scopes;
mod self_signed;
mod signing;
mod users;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring::default_provider,
        pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    },
};
use tower_vertex_emulator::{
    ApiFault, CredentialKind, Emulator, ErrorShape, Faults, LiteralResponse, TokenBehavior,
    TokenFault, TokenLength, UserGrantFault,
};

const CHAT: &str = "/v1/projects/p1/locations/us-central1/endpoints/openapi/chat/completions";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const ACCOUNT: &str = "emulator@emulator-project.iam.gserviceaccount.com";
const TARGET: &str = "impersonated@emulator-project.iam.gserviceaccount.com";
const MACHINE: &str = "123456789012-compute@developer.gserviceaccount.com";
const METADATA_TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const WORKLOAD: &str = "//iam.googleapis.com/projects/123456789012/locations/global/\
    workloadIdentityPools/emulator/providers/emulator";
const WORKFORCE: &str =
    "//iam.googleapis.com/locations/global/workforcePools/emulator/providers/emulator";
const WORKLOAD_PRINCIPAL: &str = "principal://iam.googleapis.com/projects/123456789012/locations/\
    global/workloadIdentityPools/emulator/subject/tester";
const WORKFORCE_PRINCIPAL: &str = "principal://iam.googleapis.com/locations/global/workforcePools/\
    emulator/subject/tester";
const TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type";

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The status and the code of an OAuth error.
    fn refusal(&self) -> (u16, String) {
        assert!(self.json()["error_description"].is_string(), "{self:?}");
        (self.status.as_u16(), self.json()["error"].as_str().unwrap().to_owned())
    }

    /// An error in Google's object shape.
    fn google_error(&self) -> Value {
        let error = self.json()["error"].clone();
        assert_eq!(error["code"], self.status.as_u16(), "{self:?}");
        error
    }

    fn access_token(&self) -> String {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text());
        self.json()["access_token"].as_str().unwrap().to_owned()
    }
}

struct Bench {
    emulator: Emulator,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Bench {
    async fn new() -> Self {
        Self::over(Emulator::start().await.unwrap())
    }

    fn over(emulator: Emulator) -> Self {
        Self { emulator, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    async fn send(&self, request: http::request::Builder, body: String) -> Answer {
        let request = request.body(Full::from(body)).unwrap();
        let (parts, body) = self.client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.emulator.control_url())
    }

    async fn chat_about(&self, token: &str, model: &str) -> Answer {
        let request = Request::post(format!("{}{CHAT}", self.emulator.url()))
            .header("authorization", format!("Bearer {token}"));
        let messages = json!([{ "role": "user", "content": "hello" }]);
        self.send(request, json!({ "model": model, "messages": messages }).to_string()).await
    }

    async fn chat(&self, token: &str) -> Answer {
        self.chat_about(token, "google/gemini-2.5-flash").await
    }

    /// Calls the API with this token, and returns its principal from the record.
    async fn principal(&self, token: &str) -> String {
        assert_eq!(self.chat(token).await.status, StatusCode::OK);
        self.emulator.requests().pop().unwrap().principal.unwrap()
    }

    async fn post(&self, path: &str, body: impl ToString) -> Answer {
        self.send(Request::post(self.url(path)), body.to_string()).await
    }

    async fn metadata(&self, path: &str) -> Answer {
        let request = Request::get(self.url(path)).header("metadata-flavor", "Google");
        self.send(request, String::new()).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(self.url(path)), String::new()).await
    }

    fn exchange_fields(&self) -> Value {
        json!({
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": WORKLOAD,
            "scope": SCOPE,
            "requested_token_type": format!("{TOKEN_TYPE}:access_token"),
            "subject_token": self.emulator.subject_token(),
            "subject_token_type": format!("{TOKEN_TYPE}:jwt"),
        })
    }

    async fn workforce_refresh(&self, file: &Value) -> Answer {
        let basic =
            STANDARD.encode(format!("{}:{}", text(file, "client_id"), text(file, "client_secret")));
        let request = Request::post(text(file, "token_url"))
            .header("authorization", format!("Basic {basic}"));
        let refresh_token = &file["refresh_token"];
        let fields = json!({ "grant_type": "refresh_token", "refresh_token": refresh_token });
        self.send(request, form(&fields)).await
    }

    async fn user_refresh(&self, path: &str) -> Answer {
        let mut fields = parse(&self.emulator.authorized_user());
        fields["grant_type"] = "refresh_token".into();
        self.post(path, fields).await
    }

    async fn impersonate(&self, bearer: Option<&str>, path: &str, body: Value) -> Answer {
        let mut request = Request::post(self.url(path));
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        self.send(request, body.to_string()).await
    }

    /// Signs claims with the key of the service account.
    fn sign(&self, claims: &Value) -> String {
        let file = parse(&self.emulator.service_account_key());
        let pem = text(&file, "private_key");
        let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let key = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64).unwrap()).unwrap();
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": file["private_key_id"] });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(claims));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Signs a token as `google-cloud-auth` does, at a time of the client's clock.
    fn self_signed(&self, at: i64) -> String {
        self.sign(&self_signed_claims(at))
    }

    fn behave(&self, behavior: TokenBehavior) {
        self.emulator.set_token_behavior(behavior);
    }

    async fn assertion_grant(&self, at: i64, path: &str) -> Answer {
        let assertion = self.sign(&json!({
            "iss": ACCOUNT, "aud": self.url(path), "scope": SCOPE, "iat": at, "exp": at + 3600,
        }));
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        self.post(path, form(&json!({ "grant_type": grant, "assertion": assertion }))).await
    }
}

fn self_signed_claims(at: i64) -> Value {
    json!({ "iss": ACCOUNT, "sub": ACCOUNT, "scope": SCOPE, "aud": null,
            "iat": at - 10, "exp": at + 3610 })
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap()
}

/// The claims of a JWT, without a check.
fn claims(jwt: &str) -> Value {
    let claims = URL_SAFE_NO_PAD.decode(jwt.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice(&claims).unwrap()
}

fn form(fields: &Value) -> String {
    let fields = fields.as_object().unwrap();
    let pairs = fields.iter().map(|(name, value)| (name, value.as_str().unwrap()));
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// Formats a time by counting the days: slowly, and not with the algorithm of the emulator.
fn rfc3339(seconds: i64) -> String {
    let (mut days, rest) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: i64| i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
    let mut year = 1970;
    while days >= 365 + leap(year) {
        days -= 365 + leap(year);
        year += 1;
    }
    let lengths = [31, 28 + leap(year), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (month, day) = (month + 1, days + 1);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn impersonation_path(project: &str, account: &str) -> String {
    format!("/v1/projects/{project}/serviceAccounts/{account}:generateAccessToken")
}
