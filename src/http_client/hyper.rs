use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, Error as ClientError, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio_rustls::rustls::crypto::ring;
use tower::Service;

use crate::{
    BoxError,
    error::{ConfigError, Error},
};

/// hyper-util's client, with TLS by rustls and `ring`, and the system's root certificates. It uses
/// HTTP/1.1 over pooled connections, which clones share. It also sends requests to `http` URLs,
/// such as an emulator's.
///
/// It follows no redirects, and its only time limit is 10 s for a connection. The time limit for a
/// response depends on the program, so it belongs in a layer of yours.
///
/// `B` is the body of its requests. Inside the layers, that is a
/// [`ReplayBody`](crate::replay::ReplayBody) of the body that the layers take. The compiler infers
/// it.
pub struct HyperClient<B> {
    inner: Client<HttpsConnector<HttpConnector>, B>,
}

impl<B: Body<Data: Send> + Send> HyperClient<B> {
    /// Reads the system's root certificates, which takes some milliseconds.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there are none.
    pub fn new() -> Result<Self, Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        // With Nagle's algorithm, the small frames of a request would wait for acknowledgements.
        http.set_nodelay(true);
        http.set_connect_timeout(Some(Duration::from_secs(10)));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(ring::default_provider())
            .map_err(|_| {
                ConfigError::missing("root certificates", "install the package ca-certificates")
            })?
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let inner =
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
        Ok(Self { inner })
    }
}

impl<B> Service<Request<B>> for HyperClient<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Response = <Client<HttpsConnector<HttpConnector>, B> as Service<Request<B>>>::Response;
    type Error = ClientError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.inner.request(request)
    }
}

impl<B> Clone for HyperClient<B> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<B> fmt::Debug for HyperClient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HyperClient").finish_non_exhaustive()
    }
}
