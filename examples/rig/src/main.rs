//! rig over the layers: they and a hyper client are its HTTP client.
//!
//! `cargo run --manifest-path examples/rig/Cargo.toml` talks to an emulator inside this process.

use std::future::ready;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rig_core::{
    completion::CompletionRequest,
    http_client::{
        Error, HttpClientExt, LazyBody, MultipartForm, Request, Response, Result, StreamingResponse,
    },
    providers::openai::OpenAIConfig,
};
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};
use tower_vertex::{
    auth::VertexAuthLayer,
    emulator::Emulator,
    openai_error::{ErrorBody, VertexErrorLayer},
    route::{Upstream, VertexRouteLayer},
    token::GcpAuth,
};

type Answer = Response<ErrorBody<Incoming>>;

struct Vertex(BoxCloneSyncService<Request<Full<Bytes>>, Answer, BoxError>);

impl Vertex {
    fn answer<T: Into<Bytes>>(
        &self,
        request: Request<T>,
    ) -> impl Future<Output = Result<Answer>> + Send + 'static {
        let answer = self.0.clone().oneshot(request.map(|body| Full::new(body.into())));
        async move {
            let answer = answer.await?;
            if answer.status().is_success() {
                return Ok(answer);
            }
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(Error::instance)?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Err(Error::non_success_with_details(head.status, head.headers, body))
        }
    }
}

impl HttpClientExt for Vertex {
    fn send<T: Into<Bytes> + Send, U: From<Bytes> + Send + 'static>(
        &self,
        request: Request<T>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + Send + 'static {
        let answer = self.answer(request);
        async {
            Ok(answer.await?.map(|body| -> LazyBody<U> {
                let body = body.collect();
                Box::pin(async { Ok(body.await.map_err(Error::instance)?.to_bytes().into()) })
            }))
        }
    }

    async fn send_streaming<T: Into<Bytes> + Send>(
        &self,
        request: Request<T>,
    ) -> Result<StreamingResponse> {
        let answer = self.answer(request).await?;
        Ok(answer.map(|body| Box::pin(body.into_data_stream().map_err(Error::instance)) as _))
    }

    fn send_multipart<U: From<Bytes> + Send + 'static>(
        &self,
        _: Request<MultipartForm>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + Send + 'static {
        ready(Err(Error::Instance("Vertex AI takes no files".into())))
    }
}

#[tokio::main]
async fn main() -> std::result::Result<(), BoxError> {
    let emulator = Emulator::start().await?;
    // For the real service: `Upstream::from_env()?`, and `VertexAuthLayer::new(GcpAuth::new())`.
    let upstream = Upstream::builder().project("p").location("global").origin(emulator.url());
    let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
    let https = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots()?;
    let https = https.https_or_http().enable_http1().build();
    let vertex = ServiceBuilder::new()
        .layer(VertexErrorLayer::new())
        .layer(VertexRouteLayer::new(upstream.build()?))
        .layer(VertexAuthLayer::new(source).trust_origin(emulator.url())?)
        .service(Client::builder(TokioExecutor::new()).build(https));
    let vertex = Vertex(BoxCloneSyncService::new(vertex));

    let gemini = OpenAIConfig::new("unused").connect(vertex).chat("google/gemini-2.5-flash");
    println!("{:?}", gemini.call(CompletionRequest::new("Say hello.")).await?.choice);
    emulator.revoke_tokens();
    let mut stream = gemini.stream(CompletionRequest::new("Count to three."))?;
    while let Some(event) = stream.try_next().await? {
        println!("{event:?}");
    }
    println!("{:?}", emulator.stats().by_status);
    Ok(())
}
