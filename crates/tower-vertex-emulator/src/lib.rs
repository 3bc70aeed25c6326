//! Vertex AI on loopback: its OpenAI-compatible API, Gemini's own API, Claude's messages, its
//! tokens, its errors and its limits, for tests and demonstrations without a cloud.
//!
//! The emulator checks what the service checks, in the same order: host and path, then the credential, and
//! only then the body. A response echoes the prompt and says that it comes from the emulator;
//! images are named by type and length. A response follows the JSON schema in `response_format`.
//!
//! The model calls a tool if `tool_choice` is `required` or names the tool, or if the last message
//! of the user contains `call the tool A`. With `call the tool A, then call the tool B` it takes one
//! step for each, and with `call the tools A and B at once` it makes parallel calls. If the last
//! message is the result of a tool, and no step is left, the response echoes the prompt and the
//! result. The arguments of a call match the tool's schema. A field that may be any text is
//! `example`, and never the user's text, because a tool may be a shell.
//!
//! Responses of Google's models have Google's form, and those of others have OpenAI's. Gemini 3
//! sends thought signatures and demands them back. [`ChatBehavior`] sets other forms that users
//! report, and the manual (`docs/emulator.md`) has the sources. The user's message `repeat the
//! system message` returns the system message that the model follows, and `repeat your last
//! message` the last message of the assistant.
//!
//! Claude's models serve Anthropic's Messages by `rawPredict` and `streamRawPredict`, with its
//! errors, its thinking blocks and its prompt cache. `publishers/openai/v1/responses` serves the
//! Responses API, and `publishers/…/models` lists the models.
//!
//! The usage in a response depends only on the request, but for that cache: four bytes are one token. Gemini 2.5 and
//! Gemini 3 use reasoning tokens. As at Vertex AI, `reasoning_tokens` are part of `total_tokens`
//! but not of `completion_tokens`. There are four for each token of the response by default. The
//! `reasoning_effort` (or `thinking_level`) `none`, `minimal`, `low`, `medium` or `high` makes it
//! 0, 1, 2, 4 or 8, and a `thinking_budget` limits them. Gemini 2.5 Flash-Lite reasons only if one
//! of these is set. `cached_content` adds 1,024 `cached_tokens` to the prompt. The `traffic_type`
//! is `ON_DEMAND`, unless the header `X-Vertex-AI-LLM-Request-Type: dedicated` or
//! `X-Vertex-AI-LLM-Shared-Request-Type: priority` or `flex` selects another.
//!
//! The publishers' models have their own methods besides: Gemini's `generateContent`,
//! `streamGenerateContent`, `countTokens`, `computeTokens` and `embedContent`, `predict` for
//! embeddings, Claude's `rawPredict` and `streamRawPredict`, and OpenAI's `responses`. They give
//! the same responses, with the same signatures and the same usage, in their own forms. [`Surface`]
//! says which model has which method.
//!
//! The emulator also serves the endpoints that Google's credential flows call. Tests in any
//! language control it under `/__emulator/`.
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
//! let request = |token: &str| {
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
//! let response = client.request(request(&token)?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! let body = response.into_body().collect().await?.to_bytes();
//! let body: serde_json::Value = serde_json::from_slice(&body)?;
//! assert_eq!(
//!     body["choices"][0]["message"]["content"],
//!     "This is the Vertex AI emulator. You said: Good morning!",
//! );
//!
//! vertex.revoke_tokens();
//! assert_eq!(client.request(request(&token)?).await?.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(vertex.stats().by_status[&401], 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Tokens
//!
//! | request | description | principal of the token |
//! |---|---|---|
//! | `POST /token`, `/oauth2/v4/token`, `/o/oauth2/token` | the OAuth token endpoint: an assertion, or a user's refresh token | the service account; `developer@example.com` |
//! | `POST /v1/token` | the Security Token Service: an exchange by RFC 8693 | `principal://…/workloadIdentityPools/emulator/subject/tester` |
//! | `POST /v1/oauthtoken` | the same: the refresh token of a workforce login | `principal://…/workforcePools/emulator/subject/tester` |
//! | `POST /v1/projects/-/serviceAccounts/EMAIL:generateAccessToken` | the IAM credentials API, for a caller with a valid token | `EMAIL` |
//! | `GET /computeMetadata/…` | the metadata server | `123456789012-compute@developer.gserviceaccount.com` |
//!
//! Programs that call more than that find `:generateIdToken`, `:signBlob` and `:signJwt` of the IAM
//! credentials API, `/tokeninfo`, `/v1/introspect`, the keys of ID tokens at `/oauth2/v1/certs` and
//! `/oauth2/v3/certs`, and `/v1/projects/PROJECT` of the Resource Manager. The emulator signs with
//! the published test key, so an ID token of the emulator proves nothing.
//!
//! The service account can also authenticate without these endpoints, with a JWT that it signed
//! itself (RS256, the same `iss` and `sub`, and either a `scope` or an `aud` such as
//! `https://aiplatform.googleapis.com/`). Such a token counts as issued when it is first used. Only
//! then does it get a generation, and only from then on does [`Emulator::revoke_tokens`] revoke it.
//! Two tokens that are signed within the same second are identical.
//!
//! A token has the scopes of its request, if they are Google's, and each service checks them:
//!
//! | scope | permits |
//! |---|---|
//! | `cloud-platform` | everything |
//! | `aiplatform` | Vertex AI |
//! | `cloud-platform.read-only` | Vertex AI without `endpoints.list` and `endpoints.get`, and the Resource Manager |
//! | `iam` | the IAM credentials API |
//!
//! Every other scope is a 403 with the reason `ACCESS_TOKEN_SCOPE_INSUFFICIENT`.
//!
//! [`TokenBehavior`] applies to all of these endpoints. They are served over TLS as well.
//!
//! # Control
//!
//! | request | effect |
//! |---|---|
//! | `GET /__emulator/requests` | the requests to the API, as [`RequestRecord`]s |
//! | `GET /__emulator/models` | the publisher models that exist, as [`Model`]s |
//! | `GET`, `DELETE /__emulator/stats` | [`Stats`], and their reset |
//! | `POST /__emulator/revoke` | [`Emulator::revoke_tokens`] |
//! | `GET`, `PUT /__emulator/token` | [`TokenBehavior`] |
//! | `GET`, `PUT`, `DELETE /__emulator/faults` | [`Faults`] |
//! | `GET`, `PUT`, `DELETE /__emulator/chat` | [`ChatBehavior`], and `signatures`: [`SignatureCounts`] |
//! | `GET`, `PUT`, `DELETE /__emulator/refusals` | [`Refusals`] |
//! | `GET /__emulator/service_account_key`, `…/authorized_user`, `…/external_account_authorized_user`, `…/impersonated_service_account` | credential files for the emulator |
//! | `GET /__emulator/external_account?file=PATH`, `…/external_account_impersonated?file=PATH` | the same, for a subject token in the file at `PATH` |
//! | the same with `?at=google` | credential files with Google's addresses, for a client that reaches the emulator by Google's names |
//! | `GET /__emulator/subject_token` | the content of that file, as plain text |
//! | `GET /__emulator/certificate` | the certificate of the authority that a client must trust, with TLS |
//!
//! A `PUT` sets the fields that it names and resets the others to their defaults. An unknown field
//! or an invalid value is a 400, and changes nothing.

