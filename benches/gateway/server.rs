//! The processes that the bench starts from its own binary: the upstream, and the bare proxy.

use std::{
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};

use http::{HeaderValue, Request, Uri, header};
use hyper::{body::Incoming, service::service_fn};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;
use tower::BoxError;

use crate::{
    certificates::Certificates,
    exchange::{PATH, TOKEN},
    upstream,
};

/// The timeout of the sidecar.
const REQUEST_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

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
    let certificates = |folder: &&str| Certificates::at(Path::new(*folder));
    match arguments {
        ["upstream", folder @ ..] => Some(upstream::run(folder.first().map(certificates).as_ref())),
        ["bare", threads, upstream, folder @ ..] => {
            let threads =
                if *threads == Threads::Shared.id() { Threads::Shared } else { Threads::PerCore };
            Some(bare(threads, upstream, folder.first().map(certificates).as_ref()))
        }
        _ => None,
    }
}

fn bare(
    threads: Threads,
    upstream: &str,
    certificates: Option<&Certificates>,
) -> Result<Infallible, BoxError> {
    let scheme = if certificates.is_some() { "https" } else { "http" };
    let upstream: Uri = format!("{scheme}://{upstream}{PATH}").parse()?;
    let acceptor = certificates.map(Certificates::server).transpose()?;
    let acceptor = acceptor.map(|config| TlsAcceptor::from(Arc::new(config)));
    match certificates {
        None => serve(threads, acceptor, move || {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            Forward::new(connector, upstream.clone())
        }),
        Some(certificates) => {
            let tls = certificates.client()?;
            serve(threads, acceptor, move || {
                let mut connector = HttpConnector::new();
                connector.set_nodelay(true);
                connector.enforce_http(false);
                let https = HttpsConnectorBuilder::new().with_tls_config(tls.clone());
                let https: HttpsConnector<_> =
                    https.https_only().enable_http1().wrap_connector(connector);
                Forward::new(https, upstream.clone())
            })
        }
    }
}

/// Sends each request to the upstream with a token.
#[derive(Clone)]
struct Forward<C> {
    client: Client<C, Incoming>,
    upstream: Uri,
    token: HeaderValue,
}

/// The requirements on the connector of the bare proxy.
trait Connector: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static {}

impl<C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static> Connector
    for C
{
}

impl<C: Connector> Forward<C> {
    fn new(connector: C, upstream: Uri) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .build::<_, Incoming>(connector);
        let token = HeaderValue::from_str(&format!("Bearer {TOKEN}"));
        let token = token.unwrap_or(HeaderValue::from_static(""));
        Self { client, upstream, token }
    }

    fn forward(&self, mut request: Request<Incoming>) -> ResponseFuture {
        *request.uri_mut() = self.upstream.clone();
        request.headers_mut().remove(header::HOST);
        request.headers_mut().insert(header::AUTHORIZATION, self.token.clone());
        self.client.request(request)
    }
}

/// Listens on a free port, prints its address, and serves for ever. `service` creates the service
/// of one runtime.
fn serve<C: Connector>(
    threads: Threads,
    acceptor: Option<TlsAcceptor>,
    service: impl Fn() -> Forward<C>,
) -> Result<Infallible, BoxError> {
    match threads {
        Threads::Shared => Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let (service, listener) = (service(), listen().await?);
            loop {
                let (socket, _) = listener.accept().await?;
                socket.set_nodelay(true)?;
                tokio::spawn(accept(socket, acceptor.clone(), service.clone()));
            }
        }),
        Threads::PerCore => {
            let workers = (0..thread::available_parallelism()?.get())
                .map(|_| worker(acceptor.clone(), service()));
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

pub async fn listen() -> io::Result<TcpListener> {
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = socket.listen(4096)?;
    let mut out = io::stdout().lock();
    writeln!(out, "listening on http://{}", listener.local_addr()?)?;
    out.flush()?;
    Ok(listener)
}

/// Starts a thread with its own runtime. Returns a channel that passes connections to it.
fn worker<C: Connector>(
    acceptor: Option<TlsAcceptor>,
    service: Forward<C>,
) -> io::Result<mpsc::UnboundedSender<std::net::TcpStream>> {
    let (sockets, mut incoming) = mpsc::unbounded_channel();
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().spawn(move || {
        runtime.block_on(async {
            while let Some(socket) = incoming.recv().await {
                match TcpStream::from_std(socket) {
                    Ok(socket) => {
                        drop(tokio::spawn(accept(socket, acceptor.clone(), service.clone())))
                    }
                    Err(error) => eprintln!("could not serve a connection: {error}"),
                }
            }
        });
    })?;
    Ok(sockets)
}

async fn accept<C: Connector>(
    socket: TcpStream,
    acceptor: Option<TlsAcceptor>,
    service: Forward<C>,
) {
    match acceptor {
        None => serve_connection(socket, service).await,
        Some(acceptor) => match acceptor.accept(socket).await {
            Ok(socket) => serve_connection(socket, service).await,
            Err(error) => eprintln!("could not serve a connection: {error}"),
        },
    }
}

async fn serve_connection<S, C>(socket: S, service: Forward<C>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    C: Connector,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(REQUEST_HEADER_TIMEOUT);
    let service = service_fn(move |request| service.forward(request));
    // The client sees that the connection ended, and reports it.
    let _ = builder.serve_connection(TokioIo::new(socket), service).await;
}
