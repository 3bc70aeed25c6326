//! The admin listener serves metrics, health and the status page, apart from the listener of clients.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{Either, Full};
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
    status::{Body, Status},
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
    /// Address and port of the status page, /metrics, /healthz and /readyz, over HTTP; port 0 chooses a free
    /// port [default: none; a free port of 127.0.0.1 with --emulator]
    #[arg(long, value_name = "ADDR", env = "VERTEX_GATEWAY_ADMIN_LISTEN")]
    pub admin_listen: Option<String>,

    /// Whether --admin-listen has the status page at /, which shows models, locations, the names of keys and
    /// the last requests without their content to everyone who can reach that address
    #[arg(
        long,
        value_name = "on|off",
        env = "VERTEX_GATEWAY_STATUS_PAGE",
        default_value = "on",
        hide_possible_values = true
    )]
    pub status_page: StatusPage,
}

shown_debug!(AdminOptions: admin_listen; status_page);

/// Whether there is a status page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusPage {
    /// At `/` of the admin listener.
    On,
    /// No request is recorded for it.
    Off,
}

/// The bound listener.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: TcpListener,
    addr: SocketAddr,
    has_page: bool,
}

impl Admin {
    /// Returns `None` if no address is set, and no emulator is used.
    pub(crate) async fn bind(
        options: &AdminOptions,
        file: &ConfigFile,
        emulator: bool,
    ) -> Result<Option<Self>, Error> {
        let addr = match non_empty(&options.admin_listen) {
            Some(addr) => address::<AdminOptions>("--admin-listen", addr, file)?,
            // Someone who tries the gateway should find the page.
            None if emulator && options.has_page() => (Ipv4Addr::LOCALHOST, 0).into(),
            None => return Ok(None),
        };
        let cannot = |error| {
            let advice = "choose another address with --admin-listen";
            Error::new(format!("cannot listen on {addr}: {error}; {advice}"))
        };
        let listener = TcpListener::bind(addr).await.map_err(cannot)?;
        let addr = listener.local_addr().map_err(cannot)?;
        Ok(Some(Self { listener, addr, has_page: options.has_page() }))
    }

    /// Whether only this machine can reach the address.
    pub(crate) fn is_local(&self) -> bool {
        self.addr.ip().is_loopback()
    }

    /// The lines that are printed at the start.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> + use<> {
        let page = self.has_page.then(|| format!("status page on http://{}/", self.addr));
        std::iter::once(format!("admin on http://{}", self.addr)).chain(page)
    }

    /// Serves until the process ends, so also while it drains.
    pub(crate) async fn serve(
        self,
        telemetry: Arc<Telemetry>,
        status: Option<Arc<Status>>,
        browsers: Arc<Browsers>,
        max_header_bytes: usize,
    ) {
        // On any other address, clients use host names that are unknown here.
        let browsers = self.is_local().then_some(browsers);
        let pages = Pages { telemetry, status, browsers };
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
            let serving = serve(socket, pages.clone(), max_header_bytes);
            open.push_back(tokio::spawn(serving).abort_handle());
        }
    }
}

impl AdminOptions {
    pub(crate) fn has_page(&self) -> bool {
        self.status_page == StatusPage::On
    }
}

/// Everything that the listener serves.
#[derive(Clone)]
struct Pages {
    telemetry: Arc<Telemetry>,
    /// `None` without a status page.
    status: Option<Arc<Status>>,
    /// `None` if any host name is served.
    browsers: Option<Arc<Browsers>>,
}

async fn serve(socket: TcpStream, pages: Pages, max_header_bytes: usize) {
    let service = service_fn(|request| {
        let pages = pages.clone();
        async move { Ok::<_, Infallible>(pages.answer(request).await) }
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

impl Pages {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        if let Some(status) = &self.status
            && Status::has(request.uri().path())
        {
            let listener = match self.browsers {
                Some(_) => Listener::Loopback,
                None => Listener::Open,
            };
            return status.serve(request, listener).await;
        }
        self.metrics_or_health(&request).map(Either::Left)
    }

    fn metrics_or_health(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let of_kind = |status, kind, text: String| {
            let mut response = Response::new(Full::from(text));
            *response.status_mut() = status;
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        };
        let text = |status, line: &str| of_kind(status, TEXT, format!("{line}\n"));
        let named = self.browsers.as_ref().map(|browsers| {
            browsers.check_host(request.uri(), request.headers(), Listener::Loopback)
        });
        if let Some(Err(refusal)) = named {
            return text(StatusCode::FORBIDDEN, &refusal.to_string());
        }
        let path = request.uri().path();
        if !["/metrics", "/healthz", "/readyz"].contains(&path) {
            let others = if self.status.is_some() { "/, /status.json, " } else { "" };
            let advice = format!("not found: use {others}/metrics, /healthz or /readyz");
            return text(StatusCode::NOT_FOUND, &advice);
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
                    of_kind(StatusCode::OK, form.content_type(), self.telemetry.metrics(form));
                response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept"));
                response
            }
            "/healthz" => text(StatusCode::OK, "ok"),
            _ => match self.telemetry.ready() {
                Ok(()) => text(StatusCode::OK, "ready"),
                Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, reason),
            },
        }
    }
}
