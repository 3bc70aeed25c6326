//! The processes that the bench starts from its own binary: the upstream, and the bare proxy.

use std::{
    convert::Infallible,
    future::Future,
    io::{self, Write},
    net::SocketAddr,
    thread,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Either, Full, channel::Channel};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use tower::BoxError;

use crate::exchange::{ANSWER, CHUNKS, PATH, STREAMING, event, last_event};

/// The value of `Authorization` that the proxies send instead of the client's.
pub const TOKEN: &str =
    "Bearer ya29.a-token-of-the-usual-length-as-google-gives-it-to-a-service-account";

/// The timeout of the sidecar. The upstream has none, because connections may be idle until their
/// turn.
const REQUEST_HEADER_TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));

/// The distribution of a server's work over the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// One runtime for all processors.
    Shared,
    /// One runtime for each processor, with its own pool of connections, as in the sidecar.
    PerCore,
}

impl Threads {
    pub fn id(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::PerCore => "per-core",
        }
    }
}

/// Runs the role that the arguments name. Returns `None` if this process is the bench.
pub fn role(arguments: &[&str]) -> Option<Result<Infallible, BoxError>> {
    match arguments {
        ["upstream"] => Some(serve(Threads::PerCore, None, || answer)),
        ["bare", threads, upstream] => {
            let threads =
                if *threads == Threads::Shared.id() { Threads::Shared } else { Threads::PerCore };
            Some(bare(threads, upstream))
        }
        _ => None,
    }
}

fn bare(threads: Threads, upstream: &str) -> Result<Infallible, BoxError> {
    let upstream: Uri = format!("http://{upstream}{PATH}").parse()?;
    let token = HeaderValue::from_static(TOKEN);
    serve(threads, REQUEST_HEADER_TIMEOUT, move || {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build::<_, Incoming>(connector);
        let (upstream, token) = (upstream.clone(), token.clone());
        move |mut request: Request<Incoming>| {
            *request.uri_mut() = upstream.clone();
            request.headers_mut().remove(header::HOST);
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
            client.request(request)
        }
    })
}

/// Responds as Vertex AI would: with an error for a wrong token or path, a complete response, or a
/// stream.
async fn answer(
    request: Request<Incoming>,
) -> Result<Response<Either<Full<Bytes>, Channel<Bytes, Infallible>>>, BoxError> {
    let authorization = request.headers().get(header::AUTHORIZATION);
    let token = authorization.is_some_and(|value| value.as_bytes().starts_with(b"Bearer ya29."));
    let status = match () {
        () if !token => StatusCode::UNAUTHORIZED,
        () if request.uri().path() != PATH => StatusCode::NOT_FOUND,
        () => StatusCode::OK,
    };
    let body = request.into_body().collect().await?.to_bytes();
    let streaming = status == StatusCode::OK && body.starts_with(STREAMING.as_bytes());
    let mut response = Response::new(if streaming {
        Either::Right(stream())
    } else {
        Either::Left(Full::from(ANSWER))
    });
    *response.status_mut() = status;
    let kind = if streaming { "text/event-stream" } else { "application/json" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// Sends the first chunk at once, and the others a moment later, so that they cannot hide a late
/// first chunk.
fn stream() -> Channel<Bytes, Infallible> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        for number in 0..CHUNKS {
            if number == 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if sender.send(Frame::data(event(number))).await.is_err() {
                return;
            }
        }
        let _ = sender.send(Frame::data(last_event())).await;
    });
    body
}

/// Listens on a free port, prints its address, and serves for ever. `service` creates the service
/// of one runtime.
fn serve<M, S, F, B, E>(
    threads: Threads,
    timeout: Option<Duration>,
    service: M,
) -> Result<Infallible, BoxError>
where
    M: Fn() -> S,
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    match threads {
        Threads::Shared => Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let (service, listener) = (service(), listen().await?);
            loop {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                tokio::spawn(serve_connection(socket, timeout, service.clone()));
            }
        }),
        Threads::PerCore => {
            let workers =
                (0..thread::available_parallelism()?.get()).map(|_| worker(timeout, service()));
            let workers = workers.collect::<io::Result<Vec<_>>>()?;
            let runtime = Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let listener = listen().await?;
                // All connections have the same load, so they are assigned in turn.
                for worker in workers.iter().cycle() {
                    let (socket, _) = listener.accept().await?;
                    socket.set_nodelay(true)?;
                    worker.send(socket.into_std()?)?;
                }
                Err("no processor found".into())
            })
        }
    }
}

async fn listen() -> io::Result<TcpListener> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    Ok(listener)
}

/// Starts a thread with its own runtime. Returns a channel that passes connections to it.
fn worker<S, F, B, E>(
    timeout: Option<Duration>,
    service: S,
) -> io::Result<mpsc::UnboundedSender<std::net::TcpStream>>
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    let (sockets, mut incoming) = mpsc::unbounded_channel();
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().spawn(move || {
        runtime.block_on(async {
            while let Some(socket) = incoming.recv().await {
                match TcpStream::from_std(socket) {
                    Ok(socket) => {
                        drop(tokio::spawn(serve_connection(socket, timeout, service.clone())))
                    }
                    Err(error) => eprintln!("could not serve a connection: {error}"),
                }
            }
        });
    })?;
    Ok(sockets)
}

async fn serve_connection<S, F, B, E>(socket: TcpStream, timeout: Option<Duration>, service: S)
where
    S: Fn(Request<Incoming>) -> F + Send + 'static,
    F: Future<Output = Result<Response<B>, E>> + Send + 'static,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(timeout);
    // The client sees that the connection ended, and reports it.
    let _ = builder.serve_connection(TokioIo::new(socket), service_fn(service)).await;
}
