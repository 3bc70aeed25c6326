//! The command line. A setting that is missing or wrong is a sentence with its remedy.

use std::{ffi::OsString, num::NonZeroUsize, thread, time::Duration};

use clap::{
    Arg, Args, CommandFactory, FromArgMatches as _, Parser,
    builder::{FalseyValueParser, Resettable},
    error::{ContextKind, ContextValue, ErrorKind},
};

#[cfg(feature = "ext-authz")]
use crate::gateway::envoy::ExtAuthzOptions;
use crate::gateway::{
    access::concurrency::LimitOptions,
    config::{
        credentials::CredentialOptions, file::FileOptions, retry::RetryOptions,
        upstream::TargetOptions,
    },
    error::Failure,
    outbound::OutboundOptions,
    server::bootstrap::ServingOptions,
    values::{given_by, number, parsed, shown_debug, size, time},
};

/// Google Vertex AI for every OpenAI client.
///
/// Point a client's base URL at it (OPENAI_BASE_URL=http://127.0.0.1:8080/v1) and leave its API
/// key at anything: the access token is found, refreshed and sent by the gateway.
///
/// What a configuration file sets is a default of the options that are parsed here.
#[derive(Debug, Args)]
#[command(
    about = "Google Vertex AI for every OpenAI client",
    long_about = "Google Vertex AI for every OpenAI client\n\nPoint a client's base URL at it \
                  (OPENAI_BASE_URL=http://127.0.0.1:8080/v1) and leave its API key at anything: \
                  the access token is found, refreshed and sent by the gateway",
    version,
    args_conflicts_with_subcommands = true
)]
pub struct Command {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub subcommand: Option<Subcommand>,
    /// The options of `serve`, which is what is done without a subcommand.
    #[command(flatten)]
    pub options: Options,
}

impl CommandFactory for Command {
    fn command() -> clap::Command {
        Self::augment_args(clap::Command::new("vertex-gateway"))
    }

    fn command_for_update() -> clap::Command {
        Self::augment_args_for_update(clap::Command::new("vertex-gateway"))
    }
}

/// Reads the configuration file, if one is named: its options are defaults of the command line.
impl Parser for Command {
    fn parse() -> Self {
        Self::parse_from(std::env::args_os())
    }

    fn try_parse() -> Result<Self, clap::Error> {
        Self::try_parse_from(std::env::args_os())
    }

    fn parse_from<I, T>(args: I) -> Self
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        Self::try_parse_from(args).unwrap_or_else(|error| error.exit())
    }

    fn try_parse_from<I, T>(args: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
        let parse = |command: clap::Command| {
            let matches = command.try_get_matches_from(&args);
            matches
                .and_then(|mut matches| Self::from_arg_matches_mut(&mut matches))
                .map_err(without_values)
        };
        let command = without_empty_variables(Self::command());
        let mut parsed = parse(command.clone())?;
        if let Some(target) = parsed.target()
            && target.config().is_some()
        {
            let refused = |failure: Failure| {
                clap::Error::raw(ErrorKind::ValueValidation, format!("{failure}\n"))
            };
            target.load(&FileOptions::of(&command)).map_err(refused)?;
            parsed = parse(target.file.as_defaults(command))?;
        }
        Ok(parsed)
    }
}

/// An error of clap without what could be a secret: the value of an option, and a word that no option
/// takes. What could be meant, and what an option takes, stays.
fn without_values(mut error: clap::Error) -> clap::Error {
    const HIDDEN: &str = "…";
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    if text(&error, ContextKind::InvalidValue).is_some_and(|value| !value.is_empty()) {
        error.insert(ContextKind::InvalidValue, ContextValue::String(HIDDEN.to_owned()));
        // An option that has a value is named as it was given.
        if let Some(option) = text(&error, ContextKind::InvalidArg) {
            let long = option.split(' ').next().unwrap_or_default();
            let named = match given_by::<Command>(long) {
                by if by == long => option,
                variable => format!("{option} (from {variable})"),
            };
            error.insert(ContextKind::InvalidArg, ContextValue::String(named));
        }
        return error;
    }
    let is_a_word = |text: &str| {
        text.len() <= 24 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    };
    for kind in [ContextKind::InvalidSubcommand, ContextKind::InvalidArg] {
        let Some(word) = text(&error, kind).filter(|word| !is_a_word(word)) else { continue };
        // `--option=value` is named by its option.
        let shown = word.split_once('=').map(|(option, _)| option).filter(|name| is_a_word(name));
        let is_known = word.starts_with('-') && word.contains(' ');
        if is_known && error.kind() != ErrorKind::UnknownArgument {
            continue;
        }
        error.insert(kind, ContextValue::String(shown.unwrap_or(HIDDEN).to_owned()));
        // A tip that repeats it.
        error.remove(ContextKind::Suggested);
    }
    error
}

