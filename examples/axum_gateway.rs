//! The layers inside an axum app, between tower-http's and a hyper-util client.
//!
//! `cargo run --example axum_gateway` serves an emulator inside this process. If
//! `GOOGLE_CLOUD_PROJECT` and `GOOGLE_CLOUD_LOCATION` are set, it serves Vertex AI. It listens on
//! `LISTEN`, or on 127.0.0.1:3000.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    error_handling::HandleErrorLayer,
    response::{IntoResponse, Response},
    serve::ListenerExt,
};
use http::{Request, StatusCode};
use tokio::net::TcpListener;
use tower::{BoxError, ServiceBuilder};
use tower_http::{timeout::TimeoutLayer, trace::TraceLayer};
use tower_vertex::{
    Error,
    auth::VertexAuthLayer,
    error_format::VertexErrorLayer,
    http_client::HyperClient,
    model::{ModelTable, VertexModelLayer},
    route::{Upstream, VertexRouteLayer},
    token::{Credentials, GcpAuth},
};
use tower_vertex_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_env_filter("info,tower_http=debug").init();
    // The emulator stops when it is dropped.
    let (upstream, auth, _emulator) = match Upstream::from_env() {
        Ok(upstream) => (upstream, VertexAuthLayer::new(Credentials::detect().await?), None),
        Err(error) if error.is_missing() && error.setting() == "project" => {
            let emulator = Emulator::start().await?;
            let upstream = Upstream::builder().project("p").location("global");
            let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
            let auth = VertexAuthLayer::new(source).trust_origin(emulator.url())?;
            (upstream.origin(emulator.url()).build()?, auth, Some(emulator))
        }
        Err(error) => return Err(error.into()),
    };
    let vertex = ServiceBuilder::new()
        // The span has the path without the query, which may contain a key.
        .layer(TraceLayer::new_for_http().make_span_with(|request: &Request<Body>| {
            tracing::info_span!("request", method = %request.method(), path = request.uri().path())
        }))
        .layer(HandleErrorLayer::new(explain))
        // The timeout covers the response headers: a stream may take longer.
        .layer(TimeoutLayer::with_status_code(
            StatusCode::GATEWAY_TIMEOUT,
            Duration::from_secs(610),
        ))
        .map_response(|response: Response<_>| response.map(Body::new))
        // With these layers, `gemini-2.5-flash` is enough as a model, and errors have OpenAI's
        // format.
        .layer(VertexModelLayer::new(ModelTable::new(upstream.clone())))
        .layer(VertexErrorLayer::new())
        .layer(VertexRouteLayer::new(upstream))
        .layer(auth)
        .service(HyperClient::new()?);
    let app = Router::new().route_service("/v1/{*path}", vertex);

    let address = std::env::var("LISTEN").unwrap_or("127.0.0.1:3000".into());
    let listener = TcpListener::bind(&address).await.map_err(|e| format!("{address}: {e}"))?;
    println!("listening on http://{}", listener.local_addr()?);
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
    Ok(axum::serve(listener, app).with_graceful_shutdown(ctrl_c).await?)
}

/// Errors of the layers have OpenAI's format. Errors of the HTTP client become a bad gateway.
async fn explain(error: BoxError) -> Response {
    match error.downcast_ref::<Error>() {
        Some(error) => error.to_response().map(Body::from),
        None => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
