//! Vertex AI on loopback: the OpenAI-compatible surface, its tokens, its errors and its limits,
//! for tests and demonstrations without a cloud.
//!
//! It checks what the service checks, in the order in which the service does it: host and path,
//! then the credential, and only then the body. Answers echo what was said and say that they come
//! from the emulator; images are named by type and length. A JSON schema in `response_format` is
//! kept to.
//!
//! A tool is called if `tool_choice` asks for it (`required`, or its name), or if the last message of the
//! user says `call the tool NAME`, in the midst of whatever else; a result of a tool as the last message
//! is answered with an echo of both. The arguments fit the tool's schema. Where it takes any text they
//! say `example`, and never what the user said: a tool may be a shell.
//!
//! What an answer costs depends on the request alone: four bytes are a token. Gemini 2.5 and 3 think,
//! and as at Vertex AI their `reasoning_tokens` are in `total_tokens` but not in `completion_tokens`:
//! four for each token of the answer, or 0, 1, 2, 4, 8 by the `reasoning_effort` (or `thinking_level`)
//! `none`, `minimal`, `low`, `medium`, `high`, and no more than a `thinking_budget`; 2.5 Flash-Lite thinks
//! only if one of these asks it to. `cached_content` adds 1,024 `cached_tokens` to the prompt. The
//! `traffic_type` is `ON_DEMAND`, or what `X-Vertex-AI-LLM-Request-Type: dedicated` or
//! `X-Vertex-AI-LLM-Shared-Request-Type: priority` or `flex` asks for.
//!
//! Beside the API it serves what Google's credential flows call, and, for tests
//! in any language, control over itself under `/__emulator/`.
//!
//! # Example
//!
//! ```
//! use http::{Request, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower_vertex_emulator::Emulator;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let vertex = Emulator::start().await?;
//! let client = Client::builder(TokioExecutor::new()).build_http();
//! let ask = |token: &str| {
//!     let path = "v1/projects/p1/locations/global/endpoints/openapi/chat/completions";
//!     Request::post(format!("{}/{path}", vertex.url()))
//!         .header("authorization", format!("Bearer {token}"))
//!         .body(Full::<bytes::Bytes>::from(
//!             r#"{"model": "google/gemini-2.5-flash",
//!                 "messages": [{"role": "user", "content": "Good morning!"}]}"#,
//!         ))
//! };
//!
//! let token = vertex.mint();
//! let answer = client.request(ask(&token)?).await?;
//! assert_eq!(answer.status(), StatusCode::OK);
//! let body = answer.into_body().collect().await?.to_bytes();
//! let body: serde_json::Value = serde_json::from_slice(&body)?;
//! assert_eq!(
//!     body["choices"][0]["message"]["content"],
//!     "This is the Vertex AI emulator. You said: Good morning!",
//! );
//!
//! vertex.revoke_tokens();
//! assert_eq!(client.request(ask(&token)?).await?.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(vertex.stats().by_status[&401], 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Tokens
//!
//! | request | what it is | whose the token is |
//! |---|---|---|
//! | `POST /token`, `/o/oauth2/token` | the OAuth token endpoint: an assertion, or a user's refresh token | the service account; `developer@example.com` |
//! | `POST /v1/token` | the Security Token Service: an exchange by RFC 8693 | `principal://…/workloadIdentityPools/emulator/subject/tester` |
//! | `POST /v1/oauthtoken` | the same: the refresh token of a workforce login | `principal://…/workforcePools/emulator/subject/tester` |
//! | `POST /v1/projects/-/serviceAccounts/EMAIL:generateAccessToken` | the IAM credentials API, for a bearer whose token is good here | `EMAIL` |
//! | `GET /computeMetadata/…` | the metadata server | `123456789012-compute@developer.gserviceaccount.com` |
//!
//! The service account also gets in without any of these, with a JWT that it signed itself (RS256,
//! the same `iss` and `sub`, a `scope`, no `aud`), as `google-cloud-auth` does. Such a token is
//! issued when it is first shown: only then has it a generation, and only from then on does
//! [`Emulator::revoke_tokens`] end it. One that is signed within the same second is the same one.
//!
//! A token is good for everything if one of its scopes is `cloud-platform`. With `iam` it can only
//! impersonate, which is what `google-cloud-auth` exchanges a subject token for on that way.
//!
//! [`TokenBehavior`] is about all of them. They are served over TLS as well.
//!
//! # Control
//!
//! | request | what it does |
//! |---|---|
//! | `GET /__emulator/requests` | what arrived at the API, as [`RequestRecord`]s |
//! | `GET`, `DELETE /__emulator/stats` | [`Stats`], and their reset |
//! | `POST /__emulator/revoke` | [`Emulator::revoke_tokens`] |
//! | `GET`, `PUT /__emulator/token` | [`TokenBehavior`] |
//! | `GET`, `PUT`, `DELETE /__emulator/faults` | [`Faults`] |
//! | `GET /__emulator/service_account_key`, `…/authorized_user`, `…/external_account_authorized_user`, `…/impersonated_service_account` | credential files for it |
//! | `GET /__emulator/external_account?file=PATH`, `…/external_account_impersonated?file=PATH` | the same, for a subject token in the file at `PATH` |
//! | `GET /__emulator/subject_token` | what has to be in that file, as plain text |
//!
//! A `PUT` sets what it names and returns the rest to its default. An unknown field or a value
//! that cannot be is a 400, and changes nothing.

mod admission;
mod answers;
mod api;
mod body;
mod builder;
mod chat;
mod clock;
mod control;
mod credentials;
pub mod cross_origin;
mod endpoints;
mod google_errors;
mod grant;
mod iam;
mod key;
mod metadata;
mod oauth;
mod path;
mod said;
mod schema;
mod server;
mod settings;
mod sse;
mod state;
mod sts;
mod tls;
mod token_settings;
mod tokens;
mod usage;

