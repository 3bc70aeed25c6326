//! Settings of an emulator, and its start.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::net::TcpListener;

use super::{
    Emulator, endpoints,
    server::{self, Port},
    settings::EndpointInfo,
    state::Shared,
    tls,
};

/// Settings of an [`Emulator`].
#[derive(Clone, Debug)]
pub struct EmulatorBuilder {
    pub(crate) listen: SocketAddr,
    pub(crate) tls: bool,
    pub(crate) host_aware: bool,
    pub(crate) endpoints: Vec<EndpointInfo>,
    pub(crate) models: Option<Vec<String>>,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: false,
            host_aware: false,
            endpoints: endpoints::default_list(),
            models: None,
        }
    }
}

impl EmulatorBuilder {
    /// Where to listen; 127.0.0.1 and a free port by default.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// Serves the API over TLS, HTTP/1.1 and HTTP/2 by ALPN, with a certificate made at start
    /// (see [`Emulator::certificate_pem`]) for `localhost`, the loopback addresses and Google's
    /// names. A second port serves tokens and control over plain http
    /// (see [`Emulator::control_url`]).
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Serves the API only at the host that the location in the path has on the real service, so
    /// that a client reaching the emulator through a connector or a resolver of its own is found
    /// out when it is wrong. Loopback addresses are unknown hosts then. Tokens and metadata
    /// answer at any host, and control at loopback names where it listens at a loopback address.
    #[must_use]
    pub fn host_aware(mut self, host_aware: bool) -> Self {
        self.host_aware = host_aware;
        self
    }

    /// Lists one more endpoint, or replaces the one with the same id. The list begins with a
    /// shared and a dedicated endpoint in `us-central1`; an id that is not in it is served as
    /// well, as a shared one.
    #[must_use]
    pub fn endpoint(mut self, endpoint: EndpointInfo) -> Self {
        self.endpoints.retain(|known| known.id != endpoint.id);
        self.endpoints.push(endpoint);
        self
    }

    /// Serves these models on `openapi`, each named as `publisher/model` (without a publisher it is
    /// one of `google`), and says of every other that it was not found. Unless this is called, all
    /// well-formed names are served, those of `google` if they begin like one of its models.
    #[must_use]
    pub fn models(mut self, models: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let named = |model: String| {
            if model.contains('/') { model } else { format!("google/{model}") }
        };
        self.models = Some(models.into_iter().map(|model| named(model.into())).collect());
        self
    }

    /// Starts it on the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// When it cannot listen, or when a dedicated endpoint's host is no name for a certificate.
    pub async fn start(self) -> io::Result<Emulator> {
        let listener = TcpListener::bind(self.listen).await?;
        let addr = listener.local_addr()?;
        if !self.tls {
            let shared = Arc::new(Shared::new(addr, addr, self));
            let server = tokio::spawn(server::run(listener, Port::Plain, shared.clone()));
            return Ok(Emulator { shared, certificate: None, servers: vec![server] });
        }
        let (acceptor, certificate) = tls::acceptor(&self.endpoints)?;
        let control = TcpListener::bind((addr.ip(), 0)).await?;
        let shared = Arc::new(Shared::new(addr, control.local_addr()?, self));
        let servers = vec![
            tokio::spawn(server::run(listener, Port::Tls(acceptor), shared.clone())),
            tokio::spawn(server::run(control, Port::Control, shared.clone())),
        ];
        Ok(Emulator { shared, certificate: Some(certificate), servers })
    }
}