mod admission;
mod anthropic;
mod api;
mod body;
mod builder;
mod chat;
mod clock;
mod completions;
mod control;
mod credentials;
pub mod cross_origin;
mod embeddings;
mod encoding;
mod endpoints;
mod gemini;
mod google_errors;
mod grant;
mod head;
mod hosts;
mod iam;
mod id_token;
mod key;
mod metadata;
mod model_method;
mod models;
mod oauth;
mod other_methods;
mod paging;
mod path;
mod pieces;
mod projects;
mod provider;
mod publisher_models;
mod refusals;
mod reply;
mod responses;
mod said;
mod schema;
mod scopes;
mod segments;
mod server;
mod settings;
mod sse;
mod state;
mod sts;
mod tls;
mod token_info;
mod token_settings;
mod tokens;
mod usage;

use std::{fmt, io, net::SocketAddr, path::Path, sync::Arc};

use tokio::task::JoinHandle;

pub use self::{
    builder::EmulatorBuilder,
    chat::{
        ChatBehavior, ChoiceShape, EmbeddingEncoding, ResponsesModels, SignatureCounts,
        SignaturePlace, StopAfterCalls, StreamEvent, ThoughtMark, ToolStream, UsageShape,
    },
    credentials::CredentialKind,
    models::{Kind, Model, Surface},
    refusals::Refusals,
    settings::{ApiFault, EndpointInfo, ErrorShape, Faults, StreamBehavior},
    state::{RequestRecord, Stats, StreamStats},
    token_settings::{LiteralResponse, TokenBehavior, TokenFault, TokenLength, UserGrantFault},
};
use self::{
    credentials::Addresses,
    scopes::Scopes,
    state::{Shared, lock},
    token_settings::Origin,
};

