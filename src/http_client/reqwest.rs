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

use crate::{BoxError, polled::AFTER_READY};

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
/// let builder = Client::builder();
/// # // The host resolves to this machine, which has no such server: the client cannot connect.
/// # let builder = builder.no_proxy().resolve("aiplatform.googleapis.com", ([127, 0, 0, 1], 443).into());
/// let vertex = ServiceBuilder::new()
///     .layer(VertexRouteLayer::new(Upstream::new("my-project", "global")?))
///     .layer(VertexAuthLayer::new(StaticToken::new("ya29.example")?))
///     .service(ReqwestClient::build(builder)?);
/// # use tower::ServiceExt;
/// # let request = http::Request::post("/v1/chat/completions").body(reqwest::Body::default())?;
/// # let error = vertex.oneshot(request).await.unwrap_err();
/// # assert!(error.downcast_ref::<reqwest::Error>().is_some_and(|error| error.is_connect()));
/// # Ok(())
/// # }
/// ```
///
/// Its bodies are reqwest's, and its responses turn into a
/// [`reqwest::Response`](::reqwest::Response) by `into()`, for `json()` and the like. The body of a
/// request must be `Sync`, as a [`ReplayBody`](crate::replay::ReplayBody) is if the body in it is.
///
/// Its errors do not name the URL, as reqwest's own do: the URL contains the project and the query,
/// and these would get into logs.
///
/// `B` is the body of its requests. The compiler infers it.
pub struct ReqwestClient<B> {
    client: Client,
    body: PhantomData<fn(B)>,
}

impl<B> ReqwestClient<B> {
    /// Builds the client, without redirects. reqwest would follow them without the layers, and send
    /// the token to another path of the host, and to hosts that the layers do not trust.
    ///
    /// # Errors
    ///
    /// The errors of [`ClientBuilder::build`].
    pub fn build(builder: ClientBuilder) -> Result<Self, Error> {
        Ok(Self::new(builder.redirect(Policy::none()).build()?))
    }

    /// Wraps an existing client. It should have [`Policy::none`], see [`build`](Self::build).
    pub fn new(client: Client) -> Self {
        Self { client, body: PhantomData }
    }

    /// The wrapped client.
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
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ReqwestFuture(#[pin] State);

#[pin_project(project = StateProj)]
enum State {
    Sent(#[pin] <Client as Service<::reqwest::Request>>::Future),
    /// reqwest does not support such a URL.
    Failed(Option<Error>),
}

impl Future for ReqwestFuture {
    type Output = Result<Response<::reqwest::Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProj::Sent(response) => {
                let response = ready!(response.poll(cx));
                Poll::Ready(response.map(Response::from).map_err(Error::without_url))
            }
            StateProj::Failed(error) => match error.take() {
                Some(error) => Poll::Ready(Err(error.without_url())),
                None => panic!("{AFTER_READY}"),
            },
        }
    }
}

impl fmt::Debug for ReqwestFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReqwestFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;

    /// The URL has the project, the endpoint and text of a client.
    #[tokio::test]
    async fn an_error_does_not_name_the_url() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nowhere = socket.local_addr().unwrap();
        drop(socket);
        for url in [format!("http://{nowhere}/my-project?SECRET"), "ftp://my-project/SECRET".into()]
        {
            let client = ReqwestClient::build(Client::builder().no_proxy()).unwrap();
            let error = client.oneshot(Request::get(url).body(String::new()).unwrap());
            let error = error.await.unwrap_err();
            assert!(error.url().is_none());
            let text = format!("{error} {error:?}");
            assert!(!text.contains("my-project") && !text.contains("SECRET"), "{text}");
        }
    }
}