/// A variable that is empty is as one that is not set.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let clear = |arg: Arg| match arg.get_env().and_then(std::env::var_os) {
        Some(value) if value.is_empty() => arg.env(Resettable::Reset),
        _ => arg,
    };
    command.mut_args(clear).mut_subcommands(|command| command.mut_args(clear))
}

impl Command {
    /// Of the commands that may have a configuration file.
    pub(crate) fn target(&mut self) -> Option<&mut TargetOptions> {
        match &mut self.subcommand {
            None => Some(&mut self.options.serving.target),
            Some(Subcommand::Serve(options)) => Some(&mut options.serving.target),
            Some(Subcommand::Check(options)) => Some(&mut options.target),
            #[cfg(feature = "ext-authz")]
            Some(Subcommand::ExtAuthz(options)) => Some(&mut options.serving.target),
            Some(Subcommand::Token(_) | Subcommand::Endpoints(_) | Subcommand::Emulator(_)) => None,
        }
    }
}

/// What `vertex-gateway` can do.
#[derive(Debug, clap::Subcommand)]
pub enum Subcommand {
    /// Forward OpenAI requests to Vertex AI (the default)
    Serve(Box<Options>),
    /// Say what works and what does not, from the credentials to an answer of the model
    Check(Box<CheckOptions>),
    /// Print an access token
    Token(Box<TokenOptions>),
    /// List the endpoints of one location or several, with the hosts of dedicated ones
    Endpoints(Box<EndpointsOptions>),
    /// Serve an emulator of Vertex AI, for tests without a cloud
    Emulator(EmulatorOptions),
    /// Give Envoy the token and the way of each request: its `ext_authz` and `ext_proc` protocols
    #[cfg(feature = "ext-authz")]
    ExtAuthz(Box<ExtAuthzOptions>),
}

shown_debug!(Options: listen; serving, outbound, retry, limits);
shown_debug!(CheckOptions: model; target, json);
shown_debug!(EndpointsOptions: project, location, display_name, api_version, upstream; credentials);
shown_debug!(EmulatorOptions: listen; tls, host_aware);

/// The options of `vertex-gateway serve`.
#[derive(Clone, Args)]
pub struct Options {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR",
        env = "VERTEX_GATEWAY_LISTEN",
        default_value = "127.0.0.1:8080"
    )]
    pub listen: String,

    /// What all that serves has.
    #[command(flatten)]
    pub serving: ServingOptions,

    /// Path at which --listen answers health checks, such as /healthz: without a key and without a
    /// body, 200, or 503 from SIGTERM on [default: none]
    #[arg(
        long,
        value_name = "PATH",
        env = "VERTEX_GATEWAY_HEALTH_PATH",
        value_parser = parsed(health_path)
    )]
    pub health_path: Option<String>,

    /// Time that a client may take for the head of a request, or to begin a next one, after which
    /// its connection is closed; for a TLS handshake, too, but never more than 10 s. A load
    /// balancer in front must keep its connections idle for a shorter time. The same over HTTP/2,
    /// where a client with a request in flight must answer pings in that time
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_HEADER_TIMEOUT",
        default_value = "30s",
        value_parser = time(Duration::from_secs(1))
    )]
    pub header_timeout: Duration,

    /// Longest request body that is kept to be sent again, after a 401 or for another attempt; 0
    /// for none
    #[arg(
        long,
        value_name = "SIZE",
        env = "VERTEX_GATEWAY_REPLAY_LIMIT",
        default_value = "32MiB",
        value_parser = size()
    )]
    pub replay_limit: usize,

    /// Time to wait for the head of an answer, which comes when a model has thought; the token and
    /// all attempts count, its upload and its wait for a turn do not. A dedicated endpoint may take
    /// an hour. 0 waits for ever
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_RESPONSE_TIMEOUT",
        default_value = "3610s",
        value_parser = time(Duration::ZERO)
    )]
    pub response_timeout: Duration,

    /// Time without a byte in the middle of an answer, after which it is broken off; 0 waits for
    /// ever
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_IDLE_TIMEOUT",
        default_value = "10m",
        value_parser = time(Duration::ZERO)
    )]
    pub idle_timeout: Duration,

    /// Time for the body of a request to come; 0 waits for ever
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_CLIENT_BODY_TIMEOUT",
        default_value = "5m",
        value_parser = time(Duration::ZERO)
    )]
    pub client_body_timeout: Duration,

    /// Time in which a client takes no byte of its answer, after which its connection is closed, or
    /// its stream is reset over HTTP/2; 0 waits for ever
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_SEND_TIMEOUT",
        default_value = "1m",
        value_parser = time(Duration::ZERO)
    )]
    pub send_timeout: Duration,

    /// The connections on the way out.
    #[command(flatten)]
    pub outbound: OutboundOptions,

    /// Threads that serve [default: one for each processor]
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VERTEX_GATEWAY_WORKERS",
        value_parser = number::<usize>(1..=256)
    )]
    pub workers: Option<usize>,

    /// How often.
    #[command(flatten)]
    pub retry: RetryOptions,

    /// How much at a time.
    #[command(flatten)]
    pub limits: LimitOptions,
}