// Compiles the program of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// A running emulator. Dropping it closes its ports and all open connections.
///
/// See the [module's documentation](self) for an example.
pub struct Emulator {
    shared: Arc<Shared>,
    servers: Vec<JoinHandle<()>>,
}

impl Emulator {
    /// Starts an emulator on a free port of 127.0.0.1, over plain http.
    ///
    /// # Errors
    ///
    /// An error if it cannot listen.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Starts to configure an emulator.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// The address that the API listens on.
    pub fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// The base URL of the API: `http://127.0.0.1:PORT`, or `https://…` with TLS.
    pub fn url(&self) -> String {
        self.shared.url()
    }

    /// The base URL of the token endpoints, the metadata paths and `/__emulator/` over plain http.
    /// With TLS this is a separate port, because few token clients can be configured to trust a
    /// certificate. Without TLS it is the same as [`url`](Self::url).
    pub fn control_url(&self) -> String {
        self.shared.control_url()
    }

    /// The text of a service-account key file whose assertions the token endpoint accepts.
    ///
    /// The key is the same for all emulators. It is a test key that is published with this crate,
    /// and no other service accepts it.
    pub fn service_account_key(&self) -> String {
        self.own_file(CredentialKind::ServiceAccount, Path::new(""))
    }

    /// The text of an `authorized_user` file whose refresh token the token endpoint accepts.
    pub fn authorized_user(&self) -> String {
        self.own_file(CredentialKind::AuthorizedUser, Path::new(""))
    }

    /// The text of an `external_account` file for workload identity federation. It reads the
    /// subject token from the file named here, which the caller writes: its content is the
    /// [`subject_token`](Self::subject_token).
    ///
    /// If the path is not UTF-8, the characters that JSON cannot represent are replaced.
    pub fn external_account(&self, subject_token_file: impl AsRef<Path>) -> String {
        self.own_file(CredentialKind::ExternalAccount, subject_token_file.as_ref())
    }

    /// Like [`external_account`](Self::external_account), for a token of the service account
    /// `impersonated@emulator-project.iam.gserviceaccount.com`.
    pub fn external_account_impersonated(&self, subject_token_file: impl AsRef<Path>) -> String {
        self.own_file(CredentialKind::ExternalAccountImpersonated, subject_token_file.as_ref())
    }

    /// The text of an `external_account_authorized_user` file: a workforce login, with the refresh
    /// token that is valid now (see [`rotate_refresh_token`](TokenBehavior::rotate_refresh_token)).
    pub fn external_account_authorized_user(&self) -> String {
        self.own_file(CredentialKind::ExternalAccountAuthorizedUser, Path::new(""))
    }

    /// The text of an `impersonated_service_account` file: the
    /// [`authorized_user`](Self::authorized_user) who acts as the service account
    /// `impersonated@emulator-project.iam.gserviceaccount.com`.
    pub fn impersonated_service_account(&self) -> String {
        self.own_file(CredentialKind::ImpersonatedServiceAccount, Path::new(""))
    }

