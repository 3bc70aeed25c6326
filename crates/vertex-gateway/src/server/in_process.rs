//! A connection of the gateway to itself, without a socket, for a request that the status page sends.
//!
//! The request is treated like every client's: it needs a key if clients do, counts for the limits, and is in
//! the log and in the metrics. Only TLS and the limit of connections do not apply.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{client, server, service::service_fn};
use hyper_util::rt::TokioIo;

use crate::{
    inbound::activity::{Activity, SentBody},
    proxy::handler::Handler,
};
use tower_vertex::BoxError;

/// Size of the buffer between the two ends, in bytes.
const BUFFER: usize = 64 << 10;
/// Longest body of a response, in bytes.
const LONGEST: usize = 1 << 20;

/// Sends a request to the handler, and returns its whole response.
pub(crate) async fn call(
    handler: Handler,
    request: Request<Full<Bytes>>,
) -> Result<Response<Bytes>, BoxError> {
    let (near, far) = tokio::io::duplex(BUFFER);
    let activity = Activity::new();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (call, handler) = (activity.call(request.version()), handler.clone());
        async move {
            let response = handler.serve(request, &call).await;
            Ok::<_, Infallible>(response.map(|body| SentBody::new(body, call)))
        }
    });
    // Each ends when the other does, or when the caller no longer waits.
    let serving = server::conn::http1::Builder::new().serve_connection(TokioIo::new(far), service);
    let (mut sender, sending) = client::conn::http1::handshake(TokioIo::new(near)).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    // The connection may end before the response has been read. Then there is a response, or an error.
    let both_ends = async {
        let _ = tokio::join!(serving, sending);
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        biased;
        response = exchange => response,
        never = both_ends => match never {},
    }
}
