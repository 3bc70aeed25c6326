use std::{
    fmt,
    task::{Context, Poll},
};

use http::Request;
use http_body::Body;
use hyper_util::{
    client::legacy::{Client, Error as ClientError, ResponseFuture},
    rt::{TokioExecutor, TokioTimer},
};
use tower::Service;

use crate::{
    BoxError,
    connect::{Connector, Network},
    error::Error,
};

/// hyper-util's client, with TLS by rustls and `ring`, the system's root certificates and the
/// environment's proxies, or those of a [`Network`]. It uses HTTP/1.1 over pooled connections,
/// which clones share. It also sends requests to `http` URLs, such as an emulator's.
///
/// It follows no redirects, and its only time limit is 10 s for a connection. The time limit for a
/// response depends on the program, so it belongs in a layer of yours.
///
/// `B` is the body of its requests. Inside the layers, that is a
/// [`ReplayBody`](crate::replay::ReplayBody) of the body that the layers take. The compiler infers
/// it.
pub struct HyperClient<B> {
    inner: Client<Connector, B>,
    network: Network,
}

impl<B: Body<Data: Send> + Send> HyperClient<B> {
    /// A client for [`Network::from_env`]. It reads the system's root certificates, which takes
    /// some milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there are none, or if a variable names a proxy that cannot be used.
    pub fn new() -> Result<Self, Error> {
        Ok(Self::with_network(&Network::from_env()?))
    }

    /// A client for another network.
    pub fn with_network(network: &Network) -> Self {
        let inner = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build(network.connector());
        Self { inner, network: network.clone() }
    }
}

impl<B> Service<Request<B>> for HyperClient<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = <Client<Connector, B> as Service<Request<B>>>::Response;
    type Error = ClientError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        if let Some(uri) = self.network.mtls_uri(request.uri()) {
            *request.uri_mut() = uri;
        }
        self.inner.request(request)
    }
}

impl<B> Clone for HyperClient<B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), network: self.network.clone() }
    }
}

impl<B> fmt::Debug for HyperClient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperClient").finish_non_exhaustive()
    }
}
