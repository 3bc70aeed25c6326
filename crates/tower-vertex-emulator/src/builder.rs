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
    token_settings::TokenBehavior,
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
    pub(crate) projects: Option<Vec<String>>,
    pub(crate) control: Vec<SocketAddr>,
    pub(crate) token: TokenBehavior,
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
            projects: None,
            control: Vec::new(),
            token: TokenBehavior::default(),
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
    /// a shared and a dedicated endpoint in `us-central1`. An id that is not in the list of its
    /// location is not found.
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

    /// Adds a project. From then on, every other project is refused with the 403 that Google
    /// returns for a project that the caller may not use. By default every valid project exists,
    /// which is kinder than the service.
    #[must_use]
    pub fn project(mut self, project: impl Into<String>) -> Self {
        self.projects.get_or_insert_default().push(project.into());
        self
    }

    /// The addresses that serve tokens, metadata and control over plain http, next to one with TLS.
    /// [`Emulator::control_url`] has the first. By default this is a free port of the IP address of
    /// the API. Without TLS, the API's own address serves all of them, and these are served besides.
    ///
    /// A metadata server is at `169.254.169.254:80`, and clients call it there.
    #[must_use]
    pub fn control(mut self, addrs: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.control = addrs.into_iter().collect();
        self
    }

    /// How tokens are issued, from the start. See [`Emulator::set_token_behavior`].
    #[must_use]
    pub fn token_behavior(mut self, behavior: TokenBehavior) -> Self {
        self.token = behavior;
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
        let mut addrs = self.control.clone();
        if self.tls && addrs.is_empty() {
            addrs.push((addr.ip(), 0).into());
        }
        let mut plain = Vec::new();
        for addr in addrs {
            plain.push(TcpListener::bind(addr).await?);
        }
        let (port, certificate) = if self.tls {
            let (acceptor, certificate) = tls::acceptor(&self.endpoints)?;
            (Port::Tls(acceptor), Some(certificate))
        } else {
            (Port::Plain, None)
        };
        let control_addr = match plain.first() {
            Some(control) if self.tls => control.local_addr()?,
            _ => addr,
        };
        let shared = Arc::new(Shared::new(addr, control_addr, certificate, self));
        let mut servers = vec![tokio::spawn(server::run(listener, port, shared.clone()))];
        for listener in plain {
            servers.push(tokio::spawn(server::run(listener, Port::Control, shared.clone())));
        }
        Ok(Emulator { shared, servers })
    }
}
