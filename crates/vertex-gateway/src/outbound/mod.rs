//! The HTTP/1.1 client for Vertex AI, with one connection for each request in flight.
//!
//! One HTTP/2 connection to Vertex AI carries 100 streams, and the next request would have to wait.
//! An HTTP/1.1 connection carries one request at a time and is reused for the next one. The module
//! [`pool`] says which connections are kept, and for how long.
//!
//! hyper-util's client does the same and more, but it spawns a task for each request. Measured
//! by callgrind, it takes more than a quarter of all instructions of a proxy that only forwards.

mod body;
mod connector;
mod head;
mod pool;
#[cfg(test)]
pub(crate) mod simulated;

use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use clap::Args;
use http::{HeaderValue, Request, Response, Uri, header, uri::PathAndQuery};
use http_body::Body;
use hyper::body::Incoming;
use tower::Service;

#[cfg(feature = "ext-authz")]
pub(crate) use self::head::is_about_a_host;
pub(crate) use self::{
    body::UpstreamBody,
    connector::{CONNECT_TIMEOUT, ConnectError},
    head::stream_headers,
};
use self::{
    connector::Connector,
    head::settle,
    pool::{Lease, Pool, PoolKey},
};
use super::{
    telemetry::Connections,
    values::{time, timeout},
};
use tower_vertex::{BoxError, connect::Network};

/// The options about connections to Vertex AI.
#[derive(Clone, Debug, Args)]
pub struct OutboundOptions {
    /// Age at which a connection to Vertex AI takes no new requests, so that a changed DNS name is
    /// followed; requests in flight are not cut. 0 for no limit
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_UPSTREAM_CONNECTION_LIFETIME",
        default_value = "5m",
        value_parser = time(Duration::ZERO)
    )]
    pub upstream_connection_lifetime: Duration,
}

impl OutboundOptions {
    pub(crate) fn lifetime(&self) -> Option<Duration> {
        timeout(self.upstream_connection_lifetime)
    }
}

/// Sends requests with bodies `B` to the scheme and authority of their URIs. Clones share the
/// connections.
pub(crate) struct Outbound<B>(Arc<Inner<B>>);

type SendResult<B> = Result<Response<UpstreamBody<B>>, BoxError>;

struct Inner<B> {
    connector: Connector,
    network: Network,
    pool: Arc<Pool<B>>,
}

impl<B> Clone for Outbound<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> Outbound<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// A client whose connections are counted in `connections`. A connection takes requests for
    /// `lifetime`.
    pub(crate) fn new(
        connections: &Connections,
        lifetime: Option<Duration>,
        network: &Network,
    ) -> Self {
        let connector = Connector::new(connections, network);
        Self(Arc::new(Inner {
            connector,
            network: network.clone(),
            pool: Arc::new(Pool::new(lifetime)),
        }))
    }

    /// A client for the few requests of a command.
    pub(crate) fn for_a_while(network: &Network) -> Self {
        Self::new(&Connections::default(), None, network)
    }
}

impl<B> Service<Request<B>> for Outbound<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<UpstreamBody<B>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = SendResult<B>> + Send>>;

    /// Always ready, because each request has its own connection.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(uri) = self.0.network.mtls_uri(request.uri()) {
            *request.uri_mut() = uri;
        }
        let place = match prepare(&mut request) {
            Ok(place) => place,
            Err(error) => return Box::pin(ready(Err(error.into()))),
        };
        let shared = Arc::clone(&self.0);
        match shared.pool.take(&place) {
            Some(lease) => Box::pin(shared.send_again(place, lease, request)),
            None => Box::pin(shared.send_on_new_connection(place, request)),
        }
    }
}

/// Makes the request fit for a connection to its server: the URI has only a path (RFC 9112 §3.2.1).
fn prepare<B>(request: &mut Request<B>) -> Result<PoolKey, ConnectError> {
    let place = PoolKey::of(request.uri()).ok_or(ConnectError::NoHost)?;
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if !request.headers().contains_key(header::HOST) {
        request.headers_mut().insert(header::HOST, place.host()?);
    }
    Ok(place)
}

/// The response with the headers and the body to forward. On an error its connection is closed.
fn answered<B>(mut response: Response<Incoming>, lease: Lease<B>) -> SendResult<B>
where
    B: Send + 'static,
{
    settle(&mut response)?;
    Ok(response.map(|body| UpstreamBody::new(body, lease)))
}

impl<B> Inner<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// Sends the request over a connection that was used before. This is not an `async fn`, so that
    /// the request is passed to the connection at once and is not stored in the future.
    fn send_again(
        self: Arc<Self>,
        place: PoolKey,
        mut lease: Lease<B>,
        request: Request<B>,
    ) -> impl Future<Output = SendResult<B>> + Send {
        let answer = lease.sender().try_send_request(request);
        async move {
            match answer.await {
                Ok(response) => answered(response, lease),
                Err(mut error) => match error.take_message() {
                    // The connection was closed while it was idle, and no byte was sent.
                    Some(unsent) => Box::pin(self.send_on_new_connection(place, unsent)).await,
                    None => Err(error.into_error().into()),
                },
            }
        }
    }

    /// Sends the request over a new connection, or over one that becomes free first.
    async fn send_on_new_connection(
        self: Arc<Self>,
        place: PoolKey,
        mut request: Request<B>,
    ) -> SendResult<B> {
        loop {
            let (mut lease, is_new) = self.connection(&place).await?;
            match lease.sender().try_send_request(request).await {
                Ok(response) => return answered(response, lease),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if !is_new => request = unsent,
                    _ => return Err(error.into_error().into()),
                },
            }
        }
    }

    /// Returns a connection, and whether it is new.
    async fn connection(
        self: &Arc<Self>,
        place: &PoolKey,
    ) -> Result<(Lease<B>, bool), ConnectError> {
        let mut freed = match self.pool.take_or_wait(place) {
            Ok(lease) => return Ok((lease, false)),
            Err(freed) => freed,
        };
        let (shared, there) = (Arc::clone(self), place.clone());
        let mut connecting = Box::pin(async move {
            let sender = shared.connector.connect(&there).await?;
            Ok(shared.pool.lease(there, sender))
        });
        tokio::select! {
            biased;
            Ok(lease) = &mut freed => {
                // The next request uses the connection that is being opened.
                tokio::spawn(async move { connecting.await.map(Lease::give_back) });
                Ok((lease, false))
            }
            made = &mut connecting => made.map(|lease| (lease, true)),
        }
    }
}

impl<B> fmt::Debug for Outbound<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").finish_non_exhaustive()
    }
}

impl PoolKey {
    /// The value of `Host`, without the default port of the scheme.
    fn host(&self) -> Result<HeaderValue, ConnectError> {
        let authority = self.authority();
        let is_usual = matches!(
            (self.is_https(), authority.port_u16()),
            (true, Some(443)) | (false, Some(80))
        );
        let host = if is_usual { authority.host() } else { authority.as_str() };
        HeaderValue::from_str(host).map_err(|_| ConnectError::NoHost)
    }
}
