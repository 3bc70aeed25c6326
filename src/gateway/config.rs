//! What can be set, and what each setting comes to. A wrong one is a sentence with its remedy.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, builder::FalseyValueParser};
use http::Uri;

use crate::{
    auth::VertexAuthLayer,
    emulator::Emulator,
    error::ConfigError,
    route::{ApiVersion, Endpoint, Upstream, UpstreamBuilder},
    token::{GcpAuth, is_loopback},
};

/// Google Vertex AI for every OpenAI client.
///
/// Point a client's base URL at it (OPENAI_BASE_URL=http://127.0.0.1:8080/v1) and leave its API
/// key at anything: the access token is found, refreshed and sent by the gateway.
#[derive(Debug, Parser)]
#[command(name = "vertex-gateway", version, args_conflicts_with_subcommands = true)]
pub struct Command {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,
    /// The options of `serve`, which is what is done without a subcommand.
    #[command(flatten)]
    pub options: Options,
}

/// What `vertex-gateway` can do.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Forward OpenAI requests to Vertex AI (the default)
    Serve(Box<Options>),
    /// Serve an emulator of Vertex AI, for tests without a cloud
    Emulator(EmulatorOptions),
}

/// The options of `vertex-gateway serve`.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "VERTEX_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: String,

    /// Google Cloud project [env: GOOGLE_CLOUD_PROJECT, GCLOUD_PROJECT or PROJECT_ID]
    #[arg(long)]
    pub project: Option<String>,

    /// Location: a region, `global`, `us` or `eu` [env: GOOGLE_CLOUD_LOCATION or LOCATION]
    #[arg(long)]
    pub location: Option<String>,

    /// `openapi` for Gemini and models as a service, or the id of a deployed endpoint [env: ENDPOINT] [default: openapi]
    #[arg(long, value_name = "ID")]
    pub endpoint: Option<String>,

    /// DNS name of a dedicated endpoint, as `gcloud ai endpoints describe` shows it
    #[arg(long, value_name = "DNS", env = "VERTEX_GATEWAY_DEDICATED_HOST")]
    pub dedicated_host: Option<String>,

    /// Version of the API: v1 or v1beta1 [default: v1]
    #[arg(long, value_name = "VERSION", env = "VERTEX_GATEWAY_API_VERSION")]
    pub api_version: Option<String>,

    /// Send requests, and the token, here instead of to Google: a private address or a proxy.
    /// With a path it is the whole base, to which `/chat/completions` is added; without, Vertex
    /// AI's own path is kept
    #[arg(long, value_name = "URL", env = "VERTEX_GATEWAY_UPSTREAM")]
    pub upstream: Option<String>,

    /// Let the token travel in clear text to an http --upstream that is not this machine
    #[arg(long, env = "VERTEX_GATEWAY_ALLOW_INSECURE_UPSTREAM", value_parser = FalseyValueParser::new())]
    pub allow_insecure_upstream: bool,

    /// Service-account key [env: GOOGLE_APPLICATION_CREDENTIALS] [default: what Google's
    /// Application Default Credentials find]
    #[arg(long, value_name = "FILE")]
    pub credentials: Option<PathBuf>,

    /// Project that pays and whose quota counts, if it is another one
    #[arg(long, value_name = "PROJECT", env = "GOOGLE_CLOUD_QUOTA_PROJECT")]
    pub quota_project: Option<String>,

    /// Serve against an emulator of Vertex AI inside this process: no cloud, no credentials
    #[arg(long, env = "VERTEX_GATEWAY_EMULATOR", value_parser = FalseyValueParser::new())]
    pub emulator: bool,

    /// Longest request body in bytes; a longer one gets a 413
    #[arg(long, value_name = "BYTES", env = "VERTEX_GATEWAY_MAX_REQUEST_BYTES", default_value_t = 32 << 20)]
    pub max_request_bytes: usize,

    /// Longest request body in bytes that is kept to be sent again after a 401; 0 for none
    #[arg(long, value_name = "BYTES", env = "VERTEX_GATEWAY_REPLAY_LIMIT", default_value_t = 32 << 20)]
    pub replay_limit: usize,

    /// Seconds to wait for the head of an answer, which comes when a model has thought; a
    /// dedicated endpoint may take an hour. 0 waits for ever
    #[arg(
        long,
        value_name = "SECONDS",
        env = "VERTEX_GATEWAY_RESPONSE_TIMEOUT",
        default_value_t = 3610
    )]
    pub response_timeout: u64,
}

