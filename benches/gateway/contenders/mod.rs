//! The proxies: how each is started, and what it does not do.

mod envoy;
mod haproxy;
mod litellm;
mod nginx;
mod sidecar;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tower::BoxError;

pub use self::sidecar::{LOG, binary};
use crate::{
    certificates::Certificates,
    cores::Cores,
    exchange::{CHAT, CLIENT_KEY, Manner, PATH, TOKEN},
    process::{Server, myself},
    server::Threads,
};

/// The features of the sidecar beside forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// No log, no client keys, no listener for metrics.
    Off,
    /// Client keys, a line of JSON for each request, and metrics.
    On,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The clients' requests go to the upstream itself: what the bench adds to all rows.
    NoProxy,
    Bare(Threads),
    Sidecar(Observed),
    Nginx,
    HaProxy,
    /// With a fixed token, or with one that Envoy's OAuth2 injector fetches.
    Envoy {
        oauth2: bool,
    },
    LiteLlm,
}

/// The upstream, the files and the processors, which are the same for all contenders.
#[derive(Debug)]
pub struct World {
    pub cores: Cores,
    pub folder: PathBuf,
    pub sidecar: PathBuf,
    /// The key file of a service account, for the sidecar.
    pub credentials: PathBuf,
    pub certificates: Certificates,
    pub upstream: SocketAddr,
    pub upstream_tls: SocketAddr,
    /// The processor and the compiler, as this process saw them before it was pinned.
    pub machine: String,
}

impl World {
    fn upstream(&self, tls: bool) -> SocketAddr {
        if tls { self.upstream_tls } else { self.upstream }
    }

    fn upstream_url(&self, tls: bool) -> String {
        let scheme = if tls { "https" } else { "http" };
        format!("{scheme}://{}", self.upstream(tls))
    }
}

impl Contender {
    /// Returns `None` if the program is not installed, or if there is nothing to start.
    pub fn start(self, tls: bool, world: &World) -> Result<Option<Server>, BoxError> {
        match self {
            Self::NoProxy => Ok(None),
            Self::Bare(threads) => {
                let mut command = myself()?;
                command.args(["bare", threads.id(), &world.upstream(tls).to_string()]);
                if tls {
                    command.arg(&world.folder);
                }
                Server::start(command, world.cores.proxy).map(Some)
            }
            Self::Sidecar(observed) => sidecar::start(observed, tls, world).map(Some),
            Self::Nginx => nginx::start(tls, world),
            Self::HaProxy => haproxy::start(tls, world),
            Self::Envoy { oauth2 } => envoy::start(oauth2, tls, world),
            Self::LiteLlm => litellm::start(world),
        }
    }

    pub fn manner(self) -> Manner {
        match self {
            Self::NoProxy => Manner { path: PATH, key: TOKEN, unchanged: true },
            Self::LiteLlm => Manner { path: CHAT, key: CLIENT_KEY, unchanged: false },
            _ => Manner { path: CHAT, key: CLIENT_KEY, unchanged: true },
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::NoProxy => "no proxy",
            Self::Bare(Threads::Shared) => "bare hyper, one runtime",
            Self::Bare(Threads::PerCore) => "bare hyper, a runtime per core",
            Self::Sidecar(Observed::Off) => "**sidecar, logging off**",
            Self::Sidecar(Observed::On) => "**sidecar, all on**",
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
            Self::Envoy { oauth2: false } => "Envoy",
            Self::Envoy { oauth2: true } => "Envoy, OAuth2 injector",
            Self::LiteLlm => "LiteLLM",
        }
    }

    /// The work of the sidecar that this row does not do.
    pub fn lacks(self) -> &'static str {
        match self {
            Self::NoProxy => "everything: the cost of the bench itself",
            Self::Sidecar(Observed::Off) => {
                "nothing; client keys and the log are off, `--compat off`"
            }
            Self::Sidecar(Observed::On) => {
                "nothing; client keys, a line of JSON for each request, metrics; `--compat off`"
            }
            Self::Envoy { oauth2: true } => {
                "fetches and refreshes its token, by client credentials. No replay after a 401, no \
                 route by the model in the body, no errors in OpenAI's form, no count of tokens"
            }
            Self::LiteLlm => {
                "a fixed token. Parses the request and writes the response again, counts tokens and \
                 costs. No replay after a 401"
            }
            _ => {
                "a fixed token, and one fixed path. No refresh, no replay after a 401, no route by \
                 the model in the body, no errors in OpenAI's form, no count of tokens"
            }
        }
    }

    /// The open loop's rate, for a proxy that could not bear the rate of the others.
    pub fn is_slow(self) -> bool {
        self == Self::LiteLlm
    }
}

/// Places where Python's packages may be: those of `just bench`, and those of the tests.
fn environments(root: &Path) -> [PathBuf; 2] {
    [root.join("target/bench-python"), root.join(".venv")]
}

/// The first lines of `--version` of the programs that are not built here.
pub fn versions() -> Vec<String> {
    let found = [nginx::version(), haproxy::version(), envoy::version(), litellm::version()];
    found.into_iter().flatten().collect()
}
