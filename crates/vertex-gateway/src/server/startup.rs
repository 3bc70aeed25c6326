//! The common base of all servers: access control, credentials, the upstream, the token and the
//! table of models, and their reloads.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use clap::Args;
use tokio::{runtime::Handle, sync::Notify, time::Instant};

use super::{
    admin::AdminOptions,
    reload::{self, Watched},
};
use crate::{
    access::{ClientOptions, ClientSources, Clients},
    config::{
        credentials::{Identity, find},
        layered::Given,
        listing::ListingOptions,
        retry::RetryOptions,
        upstream::TargetOptions,
    },
    error::Error,
    inbound::{
        browser::{BrowserOptions, Browsers},
        tls::{Tls, TlsOptions},
    },
    models::{
        publishers::{PublisherLists, charging},
        table::LiveTable,
    },
    telemetry::{Telemetry, log::LogOptions},
    values::{size, size_within, time, time_or_zero, timeout},
};
use tower_vertex::{
    auth::VertexAuthLayer,
    connect::Network,
    route::Upstream,
    token::{CredentialKind, TokenCache},
};
use tower_vertex_emulator::Emulator;

/// The options that `serve` and `ext-authz` share.
#[derive(Clone, Debug, Args)]
pub struct ServingOptions {
    /// The keys of clients.
    #[command(flatten)]
    pub clients: ClientOptions,

    /// The web pages that may send requests.
    #[command(flatten)]
    pub browsers: BrowserOptions,

    /// The certificate of this server, and the certificates that clients must present.
    #[command(flatten)]
    pub tls: TlsOptions,

    /// The upstream of requests, and the credentials for it.
    #[command(flatten)]
    pub target: TargetOptions,

    /// The publishers whose models are listed.
    #[command(flatten)]
    pub listing: ListingOptions,

    /// Longest request body; a longer one gets 413, and with 0 every body does
    #[arg(
        long,
        value_name = "SIZE",
        env = "VERTEX_GATEWAY_MAX_REQUEST_BYTES",
        default_value = "32MiB",
        value_parser = size()
    )]
    pub max_request_bytes: usize,

    /// Longest request head on each listener, which is the first line and all headers of a request,
    /// from 8KiB to 16MiB
    #[arg(
        long,
        value_name = "SIZE",
        env = "VERTEX_GATEWAY_MAX_HEADER_BYTES",
        default_value = "64KiB",
        value_parser = size_within(8 << 10..=16 << 20)
    )]
    pub max_header_bytes: usize,

    /// Time for which connections are still accepted after SIGTERM or Ctrl-C, while /readyz returns
    /// 503, so that load balancers notice. A second signal exits at once
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_DRAIN_DELAY",
        default_value = "0s",
        value_parser = time(Duration::ZERO)
    )]
    pub drain_delay: Duration,

    /// Time for requests in flight to end after SIGTERM or Ctrl-C, after which they are aborted; 0
    /// for no limit
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_DRAIN_TIMEOUT",
        default_value = "1m",
        value_parser = time(Duration::ZERO)
    )]
    pub drain_timeout: Duration,

    /// The admin listener.
    #[command(flatten)]
    pub admin: AdminOptions,

    /// The log.
    #[command(flatten)]
    pub log: LogOptions,

    /// Interval at which endpoints that are configured by name are looked up again, and the age at
    /// which a list of models is; with 0 they are looked up only once
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_DISCOVERY_INTERVAL",
        default_value = "5m",
        value_parser = time_or_zero(Duration::from_secs(1))
    )]
    pub discovery_interval: Duration,
}

/// The error for a person who has no credentials yet. Elsewhere, the error lists the places that were
/// searched.
const NO_CREDENTIALS: &str = "no Google credentials were found: log in with

  gcloud auth application-default login

or add --emulator, to try it without a cloud and without credentials.
`vertex-gateway check` lists the places that were searched.";

/// Access control by keys and certificates, whose files can change.
pub(crate) struct AccessControl {
    pub(crate) clients: Arc<ArcSwap<Clients>>,
    /// `None` without TLS.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) browsers: Arc<Browsers>,
    sources: ClientSources,
    /// The files of the keys, and the files of the certificate.
    watched: [Watched; 2],
}

impl AccessControl {
    pub(crate) fn open(options: &ServingOptions) -> Result<Self, Error> {
        Self::of(options, ClientSources::new(&options.clients, &options.target))
    }

    /// The same for these clients.
    pub(crate) fn of(options: &ServingOptions, sources: ClientSources) -> Result<Self, Error> {
        let watched = [
            Watched::new("client keys", sources.files()),
            Watched::new("certificate", options.tls.files()),
        ];
        let clients = Arc::new(ArcSwap::from_pointee(sources.load(&Clients::default())?));
        let tls = options.tls.load()?.map(Arc::new);
        let keys = clients.load().have_keys();
        let mutual = tls.as_ref().is_some_and(|tls| tls.is_mutual());
        let browsers = Arc::new(Browsers::new(&options.browsers, keys, mutual)?);
        Ok(Self { clients, tls, browsers, sources, watched })
    }

