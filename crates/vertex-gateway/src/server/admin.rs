//! The admin listener serves metrics and health, apart from the listener of clients.

use std::{collections::VecDeque, convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::AbortHandle,
};

use super::accept_errors::AcceptErrors;
use crate::{
    config::parse::{ConfigFile, address},
    error::Error,
    inbound::{
        activity::Activity,
        browser::{Browsers, Listener},
        strict_io::StrictIo,
    },
    telemetry::{Form, Telemetry},
    values::{non_empty, shown_debug},
};

/// Time limit of a request head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// More connections than scrapers and probes need. When another one arrives, the oldest is closed.
/// So a client cannot keep a probe out, and the descriptors of clients stay free.
const CONNECTIONS: usize = 16;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// The options about the admin listener.
#[derive(Clone, Args)]
pub struct AdminOptions {
    /// Address and port of /metrics, /healthz and /readyz, over HTTP; port 0 chooses a free port
    /// [default: none]
    #[arg(long, value_name = "ADDR", env = "VERTEX_GATEWAY_ADMIN_LISTEN")]
    pub admin_listen: Option<String>,
}

shown_debug!(AdminOptions: admin_listen);

/// The bound listener.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: TcpListener,
    addr: SocketAddr,
}

impl Admin {
    /// Returns `None` if no address is set.
    pub(crate) async fn bind(
        options: &AdminOptions,
        file: &ConfigFile,
    ) -> Result<Option<Self>, Error> {
        let Some(addr) = non_empty(&options.admin_listen) else { return Ok(None) };
        let addr = address::<AdminOptions>("--admin-listen", addr, file)?;
        let cannot = |error| {
            let advice = "choose another address with --admin-listen";
            Error::new(format!("cannot listen on {addr}: {error}; {advice}"))
        };
        let listener = TcpListener::bind(addr).await.map_err(cannot)?;
        let addr = listener.local_addr().map_err(cannot)?;
        Ok(Some(Self { listener, addr }))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until the process ends, so also while it drains.
    pub(crate) async fn serve(
        self,
        telemetry: Arc<Telemetry>,
        browsers: Arc<Browsers>,
        max_header_bytes: usize,
    ) {
        // On any other address, clients use host names that are unknown here.
        let browsers = self.addr.ip().is_loopback().then_some(browsers);
        let (mut open, errors) = (VecDeque::new(), AcceptErrors::default());
        loop {
            let what = "accept failed on the admin listener";
            let (socket, _) = errors.until_accepted(what, || self.listener.accept()).await;
            open.retain(|connection: &AbortHandle| !connection.is_finished());
            if open.len() >= CONNECTIONS
                && let Some(oldest) = open.pop_front()
            {
                oldest.abort();
            }
            let (telemetry, browsers) = (Arc::clone(&telemetry), browsers.clone());
            let serving = serve(socket, telemetry, browsers, max_header_bytes);
            open.push_back(tokio::spawn(serving).abort_handle());
        }
    }
}

async fn serve(
    socket: TcpStream,
    telemetry: Arc<Telemetry>,
    browsers: Option<Arc<Browsers>>,
    max_header_bytes: usize,
) {
    let service = service_fn(|request| {
        let answer = answer(&request, &telemetry, browsers.as_deref());
        async { Ok::<_, Infallible>(answer) }
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(max_header_bytes);
    let socket = TokioIo::new(StrictIo::new(socket, HEADER_TIMEOUT, Activity::new()));
    if let Err(error) = builder.serve_connection(socket, service).await {
        tracing::debug!(%error, "connection of the admin listener ended");
    }
}

fn answer(
    request: &Request<Incoming>,
    telemetry: &Telemetry,
    browsers: Option<&Browsers>,
) -> Response<Full<Bytes>> {
    let of_kind = |status, kind, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    };
    let text = |status, line: &str| of_kind(status, TEXT, format!("{line}\n"));
    let named = browsers
        .map(|browsers| browsers.check_host(request.uri(), request.headers(), Listener::Loopback));
    if let Some(Err(refusal)) = named {
        return text(StatusCode::FORBIDDEN, &refusal.to_string());
    }
    let path = request.uri().path();
    if !["/metrics", "/healthz", "/readyz"].contains(&path) {
        return text(StatusCode::NOT_FOUND, "not found: use /metrics, /healthz or /readyz");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/metrics" => {
            let form = Form::accepted(request.headers());
            let mut response =
                of_kind(StatusCode::OK, form.content_type(), telemetry.metrics(form));
            response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
            response
        }
        "/healthz" => text(StatusCode::OK, "ok"),
        _ => match telemetry.ready() {
            Ok(()) => text(StatusCode::OK, "ready"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
        },
    }
}
