//! gRPC: the auth layer over tonic's channel, against a tonic server in the same program.
//!
//! `cargo run --example tonic_channel` revokes the token between two calls. The server rejects the old
//! token with UNAUTHENTICATED, and the layer fetches a new one and sends the call again.
//!
//! With generated clients it is the same: `ServiceClient::with_origin(channel, origin)`.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BufMut};
use tokio_stream::{Iter, StreamExt as _};
use tonic::{
    Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    server::NamedService,
    transport::{Endpoint, Server, server::TcpIncoming},
};
use tower::{BoxError, Service, ServiceBuilder, service_fn};
use tower_vertex::{
    auth::{RefreshOutcome, Trust, VertexAuthLayer},
    replay::ReplayBody,
    token::{AccessToken, token_fn},
};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let echo = Echo::default();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse()?)?;
    let origin = format!("http://{}", incoming.local_addr()?);
    tokio::spawn(Server::builder().add_service(echo.clone()).serve_with_incoming(incoming));

    // For Google: `Credentials::detect().await?`, and no `trust` for the origin
    // https://aiplatform.googleapis.com, or `Trust::google_apis()` for those of other APIs.
    let number = AtomicU32::new(0);
    let source = token_fn(move |_| {
        let number = number.fetch_add(1, SeqCst) + 1;
        async move { Ok(AccessToken::new(format!("t{number}"), Some(Duration::from_secs(3600)))?) }
    });
    let auth = VertexAuthLayer::new(source).trust(Trust::origin(&origin)?);

    let channel = ServiceBuilder::new()
        .layer(auth)
        // The channel takes tonic's own body.
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(Endpoint::from_shared(origin.clone())?.connect_lazy());
    // The layer checks the origin of the client. It must be that of the channel.
    let mut client = tonic::client::Grpc::with_origin(channel, origin.parse()?);

    for text in ["hello", "still there?"] {
        client.ready().await?;
        let path = http::uri::PathAndQuery::from_static("/example.Echo/Say");
        let response = client.unary(Request::new(text.to_owned()), path, Text).await?;
        if let Some(RefreshOutcome::Replayed) = response.extensions().get() {
            println!("(with a new token, at the second attempt)");
        }
        println!("{}", response.into_inner());
        echo.revoke_tokens();
    }

    client.ready().await?;
    let path = http::uri::PathAndQuery::from_static("/example.Echo/Count");
    let response = client.server_streaming(Request::new("abc".to_owned()), path, Text).await?;
    let words: Result<Vec<String>, Status> = response.into_inner().collect().await;
    println!("{}", words?.join(" "));

    let (accepted, rejected) = (echo.accepted.lock().unwrap().clone(), echo.rejected.load(SeqCst));
    assert_eq!(accepted, ["hello", "still there?", "abc"], "each call was accepted once");
    assert_eq!(rejected, 2, "each revoked token was sent once");
    println!("the server accepted {} calls and rejected {rejected}", accepted.len());
    Ok(())
}

/// A service that repeats texts. It accepts tokens from a number on.
#[derive(Clone, Default)]
struct Echo {
    first_token: Arc<AtomicU32>,
    accepted: Arc<Mutex<Vec<String>>>,
    rejected: Arc<AtomicU32>,
}

impl Echo {
    fn revoke_tokens(&self) {
        self.first_token.fetch_add(1, SeqCst);
    }

    fn check<B>(&self, request: &http::Request<B>) -> Result<(), Status> {
        let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        let number = token.and_then(|token| token.strip_prefix("Bearer t")?.parse::<u32>().ok());
        // The first token is t1.
        if number.is_some_and(|number| number > self.first_token.load(SeqCst)) {
            return Ok(());
        }
        self.rejected.fetch_add(1, SeqCst);
        Err(Status::unauthenticated("the token was revoked"))
    }

    fn say(&self, text: String) -> Result<Response<String>, Status> {
        let said = format!("You said: {text}");
        self.accepted.lock().unwrap().push(text);
        Ok(Response::new(said))
    }

    fn count(&self, text: String) -> Result<Response<Iter<Letters>>, Status> {
        let letters: Vec<_> = text.chars().map(|letter| Ok(letter.to_string())).collect();
        self.accepted.lock().unwrap().push(text);
        Ok(Response::new(tokio_stream::iter(letters)))
    }
}

type Letters = std::vec::IntoIter<Result<String, Status>>;

/// The part of a server that tonic's code generator writes for a service.
impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        Box::pin(async move {
            if let Err(status) = echo.check(&request) {
                return Ok(status.into_http());
            }
            let mut grpc = tonic::server::Grpc::new(Text);
            Ok(match request.uri().path() {
                "/example.Echo/Say" => {
                    let say = |request: Request<String>| {
                        std::future::ready(echo.say(request.into_inner()))
                    };
                    grpc.unary(service_fn(say), request).await
                }
                "/example.Echo/Count" => {
                    let count = |request: Request<String>| {
                        std::future::ready(echo.count(request.into_inner()))
                    };
                    grpc.server_streaming(service_fn(count), request).await
                }
                _ => Status::unimplemented("there is no such method").into_http(),
            })
        })
    }
}

impl NamedService for Echo {
    const NAME: &'static str = "example.Echo";
}

/// Messages that are texts. Generated code has a codec for Protobuf in its place.
#[derive(Clone, Copy, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, text: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(text.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let text = buffer.copy_to_bytes(buffer.remaining());
        let text = String::from_utf8(text.into()).map_err(|_| Status::internal("no text"))?;
        Ok(Some(text))
    }
}
