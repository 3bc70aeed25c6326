//! The sidecar `vertex-gateway`: any OpenAI client uses Vertex AI by changing its base URL.
//!
//! | room | what it does |
//! |---|---|
//! | [`Options`] | what can be set, on the command line and in the environment |
//! | `file` | the configuration file |
//! | `app` | the stack: the path of a request through its layers to Vertex AI, and of its answer back |
//! | `catalog` | the table of models in force |
//! | `discovery` | endpoints by their names, looked up and kept up to date |
//! | `clients` | who may ask, which models, how often |
//! | `tls` | the certificate that clients see, and those that they must show |
//! | `watch` | files that are read again when they change |
//! | `policy` | whether a request may go to its model, and when |
//! | `limits` | how many are under way at a time |
//! | `retry` | what is sent again, and how often |
//! | `reason` | why Vertex AI answered with an error, for the log |
//! | `record` | one request, to the last byte of its answer |
//! | `breaks` | the answer as it comes: silences and breaks |
//! | `sight` | what operators see of requests: metrics, and a line of the log each |
//! | `log` | the log, which holds nobody up |
//! | `trace` | the same requests as spans, for a collector of traces |
//! | `admin` | the listener of metrics and health |
//! | `usage` | the tokens that an answer cost |
//! | `operation` | what a model is asked to do, in metrics and spans |
//! | `browser` | web pages: under which hosts and of which origins they may ask, and CORS |
//! | `models` | the answers to `/v1/models` |
//! | `activity` | what a connection of a client is doing, and since when it does nothing |
//! | `send_timeout` | streams of HTTP/2 whose client takes nothing |
//! | `descriptors` | how many connections the limit of open files allows |
//! | `seldom` | warnings that are not repeated for each connection |
//! | `inbound` | what is refused at the door, and what happens to a body that nobody reads |
//! | `outbound` | the connections to Vertex AI: which are kept, and for how long |
//! | `refusal` | the answers, in OpenAI's form, to what did not reach Vertex AI |
//! | `strict` | what two servers might read in two ways, and is not read at all |
//! | `unreadable` | the same for what is not even HTTP |
//! | [`TargetOptions`] | where requests go, and who may see the token |
//! | [`CredentialOptions`] | whose token it is |
//! | `listen` | the workers, and the connections that they are dealt |
//! | `signals` | Ctrl-C, SIGTERM, SIGHUP; and systemd |
//! | [`ServingOptions`] | what all that serves stands on: who may come, credentials, upstream, token, models |
//! | `ext_authz` | the same for Envoy: it sends the request, with the token and the way from here (feature `ext-authz`) |
//! | [`run`] | the commands, and the end |
//! | `check` | what works and what does not, one line each, with the remedy |
//! | `token` | a token, printed |
//! | `values` | how times, sizes and numbers are written, and how large they may be |
//! | `endpoints` | what is deployed where, as a table |
//!
//! ```no_run
//! use clap::Parser;
//! use tower_vertex::gateway::{Command, run};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_vertex::gateway::Failure> {
//! run(Command::parse_from(["vertex-gateway", "--emulator", "--listen", "127.0.0.1:0"])).await
//! # }
//! ```

mod activity;
mod admin;
mod app;
mod breaks;
mod browser;
mod catalog;
mod check;
mod clients;
mod config;
mod context;
mod credentials;
mod descriptors;
mod discovered;
mod discovery;
mod endpoints;
mod error;
mod errors;
#[cfg(feature = "ext-authz")]
mod ext_authz;
mod file;
mod ground;
mod inbound;
mod limits;
mod listen;
mod log;
mod models;
mod operation;
mod outbound;
mod output;
mod policy;
mod printable;
mod reason;
mod recorded_body;
mod redact;
mod refusal;
mod request_log;
mod resource;
mod retry;
mod run;
mod seldom;
mod send_timeout;
mod sight;
mod signals;
mod strict;
mod target;
mod tls;
mod token;
mod trace;
mod unreadable;
mod usage;
mod values;
mod watch;

#[cfg(feature = "ext-authz")]
pub use self::ext_authz::ExtAuthzOptions;
pub use self::{
    admin::AdminOptions,
    clients::ClientOptions,
    config::{
        CheckOptions, Command, EmulatorOptions, EndpointsOptions, Options, Subcommand, TokenOptions,
    },
    credentials::CredentialOptions,
    error::Failure,
    ground::ServingOptions,
    limits::LimitOptions,
    log::{LogFormat, LogGuard, LogOptions},
    outbound::OutboundOptions,
    run::{run, start_log},
    target::TargetOptions,
    tls::TlsOptions,
};