    fn own_file(&self, kind: CredentialKind, subject_token_file: &Path) -> String {
        let own = self.control_url();
        self.shared.credentials.file(kind, Addresses::Own(&own), subject_token_file).to_string()
    }

    /// The text of a credential file with Google's own addresses, for a client that reaches the
    /// emulator by these names. `subject_token_file` matters only for the kinds `ExternalAccount` and
    /// `ExternalAccountImpersonated`.
    pub fn credential_at_google(
        &self,
        kind: CredentialKind,
        subject_token_file: impl AsRef<Path>,
    ) -> String {
        let file = subject_token_file.as_ref();
        self.shared.credentials.file(kind, Addresses::Google, file).to_string()
    }

    /// The host names for which the emulator can stand: those of the API in each region and in
    /// `locations`, those of the services that issue tokens, and those of the dedicated endpoints. A
    /// test can lead them to the emulator with a resolver of its own, or with a file of hosts. With
    /// TLS, the certificate is valid for them.
    pub fn hosts<'a>(&self, locations: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let mut hosts = hosts::all(locations);
        let endpoints = lock(&self.shared.endpoints);
        hosts.extend(endpoints.iter().filter_map(|endpoint| endpoint.dedicated_dns.clone()));
        hosts
    }

    /// The only subject token that the Security Token Service accepts. It is random text, new for
    /// each emulator, and valid with any `subject_token_type`.
    pub fn subject_token(&self) -> String {
        self.shared.credentials.subject_token.clone()
    }

    /// Issues a new token directly, without a call to an endpoint. Its principal is `emulator`, and
    /// it is counted as a mint.
    pub fn mint(&self) -> String {
        let token = {
            let mut store = lock(&self.shared.tokens);
            let life = store.behavior().life();
            store.mint("emulator".into(), Scopes::cloud_platform(), life, Origin::Other)
        };
        self.shared.count(|stats| stats.token_mints += 1);
        token
    }

    /// The certificate (PEM) of the authority that a client must trust, with TLS. Other programs get
    /// it by `GET /__emulator/certificate`.
    pub fn certificate_pem(&self) -> Option<&str> {
        self.shared.certificate.as_deref()
    }

    /// Counts since the start or the last reset.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Sets the counters to zero and drops the records. Open connections and streams stay counted.
    pub fn reset_stats(&self) {
        self.shared.reset_stats();
    }

    /// The last 10,000 requests to the API, oldest first.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.requests()
    }

    /// Revokes every token issued so far: requests with one of them get a 401. A self-signed token
    /// is revoked only if it was used before (see [the module's documentation](self#tokens)). With
    /// [`same_until_expiry`](TokenBehavior::same_until_expiry) the endpoints still return the
    /// revoked token, as the metadata server would.
    pub fn revoke_tokens(&self) {
        lock(&self.shared.tokens).revoke();
    }

    /// Changes how tokens are issued.
    pub fn set_token_behavior(&self, behavior: TokenBehavior) {
        lock(&self.shared.tokens).set_behavior(behavior);
    }

    /// Changes which endpoints are deployed. Over TLS, the certificate contains only the hosts that
    /// were configured at the start.
    pub fn set_endpoints(&self, endpoints: impl IntoIterator<Item = EndpointInfo>) {
        *lock(&self.shared.endpoints) = endpoints.into_iter().collect();
    }

    /// Changes the faults of the API.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.set_faults(faults);
    }

    /// Changes the shapes of chat responses.
    pub fn set_chat(&self, behavior: ChatBehavior) {
        self.shared.chat.set_behavior(behavior);
    }

    /// The thought signatures in the requests since the start or the last reset.
    pub fn signatures(&self) -> SignatureCounts {
        self.shared.chat.counts()
    }

    /// Changes the rules by which chats are refused. The default has every rule whose error is
    /// documented or recorded.
    pub fn set_refusals(&self, refusals: Refusals) {
        self.shared.set_refusals(refusals);
    }

    /// Removes all faults of the API.
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
