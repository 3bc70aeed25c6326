//! The server: it listens, and routes each request to its handler.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
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
    api,
    clock::UtcTime,
    control,
    encoding::ApiBody,
    google_errors::html,
    iam, id_token, metadata, oauth, projects,
    state::{Connection, Shared, lock},
    sts, token_info,
};

/// The services on a port.
#[derive(Clone)]
pub(crate) enum Port {
    /// All services.
    Plain,
    /// All services, over TLS.
    Tls(TlsAcceptor),
    /// Tokens and control, for a port next to one with TLS.
    Control,
}

/// The largest number of concurrent HTTP/2 streams, as on the real service.
const STREAMS: u32 = 100;
/// The largest size of a request head in bytes.
const HEAD: usize = 64 << 10;
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Accepts connections until it is dropped, which also closes them.
pub(crate) async fn run(listener: TcpListener, port: Port, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((socket, _)) => {
                    connections.spawn(connection(socket, port.clone(), shared.clone()));
                }
                // The process probably has too many open files, and some will be closed soon.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(socket: TcpStream, port: Port, shared: Arc<Shared>) {
    // Without `TCP_NODELAY`, small chunks wait for acknowledgements. A socket that does not support
    // it is only slower.
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
                beside_the_api(room, shared.clone(), request).await.map(ApiBody::with_length)
            };
            set_date(&shared, &mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(HEAD);
    builder.http2().max_concurrent_streams(STREAMS);
    // An error means that the client disconnected, or that a configured fault closed the
    // connection.
    let _ = builder.serve_connection(io, service).await;
}

/// The handler of a request, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Api,
    Token,
    Exchange,
    WorkforceRefresh,
    Iam,
    Metadata,
    Keys,
    TokenInfo,
    Introspect,
    Projects,
    Control,
}

impl Room {
    fn of(method: &Method, path: &str) -> Self {
        match path {
            "/token" | "/o/oauth2/token" | "/oauth2/v4/token" => Self::Token,
            "/v1/token" => Self::Exchange,
            "/v1/oauthtoken" => Self::WorkforceRefresh,
            "/v1/introspect" => Self::Introspect,
            "/" if method == Method::GET => Self::Metadata,
            "/__emulator" => Self::Control,
            _ if path.starts_with("/__emulator/") => Self::Control,
            _ if path.starts_with("/computeMetadata/") => Self::Metadata,
            _ if iam::is_path(path) => Self::Iam,
            _ if id_token::is_path(path) => Self::Keys,
            _ if token_info::is_path(path) => Self::TokenInfo,
            _ if projects::project(path).is_some() => Self::Projects,
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
        Room::Keys => id_token::keys(shared, request).await,
        Room::TokenInfo => token_info::token_info(shared, request).await,
        Room::Introspect => token_info::introspect(shared, request).await,
        Room::Projects => projects::serve(shared, request).await,
        Room::Control => control::serve(shared, request).await,
        // The port for control does not serve the API.
        Room::Api => html(StatusCode::NOT_FOUND),
    }
}

/// Sets the `Date` header by the emulator's clock. hyper keeps it, and otherwise uses this
/// machine's clock.
fn set_date<B>(shared: &Shared, response: &mut Response<B>) {
    let offset = lock(&shared.tokens).behavior().clock_offset_s;
    if offset != 0
        && let Ok(date) = HeaderValue::try_from(UtcTime::now(offset).http_date())
    {
        response.headers_mut().insert(header::DATE, date);
    }
}

/// Reports the end of a connection when it is dropped, because its task can be aborted.
struct ClosedOnDrop(Arc<Connection>);

impl Drop for ClosedOnDrop {
    fn drop(&mut self) {
        self.0.closed();
    }
}
