//! Credentials: the options, the search for them, and the first token.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use clap::{Args, builder::FalseyValueParser};

use super::{network::NetworkOptions, parse::ConfigFile};
use crate::{
    error::Error,
    values::{non_empty, shown_debug, within},
};
use tower_vertex::{
    redact,
    token::{
        CachedToken, Credentials, CredentialsBuilder, CredentialsInfo, FetchReason, GcpAuth,
        TokenCache, TokenFuture, TokenSource,
    },
};
use tower_vertex_emulator::Emulator;

/// The options of every command that needs a token.
#[derive(Clone, Args)]
pub struct CredentialOptions {
    /// Google credential file of any type [env: GOOGLE_APPLICATION_CREDENTIALS] [default: the file
    /// or account that Application Default Credentials find]
    #[arg(long = "credentials", value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Service account whose tokens are used, and which the credentials may impersonate. A list
    /// separated by commas is a chain: each account impersonates the next, and the tokens are those
    /// of the last
    #[arg(long, value_name = "EMAIL", env = "VERTEX_GATEWAY_IMPERSONATE_SERVICE_ACCOUNT")]
    pub impersonate_service_account: Option<String>,

    /// Lifetime of the access tokens of an impersonated service account, from 1s to 12h [default:
    /// 1h]
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_TOKEN_LIFETIME",
        value_parser = within(Duration::from_secs(1)..=Duration::from_secs(12 * 3600))
    )]
    pub token_lifetime: Option<Duration>,

    /// Origin of the IAM Service Account Credentials API, which issues the tokens of an
    /// impersonated service account [default: `https://iamcredentials.googleapis.com`]
    #[arg(long, value_name = "ORIGIN", env = "VERTEX_GATEWAY_IAM_ENDPOINT")]
    pub iam_endpoint: Option<String>,

    /// Project that is billed and whose quota is used [default: the quota project of the credential
    /// file]
    #[arg(long, value_name = "PROJECT", env = "GOOGLE_CLOUD_QUOTA_PROJECT")]
    pub quota_project: Option<String>,

    /// Allow a credential file that sends secrets in clear text to an http token endpoint that is
    /// not on this machine, or tokens to an endpoint that is not Google's
    #[arg(
        long,
        env = "VERTEX_GATEWAY_ALLOW_INSECURE_TOKEN_ENDPOINTS",
        value_parser = FalseyValueParser::new()
    )]
    pub allow_insecure_token_endpoints: bool,

    /// The connections to Google, for tokens and for requests.
    #[command(flatten)]
    pub network: NetworkOptions,

    /// Send requests to an emulator of Vertex AI inside this process, which needs no cloud and no
    /// credentials
    #[arg(long, env = "VERTEX_GATEWAY_EMULATOR", value_parser = FalseyValueParser::new())]
    pub emulator: bool,
}

shown_debug!(
    CredentialOptions: file, impersonate_service_account, iam_endpoint, quota_project;
    network, emulator
);

/// The account whose tokens requests carry.
pub(crate) struct Identity {
    pub(crate) source: Arc<dyn TokenSource>,
    /// `None` for the emulator's own service account.
    pub(crate) info: Option<CredentialsInfo>,
}

/// Writes one line without secrets.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.info {
            Some(info) => info.fmt(f),
            None => f.write_str("service account key of the emulator"),
        }
    }
}

impl CredentialOptions {
    /// Starts the emulator, if `--emulator` is set.
    pub(crate) async fn start_emulator(&self) -> Result<Option<Emulator>, Error> {
        if !self.emulator {
            return Ok(None);
        }
        self.fit_the_emulator()?;
        let started = Emulator::start().await;
        Ok(Some(started.map_err(|error| Error::new(format!("no emulator: {error}")))?))
    }

    fn fit_the_emulator(&self) -> Result<(), Error> {
        not_with_the_emulator(&[
            ("--credentials", self.file().is_some()),
            (
                "--impersonate-service-account",
                non_empty(&self.impersonate_service_account).is_some(),
            ),
            ("--token-lifetime", self.token_lifetime.is_some()),
            ("--iam-endpoint", non_empty(&self.iam_endpoint).is_some()),
        ])
    }

    fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref().filter(|path| !path.as_os_str().is_empty())
    }

    /// The search for credentials with these options.
    pub(crate) fn search(&self, file: &ConfigFile) -> Result<CredentialsBuilder, Error> {
        let mut search = Credentials::builder()
            .allow_insecure_token_endpoints(self.allow_insecure_token_endpoints)
            .network(&self.network.network()?);
        if let Some(path) = self.file() {
            search = search.file(path).named_by(file.option_source::<Self>("--credentials"));
        }
        if let Some(chain) = non_empty(&self.impersonate_service_account) {
            let mut accounts: Vec<&str> = chain.split(',').map(str::trim).collect();
            accounts.retain(|account| !account.is_empty());
            let account = accounts.pop().ok_or_else(|| {
                Error::new(format!(
                    "invalid {} {:?}: give a service account's e-mail address",
                    file.option_source::<Self>("--impersonate-service-account"),
                    redact::value(chain)
                ))
            })?;
            search = search.impersonate(account).delegates(accounts);
        }
        if let Some(lifetime) = self.token_lifetime {
            search = search.token_lifetime(lifetime);
        }
        if let Some(origin) = non_empty(&self.iam_endpoint) {
            search = search.iam_endpoint(origin);
        }
        Ok(search)
    }
}

/// clap's `conflicts_with` does not fit: it takes a variable that is set to false for a conflict.
pub(crate) fn not_with_the_emulator(options: &[(&str, bool)]) -> Result<(), Error> {
    match options.iter().find(|(_, given)| *given) {
        Some((name, _)) => {
            Err(Error::new(format!("{name} and --emulator exclude each other: remove one of them")))
        }
        None => Ok(()),
    }
}

/// Returns the credentials that `search` finds, or the emulator's own service account.
pub(crate) async fn find(
    search: CredentialsBuilder,
    emulator: Option<&Emulator>,
) -> Result<Identity, tower_vertex::Error> {
    if let Some(emulator) = emulator {
        let source = GcpAuth::from_service_account_key(emulator.service_account_key())?;
        return Ok(Identity { source: Arc::new(source), info: None });
    }
    let credentials = search.detect().await?;
    let info = Some(credentials.info().clone());
    Ok(Identity { source: Arc::new(credentials), info })
}

/// A first token, and the cache that holds it.
pub(crate) struct FetchedToken {
    pub(crate) cache: TokenCache,
    token: CachedToken,
    /// `None` if the source does not report it.
    pub(crate) life: Option<Duration>,
}

impl FetchedToken {
    /// The bare token. The name marks each use of it as intended.
    pub(crate) fn in_clear(&self) -> &str {
        let header = self.token.authorization().to_str().unwrap_or_default();
        header.strip_prefix("Bearer ").unwrap_or(header)
    }
}

/// Fetches a token as requests do. The cache limits the time of the fetch for any source.
pub(crate) async fn fetch_token(
    source: Arc<dyn TokenSource>,
) -> Result<FetchedToken, tower_vertex::Error> {
    let life = Arc::default();
    let cache = TokenCache::new(Watched { source, life: Arc::clone(&life) });
    let token = cache.get().await?;
    let life = *life.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(FetchedToken { cache, token, life })
}

/// A source that records the lifetime of its latest token as reported, because the cache assumes a
/// lifetime if none is reported.
struct Watched {
    source: Arc<dyn TokenSource>,
    life: Arc<Mutex<Option<Duration>>>,
}

impl TokenSource for Watched {
    fn fetch(&self, reason: FetchReason) -> TokenFuture<'_> {
        Box::pin(async move {
            let token = self.source.fetch(reason).await?;
            *self.life.lock().unwrap_or_else(PoisonError::into_inner) = token.expires_in();
            Ok(token)
        })
    }

    fn quota_project(&self) -> Option<&str> {
        self.source.quota_project()
    }
}
