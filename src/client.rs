//! A complete client of Vertex AI: credentials, layers, and an HTTP client with TLS.
//!
//! [`Client::from_env`] is one line for most programs. [`Client::new`] takes the upstream and the
//! source of tokens from the program. Inside are [`VertexErrorLayer`],
//! [`VertexRouteLayer`](crate::route::VertexRouteLayer) and [`VertexAuthLayer`], with their default
//! settings, around [`HyperClient`]. A program that needs other settings, or another HTTP client,
//! uses the layers themselves, which [`ServiceBuilderExt`] adds.
//!
//! A client takes requests in the form of an OpenAI client, with only the path in their URL.
//! [`Client::send`] takes simple bodies, and a response's [`Body`] is read by methods of its own. A
//! client is a [`Service`] too, for bodies of any type, so that other layers can wrap it.
//!
//! # Example
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_vertex::BoxError> {
//! use http::Request;
//! use tower_vertex::{Client, route::Upstream, token::GcpAuth};
//! use tower_vertex_emulator::Emulator;
//!
//! // With Vertex AI, the next four lines are `let vertex = Client::from_env().await?;`.
//! let emulator = Emulator::start().await?;
//! let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
//! let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
//! let vertex = Client::new(upstream.build()?, source)?;
//!
//! let request = Request::post("/v1/chat/completions")
//!     .header("content-type", "application/json")
//!     .body(r#"{"model": "google/gemini-2.5-flash",
//!               "messages": [{"role": "user", "content": "hello"}]}"#)?;
//! let response = vertex.send(request).await?;
//! assert_eq!(response.status(), 200);
//! assert!(response.into_body().text().await?.contains("You said: hello"));
//! # Ok(())
//! # }
//! ```

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project::pin_project;
use tower::{Service, ServiceBuilder, ServiceExt as _};

pub use self::body::{Body, BodyTooLong};
use crate::{
    BoxError, Error,
    auth::{VertexAuth, VertexAuthLayer},
    error_format::{VertexError, VertexErrorLayer},
    ext::{ServiceBuilderExt, trusting},
    http_client::HyperClient,
    replay::ReplayBody,
    route::{Upstream, UpstreamBuilder, VertexRoute},
    token::{Credentials, TokenCache, TokenSource},
};

mod body;

/// The layers and the HTTP client.
pub(crate) type Stack = VertexError<VertexRoute<VertexAuth<HyperClient<ReplayBody<Body>>>>>;

/// A complete client of Vertex AI. See the [module](self) for an example.
///
/// Clones share connections and the access token, and are cheap to make.
#[derive(Clone)]
pub struct Client {
    stack: Stack,
    upstream: Upstream,
    cache: TokenCache,
}

impl Client {
    /// A client for the credentials that [`Credentials::detect`] finds, and for the project, the
    /// location and the endpoint that [`Upstream::from_env`] finds. If no variable names a project,
    /// it is that of the credentials, which a service account's key and a metadata server know.
    ///
    /// No access token is fetched yet: the first request does that, or
    /// [`TokenCache::warm_up`] of [`cache`](Self::cache).
    ///
    /// # Errors
    ///
    /// - [`Error::Config`] if there is no project or no location, if one of them cannot be part of
    ///   a URL, or if the system has no root certificates.
    /// - [`Error::Credentials`] if no credentials were found, or if those that were found cannot be
    ///   used.
    pub async fn from_env() -> Result<Self, Error> {
        let mut builder = UpstreamBuilder::from_env();
        let project_known = builder.has_project();
        // The search for credentials can take seconds, so errors in other settings are reported
        // first.
        match project_known {
            true => builder.clone().build()?,
            false => builder.clone().project("unknown").build()?,
        };
        let credentials = Credentials::builder().project_known(project_known).detect().await?;
        let info = credentials.info();
        if let Some(project) = info.project_id().filter(|_| !project_known) {
            builder = builder.project(project);
        }
        if let Some(domain) = info.universe_domain() {
            builder = builder.universe_domain(domain);
        }
        Self::new(builder.build()?, credentials)
    }

    /// A client for `upstream` and the tokens of `source`.
    ///
    /// The token is sent to Vertex AI's hosts and to the origin of `upstream`, as
    /// [`ServiceBuilderExt::vertex`] explains.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the system has no root certificates.
    pub fn new(upstream: Upstream, source: impl TokenSource) -> Result<Self, Error> {
        let cache = TokenCache::new(source);
        let auth = trusting(VertexAuthLayer::with_cache(cache.clone()), &upstream);
        let stack = ServiceBuilder::new()
            .layer(VertexErrorLayer::new())
            .vertex_route(upstream.clone())
            .layer(auth)
            .service(HyperClient::new()?);
        Ok(Self { stack, upstream, cache })
    }

    /// Sends a request with a body of a simple type: [`String`], `&'static str`, `Vec<u8>`,
    /// [`Bytes`](bytes::Bytes), `()` for none, or a [`Body`].
    ///
    /// An error status of Vertex AI is not an `Err`: its response has a body in OpenAI's form.
    ///
    /// # Errors
    ///
    /// An [`Error`] if the request was not sent, because there is no token or no such path; or the
    /// error of the HTTP client.
    pub async fn send<B: Into<Body>>(
        &self,
        request: Request<B>,
    ) -> Result<Response<Body>, BoxError> {
        let response = self.stack.clone().oneshot(request.map(Into::into)).await?;
        Ok(response.map(Body::new))
    }

    /// The layers. The body of their response is `Sync`.
    #[cfg(feature = "async-openai")]
    pub(crate) fn into_stack(self) -> Stack {
        self.stack
    }

    /// The upstream of the requests.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The cache of the access tokens, to [`warm_up`](TokenCache::warm_up), to share or to observe.
    pub fn cache(&self) -> &TokenCache {
        &self.cache
    }
}

impl<B> Service<Request<B>> for Client
where
    B: http_body::Body + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        ResponseFuture(self.stack.call(request.map(Body::new)))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("upstream", &self.upstream)
            .field("cache", &self.cache)
            .finish_non_exhaustive()
    }
}

/// The future of [`Client`].
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture(#[pin] <Stack as Service<Request<Body>>>::Future);

impl Future for ResponseFuture {
    type Output = Result<Response<Body>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().0.poll(cx))?;
        Poll::Ready(Ok(response.map(Body::new)))
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
