//! [`Connector`]: opens connections by the rule of a [`Network`].

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Uri, uri::Scheme};
use hyper::rt::{Read, Write};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::{
    client::legacy::connect::{Connection as ConnectionInfo, HttpConnector},
    rt::TokioIo,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tower::Service;

use super::{
    Connection, Network, ProxyError, ProxyErrorKind, leg::Leg, proxies::Proxy, tls::TlsConfigs,
    tunnel,
};
use crate::BoxError;

/// Opens connections to `http` and `https` URIs, directly or through a proxy, by the settings of
/// a [`Network`]. It is a connector for hyper-util's `client::legacy`, and for anything else that
/// takes a `Service<Uri>`.
///
/// `C` opens the TCP connections, to the destination or to the proxy; see [`Network::wrap`].
///
/// If a proxy makes no tunnel, the error is a [`ProxyError`].
#[derive(Clone)]
pub struct Connector<C = HttpConnector> {
    network: Network,
    tcp: C,
}

impl<C> Connector<C> {
    pub(super) fn new(network: Network, tcp: C) -> Self {
        Self { network, tcp }
    }
}

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri, Future: Send, Error: Into<BoxError>> + Clone + Send + 'static,
    C::Response: ConnectionInfo + Read + Write + Unpin + Send + 'static,
{
    type Response = Connection<C::Response>;
    type Error = BoxError;
    type Future = Connecting<C::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let later = self.tcp.clone();
        let tcp = std::mem::replace(&mut self.tcp, later);
        let (proxy, tls) = (self.network.proxies().proxy_for(&uri), self.network.tls());
        Connecting(Box::pin(connect(tcp, uri, proxy, tls)))
    }
}

impl<C> fmt::Debug for Connector<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("network", &self.network).finish_non_exhaustive()
    }
}

/// The future of [`Connector`].
#[must_use = "futures do nothing unless polled"]
pub struct Connecting<T>(Pin<Box<dyn Future<Output = Result<Connection<T>, BoxError>> + Send>>);

impl<T> Future for Connecting<T> {
    type Output = Result<Connection<T>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<T> fmt::Debug for Connecting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}

async fn connect<C>(
    mut tcp: C,
    uri: Uri,
    proxy: Option<Proxy>,
    tls: Arc<TlsConfigs>,
) -> Result<Connection<C::Response>, BoxError>
where
    C: Service<Uri, Future: Send, Error: Into<BoxError>>,
    C::Response: ConnectionInfo + Read + Write + Unpin + Send + 'static,
{
    let is_https = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        Some(scheme) if *scheme == Scheme::HTTP => false,
        _ => return Err(invalid("the URI is neither of http nor of https")),
    };
    let name = if is_https { Some(server_name(&uri)?) } else { None };
    let leg = match proxy {
        None => Leg::Tcp(tcp.call(uri).await.map_err(Into::into)?),
        Some(proxy) => {
            let destination = tunnel::destination(&uri)
                .ok_or_else(|| invalid("the URI has no host to connect to"))?;
            let tunnel = through(tcp, &proxy, &destination, &tls.proxy).await;
            tunnel.map_err(|(kind, source)| {
                ProxyError::new(proxy.origin(), destination, kind, source)
            })?
        }
    };
    Ok(Connection::new(match name {
        None => MaybeHttpsStream::Http(leg),
        Some(name) => shake_hands(leg, name, &tls.destination).await?,
    }))
}

async fn through<C>(
    mut tcp: C,
    proxy: &Proxy,
    destination: &str,
    tls: &Arc<ClientConfig>,
) -> Result<Leg<C::Response>, tunnel::Failure>
where
    C: Service<Uri, Error: Into<BoxError>>,
    C::Response: ConnectionInfo + Read + Write + Unpin + Send + 'static,
{
    let unreachable = |error: C::Error| (ProxyErrorKind::Unreachable, Some(error.into()));
    let io = tcp.call(proxy.uri.clone()).await.map_err(unreachable)?;
    let io = match proxy.uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTPS => {
            let broken = |error| (ProxyErrorKind::Tls, Some(error));
            let name = server_name(&proxy.uri).map_err(broken)?;
            let io = shake_hands(io, name, tls).await.map_err(|error| broken(error.into()))?;
            Leg::Tls(Box::new(io))
        }
        _ => Leg::Tcp(io),
    };
    tunnel::open(io, destination, proxy).await
}

async fn shake_hands<T>(
    io: T,
    name: ServerName<'static>,
    tls: &Arc<ClientConfig>,
) -> io::Result<MaybeHttpsStream<T>>
where
    T: Read + Write + Unpin,
{
    let connector = TlsConnector::from(Arc::clone(tls));
    Ok(connector.connect(name, TokioIo::new(io)).await?.into())
}

fn server_name(uri: &Uri) -> Result<ServerName<'static>, BoxError> {
    let host = uri.host().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(ServerName::try_from(host.to_owned())?)
}

fn invalid(what: &'static str) -> BoxError {
    io::Error::new(io::ErrorKind::InvalidInput, what).into()
}