use std::{fmt, io, net::SocketAddr, path::Path, sync::Arc};

use tokio::task::JoinHandle;

use self::state::{Shared, lock};
pub use self::{
    builder::EmulatorBuilder,
    settings::{ApiFault, EndpointInfo, ErrorShape, Faults, StreamBehavior},
    state::{RequestRecord, Stats, StreamStats},
    token_settings::{LiteralResponse, TokenBehavior, TokenFault, UserGrantFault},
};

/// A running emulator. Dropping it stops it: no more connections, and the open ones are cut.
///
/// See the [module's documentation](self) for an example.
pub struct Emulator {
    shared: Arc<Shared>,
    certificate: Option<String>,
    servers: Vec<JoinHandle<()>>,
}

impl Emulator {
    /// Starts one on a free port of 127.0.0.1, over plain http.
    ///
    /// # Errors
    ///
    /// When it cannot listen.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// An emulator with settings of its own.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// Where the API listens.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// The API's base, `http://127.0.0.1:PORT`; `https://…` with TLS.
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// The base of the token endpoints, the metadata paths and `/__emulator/` over plain http. With TLS it is
    /// a port of its own, because few token clients can be made to trust a certificate; without,
    /// it is the same as [`url`](Self::url).
    pub fn control_url(&self) -> String {
        self.shared.control_url()
    }

    /// The text of a service-account key file whose assertions the token endpoint accepts.
    ///
    /// The key is the same for all emulators: a test key that is published with this crate, and which
    /// nothing else believes.
    pub fn service_account_key(&self) -> String {
        credentials::service_account(&self.control_url()).to_string()
    }

    /// The text of an `authorized_user` file whose refresh token the token endpoint accepts.
    pub fn authorized_user(&self) -> String {
        self.shared.credentials.authorized_user(&self.control_url()).to_string()
    }

    /// The text of an `external_account` file for workload identity federation, whose subject
    /// token is in the file named. That one is yours to write: put
    /// [`subject_token`](Self::subject_token) there.
    ///
    /// In a path that is not UTF-8, what cannot be said in JSON is replaced.
    pub fn external_account(&self, subject_token_file: impl AsRef<Path>) -> String {
        let file = subject_token_file.as_ref();
        credentials::external_account(&self.control_url(), file).to_string()
    }

    /// The same, for a token of the service account
    /// `impersonated@emulator-project.iam.gserviceaccount.com`.
    pub fn external_account_impersonated(&self, subject_token_file: impl AsRef<Path>) -> String {
        let file = subject_token_file.as_ref();
        credentials::external_account_impersonated(&self.control_url(), file).to_string()
    }

    /// The text of an `external_account_authorized_user` file: a workforce login, with the refresh
    /// token that is good now (see
    /// [`rotate_refresh_token`](TokenBehavior::rotate_refresh_token)).
    pub fn external_account_authorized_user(&self) -> String {
        self.shared.credentials.external_account_authorized_user(&self.control_url()).to_string()
    }

    /// The text of an `impersonated_service_account` file: the
    /// [`authorized_user`](Self::authorized_user) who acts as the service account
    /// `impersonated@emulator-project.iam.gserviceaccount.com`.
    pub fn impersonated_service_account(&self) -> String {
        self.shared.credentials.impersonated_service_account(&self.control_url()).to_string()
    }

    /// The one subject token that the Security Token Service takes: random text, new for each
    /// emulator, whatever `subject_token_type` calls it.
    pub fn subject_token(&self) -> String {
        self.shared.credentials.subject_token.clone()
    }

    /// A new token, without the way through an endpoint. Its principal is `emulator`, and it is
    /// counted as a mint.
    pub fn mint(&self) -> String {
        let token = {
            let mut store = lock(&self.shared.tokens);
            let life = store.behavior().life();
            store.mint("emulator".into(), tokens::Scope::CloudPlatform, life)
        };
        self.shared.count(|stats| stats.token_mints += 1);
        token
    }

    /// With TLS: the certificate (PEM) of the authority that a client must trust.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// What has happened since the start or the last reset.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Sets the counters to zero and forgets the records. What is open now stays counted as open.
    pub fn reset_stats(&self) {
        self.shared.reset_stats();
    }

    /// What arrived at the API, oldest first; the last 10,000.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.requests()
    }

    /// From now on every token issued so far gets a 401, a self-signed one if it was shown before
    /// (see [the module's documentation](self#tokens)). With
    /// [`same_until_expiry`](TokenBehavior::same_until_expiry) the dead token is still handed
    /// out, as the metadata server would.
    pub fn revoke_tokens(&self) {
        lock(&self.shared.tokens).revoke();
    }

    /// Changes how tokens are issued.
    pub fn set_token_behavior(&self, behavior: TokenBehavior) {
        lock(&self.shared.tokens).set_behavior(behavior);
    }

    /// Changes which endpoints are deployed. Over TLS, a host that was not known at the start is not
    /// in the certificate.
    pub fn set_endpoints(&self, endpoints: impl IntoIterator<Item = EndpointInfo>) {
        *lock(&self.shared.endpoints) = endpoints.into_iter().collect();
    }

    /// Changes what goes wrong at the API.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.set_faults(faults);
    }

    /// Nothing goes wrong any more.
    pub fn clear_faults(&self) {
        self.shared.set_faults(Faults::default());
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for server in &self.servers {
            server.abort();
        }
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("url", &self.url()).finish_non_exhaustive()
    }
}
