//! Listening, and the way of a request from its connection to the room that answers it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::{
    body::Incoming,
    rt::{Read, Write},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

use super::{
    api::{self, Body},
    control,
    google_errors::html,
    oauth,
    state::{Connection, Shared},
};

/// What a port serves.
#[derive(Clone)]
pub(crate) enum Port {
    /// Everything.
    Plain,
    /// Everything, over TLS.
    Tls(TlsAcceptor),
    /// Tokens and control, beside a port with TLS.
    Control,
}

/// As on the real service.
const STREAMS: u32 = 100;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Accepts connections until it is dropped, which ends them too.
pub(crate) async fn run(listener: TcpListener, port: Port, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, port.clone(), shared.clone()));
                }
                // Out of descriptors, most likely: some will be back soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(socket: TcpStream, port: Port, shared: Arc<Shared>) {
    // Without it, small chunks wait for acknowledgements. A socket that refuses is slow, not wrong.
    let _ = socket.set_nodelay(true);
    match port {
        Port::Plain => http(TokioIo::new(socket), false, shared).await,
        Port::Control => http(TokioIo::new(socket), true, shared).await,
        Port::Tls(acceptor) => {
            let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket));
            if let Ok(Ok(socket)) = handshake.await {
                http(TokioIo::new(socket), false, shared).await;
            }
        }
    }
}

async fn http<I>(io: I, control_only: bool, shared: Arc<Shared>)
where
    I: Read + Write + Unpin + Send + 'static,
{
    let connection = ClosedOnDrop(Arc::new(Connection::new(shared.clone())));
    let this = connection.0.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let api = !control_only && api::is_api(request.method(), request.uri().path());
        if api {
            this.carries_a_request();
        }
        let shared = shared.clone();
        async move {
            Ok::<_, Infallible>(if api {
                api::serve(shared, request).await
            } else {
                beside_the_api(shared, request).await.map(whole)
            })
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(STREAMS);
    // An error is the client's leaving, or a fault that was asked for.
    let _ = builder.serve_connection(io, service).await;
}

fn whole(body: Full<Bytes>) -> Body {
    Either::Left(body)
}

async fn beside_the_api(shared: Arc<Shared>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if path == "/token" {
        oauth::token(shared, request).await
    } else if path == "/" || path.starts_with("/computeMetadata/") {
        oauth::metadata(shared, request).await
    } else if path == "/__emulator" || path.starts_with("/__emulator/") {
        control::serve(shared, request).await
    } else {
        html(StatusCode::NOT_FOUND)
    }
}

/// A connection's task can be aborted, so its end is a drop.
struct ClosedOnDrop(Arc<Connection>);

impl Drop for ClosedOnDrop {
    fn drop(&mut self) {
        self.0.closed();
    }
}