/// The options of `vertex-gateway check`.
#[derive(Clone, Args)]
pub struct CheckOptions {
    /// Where requests go, and whose credentials they carry.
    #[command(flatten)]
    pub target: TargetOptions,

    /// Model to ask for one token [default: google/gemini-2.5-flash; none for a deployed endpoint,
    /// which ignores it]
    #[arg(long, value_name = "PUBLISHER/MODEL")]
    pub model: Option<String>,

    /// Print one JSON document: {"ok", "checks": [{"name", "ok", "detail", "remedy"}]}
    #[arg(long)]
    pub json: bool,
}

/// The options of `vertex-gateway token`.
#[derive(Clone, Debug, Args)]
pub struct TokenOptions {
    /// Whose token it is.
    #[command(flatten)]
    pub credentials: CredentialOptions,

    /// Print one JSON document: {"access_token", "expires_in", "expires_at", "token_type"}
    #[arg(long)]
    pub json: bool,
}

/// The options of `vertex-gateway endpoints`.
#[derive(Clone, Args)]
pub struct EndpointsOptions {
    /// Google Cloud project [also env: GOOGLE_CLOUD_PROJECT, GCLOUD_PROJECT or PROJECT_ID] [default:
    /// the project of the credentials]
    #[arg(long, env = "VERTEX_GATEWAY_PROJECT")]
    pub project: Option<String>,

    /// Location, or several with commas between, which are asked at the same time [also env:
    /// GOOGLE_CLOUD_LOCATION or LOCATION]
    #[arg(long, value_name = "LOCATION[,LOCATION…]", env = "VERTEX_GATEWAY_LOCATION")]
    pub location: Option<String>,

    /// List only the endpoints with exactly this display name
    #[arg(long, value_name = "NAME")]
    pub display_name: Option<String>,

    /// Print one JSON array: [{"id", "display_name", "location", "project", "models": [{"id",
    /// "model", "display_name"}], "dedicated", "dedicated_host"}]
    #[arg(long)]
    pub json: bool,

    /// Version of the API: v1 or v1beta1 [default: v1]
    #[arg(long, value_name = "VERSION", env = "VERTEX_GATEWAY_API_VERSION")]
    pub api_version: Option<String>,

    /// Ask here instead of Google, for all locations: a private address or a proxy, without a path
    #[arg(long, value_name = "URL", env = "VERTEX_GATEWAY_UPSTREAM")]
    pub upstream: Option<String>,

    /// Let the token travel in clear text to an http --upstream that is not this machine
    #[arg(long, env = "VERTEX_GATEWAY_ALLOW_INSECURE_UPSTREAM", value_parser = FalseyValueParser::new())]
    pub allow_insecure_upstream: bool,

    /// Who asks.
    #[command(flatten)]
    pub credentials: CredentialOptions,
}

/// The options of `vertex-gateway emulator`.
#[derive(Clone, Args)]
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

/// A path as requests have it.
fn health_path(text: &str) -> Result<String, String> {
    let is_fit = |byte: u8| byte.is_ascii_graphic() && !b"?#%\\\"".contains(&byte);
    if text.starts_with('/') && text.bytes().all(is_fit) {
        return Ok(text.to_owned());
    }
    Err("give a path that starts with a slash, such as /healthz, without a query".to_owned())
}

impl Options {
    pub(crate) fn workers(&self) -> usize {
        let processors = || thread::available_parallelism().map_or(1, NonZeroUsize::get);
        self.workers.unwrap_or_else(processors)
    }
}

#[cfg(test)]
mod tests;