/// The options of `vertex-gateway emulator`.
#[derive(Clone, Debug, Args)]
pub struct EmulatorOptions {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "VERTEX_EMULATOR_LISTEN",
        default_value = "127.0.0.1:8081"
    )]
    pub listen: String,

    /// Serve the API over TLS, HTTP/1.1 and HTTP/2, with a certificate made at start
    #[arg(long)]
    pub tls: bool,

    /// Answer only at the host that a location has on the real service
    #[arg(long)]
    pub host_aware: bool,
}

/// Why the gateway did not start, as a sentence for its user.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As [`Display`](fmt::Display): it is what `main` shows.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self(match (error.setting(), error.is_missing()) {
            ("project", true) => {
                "no project set: pass --project or set GOOGLE_CLOUD_PROJECT".to_owned()
            }
            ("location", true) => {
                "no location set: pass --location (a region, `global`, `us` or `eu`) or set \
                 GOOGLE_CLOUD_LOCATION"
                    .to_owned()
            }
            _ => error.to_string(),
        })
    }
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, Failure> {
    // `localhost:8080` is what people write; a name that needs DNS is not for a socket to bind.
    let numeric = text.replace("localhost:", "127.0.0.1:");
    numeric.parse().map_err(|_| {
        Failure(format!(
            "invalid --listen {text:?}: give an address and a port, such as 127.0.0.1:8080"
        ))
    })
}

/// An option given as nothing is not given: that is what an empty variable means.
fn given(option: &Option<String>) -> Option<&str> {
    option.as_deref().map(str::trim).filter(|value| !value.is_empty())
}

impl Options {
    pub(super) fn response_timeout(&self) -> Option<Duration> {
        (self.response_timeout > 0).then(|| Duration::from_secs(self.response_timeout))
    }

    /// Where requests go.
    pub(super) fn upstream(&self, emulator: Option<&Emulator>) -> Result<Upstream, Failure> {
        if emulator.is_some() {
            self.fits_the_emulator()?;
        }
        // An option stands before the variables of its meaning, the emulator's names after them.
        let setting = |name: &str| match name {
            "GOOGLE_CLOUD_PROJECT" => given(&self.project).map(str::to_owned),
            "GOOGLE_CLOUD_LOCATION" => given(&self.location).map(str::to_owned),
            "ENDPOINT" => given(&self.endpoint).map(str::to_owned),
            _ => None,
        };
        let emulated = |name: &str| match name {
            "PROJECT_ID" if emulator.is_some() => Some("emulator".to_owned()),
            "LOCATION" if emulator.is_some() => Some("us-central1".to_owned()),
            _ => None,
        };
        let lookup =
            |name: &str| setting(name).or_else(|| environment(name)).or_else(|| emulated(name));
        let mut builder = UpstreamBuilder::from_lookup(lookup);
        if let Some(dns) = given(&self.dedicated_host) {
            let id = lookup("ENDPOINT").filter(|id| id != "openapi").ok_or_else(|| {
                Failure::new(
                    "no endpoint set for --dedicated-host: pass its id with --endpoint or set ENDPOINT",
                )
            })?;
            builder = builder.endpoint(Endpoint::Dedicated { id, dns: dns.to_owned() });
        }
        if let Some(version) = given(&self.api_version) {
            builder = builder.api_version(version.parse::<ApiVersion>()?);
        }
        if let Some(emulator) = emulator {
            builder = builder.origin(emulator.url());
        } else if let Some(url) = given(&self.upstream) {
            let uri = self.checked_upstream(url)?;
            if matches!(uri.path(), "" | "/") {
                builder = builder.origin(url);
            } else {
                builder = builder.endpoint(Endpoint::BaseUrl { url: url.to_owned() });
            }
        }
        Ok(builder.build()?)
    }

