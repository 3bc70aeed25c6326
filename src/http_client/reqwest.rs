use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::reqwest::{Client, ClientBuilder, Error, redirect::Policy};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower::Service;

use crate::BoxError;

/// A [`reqwest::Client`](Client) as the inner service.
///
/// ```
/// use reqwest::{Client, redirect::Policy};
/// use tower::ServiceBuilder;
/// use tower_vertex::{
///     auth::VertexAuthLayer,
///     http_client::ReqwestClient,
///     route::{Upstream, VertexRouteLayer},
///     token::StaticToken,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_vertex::BoxError> {
/// # let _ = rustls::crypto::ring::default_provider().install_default();
/// let vertex = ServiceBuilder::new()
///     .layer(VertexRouteLayer::new(Upstream::new("my-project", "global")?))
///     .layer(VertexAuthLayer::new(StaticToken::new("ya29.example")?))
///     .service(ReqwestClient::build(Client::builder())?);
/// # use tower::ServiceExt;
/// # let request = http::Request::get("/v1/files").body(reqwest::Body::default())?;
/// # assert!(vertex.oneshot(request).await.is_err(), "no such method");
/// # Ok(())
/// # }
/// ```
///
/// Its bodies are reqwest's, and its answers turn into a [`reqwest::Response`](::reqwest::Response) by
/// `into()`, for `json()` and the like. The body of a request must be `Sync`, as a
/// [`ReplayBody`](crate::replay::ReplayBody) is if the body in it is.
///
/// `B` is the body of the requests that it is given, which the compiler infers.
pub struct ReqwestClient<B> {
    client: Client,
    body: PhantomData<fn(B)>,
}

impl<B> ReqwestClient<B> {
    /// Builds the client, without redirects: reqwest would follow them out of the layers' sight, with
    /// the token to another path of the host, and to hosts that they do not trust.
    ///
    /// # Errors
    ///
    /// What [`ClientBuilder::build`] says.
    pub fn build(builder: ClientBuilder) -> Result<Self, Error> {
        Ok(Self::new(builder.redirect(Policy::none()).build()?))
    }

    /// A client that is there already. It should have [`Policy::none`], see [`build`](Self::build).
    pub fn new(client: Client) -> Self {
        Self { client, body: PhantomData }
    }

    /// The client in it.
    pub fn get_ref(&self) -> &Client {
        &self.client
    }
}

impl<B> Service<Request<B>> for ReqwestClient<B>
where
    B: Body<Data: Into<Bytes>, Error: Into<BoxError>> + Send + Sync + 'static,
{
    type Response = Response<::reqwest::Body>;
    type Error = Error;
    type Future = ReqwestFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> ReqwestFuture {
        match request.map(::reqwest::Body::wrap).try_into() {
            Ok(request) => ReqwestFuture(State::Sent(self.client.call(request))),
            Err(error) => ReqwestFuture(State::Failed(Some(error))),
        }
    }
}

impl<B> Clone for ReqwestClient<B> {
    fn clone(&self) -> Self {
        Self::new(self.client.clone())
    }
}

impl<B> fmt::Debug for ReqwestClient<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestClient").finish_non_exhaustive()
    }
}

/// The future of [`ReqwestClient`].
#[pin_project]
pub struct ReqwestFuture(#[pin] State);

#[pin_project(project = StateProj)]
enum State {
    Sent(#[pin] <Client as Service<::reqwest::Request>>::Future),
    /// reqwest knows no such URL.
    Failed(Option<Error>),
}

impl Future for ReqwestFuture {
    type Output = Result<Response<::reqwest::Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProj::Sent(response) => Poll::Ready(ready!(response.poll(cx)).map(Response::from)),
            StateProj::Failed(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error)),
                None => Poll::Pending,
            },
        }
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}
