//! Listening, and the way of a request from its connection to the room that answers it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
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
    clock::UtcTime,
    control,
    google_errors::html,
    iam, metadata, oauth,
    state::{Connection, Shared, lock},
    sts,
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
/// The longest head of a request.
const HEAD: usize = 64 << 10;
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
        let room = Room::of(request.method(), request.uri().path());
        let api = room == Room::Api && !control_only;
        if api {
            this.carries_a_request();
        }
        let shared = shared.clone();
        async move {
            let mut response = if api {
                api::serve(shared.clone(), request).await
            } else {
                beside_the_api(room, shared.clone(), request).await.map(whole)
            };
            set_date(&shared, &mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(HEAD);
    builder.http2().max_concurrent_streams(STREAMS);
    // An error is the client's leaving, or a fault that was asked for.
    let _ = builder.serve_connection(io, service).await;
}

fn whole(body: Full<Bytes>) -> Body {
    Either::Left(body)
}

/// Who answers a request, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Api,
    Token,
    Exchange,
    WorkforceRefresh,
    Iam,
    Metadata,
    Control,
}

impl Room {
    fn of(method: &Method, path: &str) -> Self {
        match path {
            "/token" | "/o/oauth2/token" => Self::Token,
            "/v1/token" => Self::Exchange,
            "/v1/oauthtoken" => Self::WorkforceRefresh,
            "/" if method == Method::GET => Self::Metadata,
            "/__emulator" => Self::Control,
            _ if path.starts_with("/__emulator/") => Self::Control,
            _ if path.starts_with("/computeMetadata/") => Self::Metadata,
            _ if iam::is_path(path) => Self::Iam,
            _ => Self::Api,
        }
    }
}

async fn beside_the_api(
    room: Room,
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    match room {
        Room::Token => oauth::token(shared, request).await,
        Room::Exchange => sts::exchange(shared, request).await,
        Room::WorkforceRefresh => sts::refresh(shared, request).await,
        Room::Iam => iam::serve(shared, request).await,
        Room::Metadata => metadata::serve(shared, request).await,
        Room::Control => control::serve(shared, request).await,
        // On the port that does not have it.
        Room::Api => html(StatusCode::NOT_FOUND),
    }
}

/// hyper writes a `Date` by this machine's clock unless there is one.
fn set_date<B>(shared: &Shared, response: &mut Response<B>) {
    let offset = lock(&shared.tokens).behavior().clock_offset_s;
    if offset != 0
        && let Ok(date) = HeaderValue::try_from(UtcTime::now(offset).http_date())
    {
        response.headers_mut().insert(header::DATE, date);
    }
}

/// A connection's task can be aborted, so its end is a drop.
struct ClosedOnDrop(Arc<Connection>);

impl Drop for ClosedOnDrop {
    fn drop(&mut self) {
        self.0.closed();
    }
}
