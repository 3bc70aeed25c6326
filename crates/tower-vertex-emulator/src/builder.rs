//! Settings of an emulator, and its start.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::net::TcpListener;

use super::{
    Emulator,
    chat::ChatBehavior,
    endpoints,
    models::{Catalogue, Model},
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
    pub(crate) models: Catalogue,
    pub(crate) chat: ChatBehavior,
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls: false,
            host_aware: false,
            endpoints: endpoints::default_list(),
            models: Catalogue::default(),
            chat: ChatBehavior::default(),
        }
    }
}

impl EmulatorBuilder {
    /// The address to listen on; 127.0.0.1 and a free port by default.
    #[must_use]
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.listen = addr;
        self
    }

    /// Serves the API over TLS, with HTTP/1.1 and HTTP/2 by ALPN. The certificate is created at the
    /// start (see [`Emulator::certificate_pem`]) for `localhost`, the loopback addresses and
    /// Google's names. A second port serves tokens and control over plain http (see
    /// [`Emulator::control_url`]).
    #[must_use]
    pub fn tls(mut self, tls: bool) -> Self {
        self.tls = tls;
        self
    }

    /// Serves the API only at the host that serves the location in the path on the real service. A
    /// client that reaches the emulator through its own connector or resolver is thus tested for
    /// the right host. Loopback addresses are unknown hosts then. Tokens and metadata are served at
    /// any host. Control is served at loopback names if the emulator listens on a loopback address.
    #[must_use]
    pub fn host_aware(mut self, host_aware: bool) -> Self {
        self.host_aware = host_aware;
        self
    }

    /// Adds an endpoint to the list, or replaces the one with the same id. By default the list has
    /// a shared and a dedicated endpoint in `us-central1`. An id that is not in the list is served
    /// as a shared endpoint.
    #[must_use]
    pub fn endpoint(mut self, endpoint: EndpointInfo) -> Self {
        self.endpoints.retain(|known| known.id != endpoint.id);
        self.endpoints.push(endpoint);
        self
    }

    /// Serves only these models, each named as `publisher/model`; the publisher is `google` if it
    /// is omitted. Every other model is not found. By default the emulator knows the models that
    /// Google's pages name.
    #[must_use]
    pub fn models(mut self, models: impl IntoIterator<Item = impl Into<Model>>) -> Self {
        self.models = Catalogue::new(models.into_iter().map(Into::into));
        self
    }

    /// Adds a model to those that the emulator knows, or replaces the one with the same name.
    #[must_use]
    pub fn model(mut self, model: impl Into<Model>) -> Self {
        self.models.add(model.into());
        self
    }

    /// Sets the shapes of chat responses. [`Emulator::set_chat`] and the control API can change them
    /// later.
    #[must_use]
    pub fn chat(mut self, behavior: ChatBehavior) -> Self {
        self.chat = behavior;
        self
    }

    /// Starts the emulator on the current Tokio runtime.
    ///
    /// # Errors
    ///
    /// An error if it cannot listen, or if the host of a dedicated endpoint is not valid in a
    /// certificate.
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
