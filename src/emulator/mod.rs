//! Vertex AI on loopback: the OpenAI-compatible surface, its tokens, its errors and its limits,
//! for tests and demonstrations without a cloud.
//!
//! It checks what the service checks, in the order in which the service does it: host and path,
//! then the credential, and only then the body. Answers echo what was said and say that they come
//! from the emulator. Beside the API it serves an OAuth token endpoint (`/token`), the paths of
//! the metadata server (`/computeMetadata/`), and, for tests in any language, control over itself
//! under `/__emulator/`.
//!
//! # Example
//!
//! ```
//! use http::{Request, StatusCode};
//! use http_body_util::{BodyExt, Full};
//! use hyper_util::{client::legacy::Client, rt::TokioExecutor};
//! use tower_vertex::emulator::Emulator;
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
//! # Control
//!
//! | request | what it does |
//! |---|---|
//! | `GET /__emulator/requests` | what arrived at the API, as [`RequestRecord`]s |
//! | `GET`, `DELETE /__emulator/stats` | [`Stats`], and their reset |
//! | `POST /__emulator/revoke` | [`Emulator::revoke_tokens`] |
//! | `GET`, `PUT /__emulator/token` | [`TokenBehavior`] |
//! | `GET`, `PUT`, `DELETE /__emulator/faults` | [`Faults`] |
//! | `GET /__emulator/service_account_key`, `…/authorized_user` | credential files for it |
//!
//! A `PUT` sets what it names and returns the rest to its default. An unknown field or a value
//! that cannot be is a 400, and changes nothing.

mod admission;
mod answers;
mod api;
mod body;
mod control;
mod endpoints;
mod google_errors;
mod key;
mod oauth;
mod path;
mod server;
mod settings;
mod sse;
mod state;
mod tls;
mod tokens;

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{net::TcpListener, task::JoinHandle};

use self::{
    server::Port,
    state::{Shared, lock},
};
pub use self::{
    settings::{
        ApiFault, EndpointInfo, ErrorShape, Faults, LiteralResponse, StreamBehavior, TokenBehavior,
        TokenFault,
    },
    state::{RequestRecord, Stats, StreamStats},
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

    /// The base of `/token`, the metadata paths and `/__emulator/` over plain http. With TLS it is
    /// a port of its own, because few token clients can be made to trust a certificate; without,
    /// it is the same as [`url`](Self::url).
    pub fn control_url(&self) -> String {
        self.shared.control_url()
    }

    /// The text of a service-account key file whose assertions the token endpoint accepts.
    ///
    /// The first call in a process makes the key, which blocks for about a third of a second.
    pub fn service_account_key(&self) -> String {
        key::service_account(&self.token_uri()).to_string()
    }

    /// The text of an `authorized_user` file whose refresh token the token endpoint accepts.
    pub fn authorized_user(&self) -> String {
        self.shared.user.file(&self.token_uri()).to_string()
    }

    fn token_uri(&self) -> String {
        format!("{}/token", self.control_url())
    }

    /// A new token, without the way through the token endpoint. Counted as a mint.
    pub fn mint(&self) -> String {
        let token = lock(&self.shared.tokens).mint();
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

    /// From now on every token issued so far gets a 401. With
    /// [`same_until_expiry`](TokenBehavior::same_until_expiry) the dead token is still handed
    /// out, as the metadata server would.
    pub fn revoke_tokens(&self) {
        lock(&self.shared.tokens).revoke();
    }

    /// Changes how tokens are issued.
    pub fn set_token_behavior(&self, behavior: TokenBehavior) {
        lock(&self.shared.tokens).set_behavior(behavior);
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

/// Settings of an [`Emulator`].
#[derive(Clone, Debug)]
pub struct EmulatorBuilder {
    listen: SocketAddr,
    tls: bool,
    host_aware: bool,
    endpoints: Vec<EndpointInfo>,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: false,
            host_aware: false,
            endpoints: endpoints::default_list(),
        }
    }
}

impl EmulatorBuilder {
    /// Where to listen; 127.0.0.1 and a free port by default.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// Serves the API over TLS, HTTP/1.1 and HTTP/2 by ALPN, with a certificate made at start
    /// (see [`Emulator::certificate_pem`]) for `localhost`, the loopback addresses and Google's
    /// names. A second port serves tokens and control over plain http
    /// (see [`Emulator::control_url`]).
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Serves the API only at the host that the location in the path has on the real service, so
    /// that a client reaching the emulator through a connector or a resolver of its own is found
    /// out when it is wrong. Loopback addresses are unknown hosts then. Tokens, metadata and
    /// control answer at any host.
    #[must_use]
    pub fn host_aware(mut self, host_aware: bool) -> Self {
        self.host_aware = host_aware;
        self
    }

    /// Lists one more endpoint, or replaces the one with the same id. The list begins with a
    /// shared and a dedicated endpoint in `us-central1`; an id that is not in it is served as
    /// well, as a shared one.
    #[must_use]
    pub fn endpoint(mut self, endpoint: EndpointInfo) -> Self {
        self.endpoints.retain(|known| known.id != endpoint.id);
        self.endpoints.push(endpoint);
        self
    }

    /// Starts it on the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// When it cannot listen, or when a dedicated endpoint's host is no name for a certificate.
    pub async fn start(self) -> io::Result<Emulator> {
        let Self { listen, tls, host_aware, endpoints } = self;
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        if !tls {
            let shared = Arc::new(Shared::new(addr, addr, tls, host_aware, endpoints));
            let server = tokio::spawn(server::run(listener, Port::Plain, shared.clone()));
            return Ok(Emulator { shared, certificate: None, servers: vec![server] });
        }
        let (acceptor, certificate) = tls::acceptor(&endpoints)?;
        let control = TcpListener::bind((addr.ip(), 0)).await?;
        let control_addr = control.local_addr()?;
        let shared = Arc::new(Shared::new(addr, control_addr, tls, host_aware, endpoints));
        let servers = vec![
            tokio::spawn(server::run(listener, Port::Tls(acceptor), shared.clone())),
            tokio::spawn(server::run(control, Port::Control, shared.clone())),
        ];
        Ok(Emulator { shared, certificate: Some(certificate), servers })
    }
}
