//! Opens new connections.

use std::{fmt, io, time::Duration};

use futures_util::TryFutureExt as _;
use http_body::Body;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::client::legacy::connect::HttpConnector;
use tower::ServiceExt as _;

use super::pool::PoolKey;
#[cfg(test)]
use super::simulated::Tcp;
use crate::telemetry::{Connections, CountConnections};
use tower_vertex::{
    BoxError,
    connect::{self, Network},
    error::ErrorChain,
    replay::READ_BUFFER,
};

/// Time limit of a new connection, with the DNS lookup and the TLS handshake.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A peer that has vanished is detected within half a minute, both while the gateway waits for a
/// response and while it sends a request. Linux alone would retransmit for a quarter of an hour.
/// While a model computes for an hour, the kernel of its machine still acknowledges the probes. A
/// peer that reads nothing of an upload for 30 seconds is given up, too.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Opens connections of TCP. In tests they may be those of a simulated network.
#[cfg(not(test))]
type Tcp = HttpConnector;

/// Connects directly or through a proxy. The connections that are counted are those of TCP.
pub(super) struct Connector(connect::Connector<CountConnections<Tcp>>);

impl Connector {
    pub(super) fn new(connections: &Connections, network: &Network) -> Self {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        // Without this option, small frames of a request wait for acknowledgements.
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        http.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        #[cfg(target_os = "linux")]
        http.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        #[cfg(test)]
        let http = Tcp::new(http);
        Self(network.wrap(CountConnections::new(http, connections)))
    }

    pub(super) async fn connect<B>(&self, place: &PoolKey) -> Result<SendRequest<B>, ConnectError>
    where
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let connecting = async {
            let io = self.0.clone().oneshot(place.uri()).await.map_err(ConnectError::Failed)?;
            let shaken = http1::Builder::new().max_buf_size(READ_BUFFER).handshake(io).await;
            let (sender, connection) = shaken.map_err(|e| ConnectError::Failed(e.into()))?;
            // An `async` block would have room for two connections, because one is captured and the other one is
            // polled. An idle stream keeps all of it.
            tokio::spawn(connection.unwrap_or_else(|error| {
                tracing::debug!(%error, "a connection to Vertex AI ended");
            }));
            Ok(sender)
        };
        let in_time = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
        in_time.unwrap_or(Err(ConnectError::TimedOut))
    }
}

/// A connection could not be opened.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The URI of the request has no host, or a scheme other than `http` and `https`.
    NoHost,
    TimedOut,
    Failed(BoxError),
}

impl ConnectError {
    /// Whether the connection timed out, as opposed to being refused.
    pub(crate) fn is_late(&self) -> bool {
        let of_io = |error: &(dyn std::error::Error + 'static)| {
            let error = error.downcast_ref::<io::Error>();
            error.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        };
        match self {
            Self::NoHost => false,
            Self::TimedOut => true,
            Self::Failed(error) => ErrorChain::new(&**error).iter().any(of_io),
        }
    }
}

/// Shows the cause alone, which is specific enough.
impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => f.write_str("the request's URI has no host to connect to"),
            Self::TimedOut => write!(f, "no connection within {CONNECT_TIMEOUT:?}"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoHost | Self::TimedOut => None,
            Self::Failed(error) => error.source(),
        }
    }
}