    /// Not by clap's `conflicts_with`, for which a variable that says no is a conflict too.
    fn fits_the_emulator(&self) -> Result<(), Failure> {
        let given = [
            ("--upstream", given(&self.upstream).is_some()),
            ("--dedicated-host", given(&self.dedicated_host).is_some()),
            ("--credentials", self.credentials.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(Failure(format!(
                "{name} is not for the emulator: leave out either it or --emulator"
            ))),
            None => Ok(()),
        }
    }

    fn checked_upstream(&self, url: &str) -> Result<Uri, Failure> {
        // Not repeated if it could hold a password.
        let shown = if url.contains('@') { "with a user name" } else { url };
        let uri = url.parse::<Uri>().ok().filter(|uri| !url.contains('@') && uri.host().is_some());
        let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let Some(uri) = uri else {
            return Err(Failure(format!(
                "invalid --upstream {shown:?}: give a URL such as https://vertex.example.com"
            )));
        };
        let clear_text = uri.scheme_str() == Some("http");
        if clear_text && !self.allow_insecure_upstream && !uri.host().is_some_and(is_loopback) {
            return Err(Failure(format!(
                "--upstream {shown:?} would send the access token in clear text: use https, or \
                 pass --allow-insecure-upstream if the network between is yours"
            )));
        }
        Ok(uri)
    }

    /// The token, and who may see it.
    pub(super) fn auth(
        &self,
        upstream: &Upstream,
        emulator: Option<&Emulator>,
    ) -> Result<VertexAuthLayer, Failure> {
        let source = match (emulator, &self.credentials) {
            (Some(emulator), _) => {
                GcpAuth::from_service_account_key(emulator.service_account_key())?
            }
            (None, Some(file)) => GcpAuth::from_service_account_file(file)?,
            (None, None) => match environment("GOOGLE_APPLICATION_CREDENTIALS") {
                Some(file) => GcpAuth::from_service_account_file(file)?,
                None => GcpAuth::new(),
            },
        };
        let mut layer = VertexAuthLayer::new(source).replay_limit(self.replay_limit);
        if emulator.is_some() || given(&self.upstream).is_some() {
            layer = layer.trust_origin(upstream.origin())?;
        }
        if layer.check_host(upstream.uri()).is_err() {
            return Err(Failure(format!(
                "{} is not one of Vertex AI's hosts, so the access token is not sent to it: give \
                 --dedicated-host as `gcloud ai endpoints describe` shows it, or name a host of \
                 your own with --upstream",
                upstream.origin()
            )));
        }
        if let Some(project) = given(&self.quota_project) {
            layer = layer.quota_project(project)?;
        }
        Ok(layer)
    }
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Options {
        Command::parse_from([&["vertex-gateway"], arguments].concat()).options
    }

    #[test]
    fn a_dedicated_host_that_would_not_be_sent_a_token_is_refused_at_the_start() {
        let common = ["--project", "p", "--location", "us-central1", "--endpoint", "1"];
        let refused = |host: &str| {
            let options = parse(&[&common[..], &["--dedicated-host", host]].concat());
            let upstream = options.upstream(None).unwrap();
            options.auth(&upstream, None).err().map(|failure| failure.to_string())
        };
        assert_eq!(refused("1.us-central1-2.prediction.vertexai.goog"), None);
        let sentence = refused("vertex.example.com").unwrap();
        assert!(sentence.starts_with("https://vertex.example.com is not one of"), "{sentence}");
    }

    #[tokio::test]
    async fn what_the_emulator_has_no_use_for_is_refused() {
        let emulator = Emulator::start().await.unwrap();
        let options = parse(&["--emulator", "--upstream", "http://127.0.0.1:9"]);
        let failure = options.upstream(Some(&emulator)).unwrap_err().to_string();
        assert_eq!(
            failure,
            "--upstream is not for the emulator: leave out either it or --emulator"
        );
        assert!(parse(&["--emulator"]).upstream(Some(&emulator)).is_ok());
    }
}