    /// Whether clients must present a certificate.
    pub(crate) fn is_mutual(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_mutual())
    }
}

pub(crate) struct Backend {
    /// The emulator, if it runs in this process.
    pub(crate) emulator: Option<Arc<Emulator>>,
    pub(crate) identity: Identity,
    /// `None` if the whole base URL is set.
    pub(crate) project: Option<Given>,
    pub(crate) location: Option<Given>,
    pub(crate) upstream: Upstream,
    /// Its trusted hosts are those that the options name.
    pub(crate) auth: VertexAuthLayer,
    pub(crate) models: Arc<LiveTable>,
    pub(crate) publishers: Arc<PublisherLists>,
    /// The connections to Vertex AI, and the files of their certificates.
    network: Network,
    certificates: Watched,
    /// The configuration file with the table, if there is one.
    watched: Option<Watched>,
}

impl Backend {
    /// Finds the credentials, the upstream and the models of the options, and rejects invalid
    /// options.
    pub(crate) async fn find(
        options: &ServingOptions,
        retry: &RetryOptions,
        replay_limit: usize,
    ) -> Result<Self, Error> {
        let target = &options.target;
        let owned_emulator = target.credentials.start_emulator().await?.map(Arc::new);
        let emulator = owned_emulator.as_deref();
        let settings = target.settings(emulator, None)?;
        target.validate(&settings.with_some_project()?, emulator)?;
        let to_upstream = &target.credentials.network;
        let certificates = Watched::new("certificates for the upstream", to_upstream.files());
        let network = to_upstream.network()?;
        let project_known = settings.project().is_some() || settings.whole_base;
        let search = target.credentials.search(&target.file)?.project_known(project_known);
        let identity = find(search, emulator).await.map_err(|error| match error {
            tower_vertex::Error::Credentials(error)
                if error.is_not_found() && target.at_a_terminal =>
            {
                Error::new(NO_CREDENTIALS)
            }
            error => error.into(),
        })?;
        let info = identity.info.as_ref();
        let settings = target.settings(emulator, info)?;
        let upstream = settings.upstream()?;
        let auth = VertexAuthLayer::new(identity.source.clone()).replay_limit(replay_limit);
        let auth = target.trusting(auth, &upstream, emulator, info)?;
        if target.has_names() && info.is_some_and(|i| i.kind() == CredentialKind::MetadataServer) {
            first_token(auth.cache()).await;
        }
        let file = target.config();
        let watched = file.map(|file| Watched::new("models", vec![file.into()]));
        let models = LiveTable::new(
            target.clone(),
            upstream.clone(),
            auth.clone(),
            owned_emulator.clone(),
            identity.info.clone(),
            retry.clone(),
        );
        let models = Arc::new(models.await?);
        let publishers = PublisherLists::new(
            options.listing.clone(),
            network.clone(),
            charging(&auth, info, target.quota_project(), &upstream),
            models.layer().clone(),
            timeout(options.discovery_interval),
        );
        Ok(Self {
            emulator: owned_emulator,
            identity,
            project: settings.project().cloned(),
            location: settings.location().cloned(),
            upstream,
            auth,
            models,
            publishers,
            network,
            certificates,
            watched,
        })
    }

    /// Watches access control and the table of models for changes until the process ends. A
    /// notification of `again` reloads all of them.
    pub(crate) fn spawn_reloads(
        self,
        access: AccessControl,
        options: &ServingOptions,
        telemetry: &Arc<Telemetry>,
        again: Arc<Notify>,
    ) {
        let AccessControl { clients, tls, sources, watched: [keys, certificate], browsers: _ } =
            access;
        let mut all = vec![keys.reloading(move || {
            clients.store(Arc::new(sources.load(&clients.load())?));
            Ok(())
        })];
        let network = self.network;
        all.push(self.certificates.reloading(move || Ok(network.reload()?)));
        if let Some(tls) = tls {
            all.push(certificate.reloading(move || tls.reload()));
        }
        if let Some(watched) = self.watched {
            let (table, telemetry) = (Arc::clone(&self.models), Arc::clone(telemetry));
            let runtime = Handle::current();
            all.push(watched.reloading(move || {
                runtime.block_on(table.reload())?;
                telemetry.register_models(&table.layer().table());
                Ok(())
            }));
        }
        reload::watch_files(all, again);
        if let Some(interval) = timeout(options.discovery_interval) {
            tokio::spawn(self.models.refresh_every(interval));
        }
    }
}

/// Gets the first token for the lookup of endpoints by name, because a metadata server may issue
/// none in its first seconds. If this takes longer than 30 s, the lookup reports the error.
async fn first_token(cache: &TokenCache) {
    let until = Instant::now() + Duration::from_secs(30);
    while cache.warm_up().await.is_err() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
