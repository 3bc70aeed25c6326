//! The sidecar `vertex-gateway`: any OpenAI client uses Vertex AI by changing its base URL.
//!
//! | folder | what it does |
//! |---|---|
//! | `cli` | the commands: [`run`] |
//! | `envoy` | gives Envoy the token, host and path of each request (feature `ext-authz`) |
//! | `server` | the listeners, and the parts that they share |
//! | `status` | the status page of the admin listener |
//! | `proxy` | forwards requests to Vertex AI, and responses to clients |
//! | `models` | the models that clients may use |
//! | `access` | the keys of clients, the models that each may use, and its limits |
//! | `outbound` | the connections to Vertex AI |
//! | `inbound` | connections and requests of clients, and the checks that precede the handling |
//! | `telemetry` | log, metrics and traces |
//! | `config` | settings, and the sources of their values |
//!
//! Each folder uses only those below it, and all use the files beside this one: `error`, `values`,
//! `colours`, `lazy_timer`, `local_reply`, `printable`, `quote`, `output`, `seldom`. `tests/architecture.rs`
//! checks this.
//!
//! ```no_run
//! use clap::Parser;
//! use vertex_gateway::{Command, run};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), vertex_gateway::Error> {
//! run(Command::parse_from(["vertex-gateway", "--emulator", "--listen", "127.0.0.1:0"])).await
//! # }
//! ```

mod access;
mod cli;
mod colours;
mod config;
#[cfg(feature = "ext-authz")]
mod envoy;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inbound;
mod joined_write;
mod lazy_timer;
mod local_reply;
mod models;
mod outbound;
mod output;
mod printable;
mod proxy;
mod quote;
mod seldom;
mod server;
#[cfg(test)]
mod simulation;
mod status;
mod telemetry;
mod values;

#[cfg(feature = "ext-authz")]
pub use self::envoy::ExtAuthzOptions;
pub use self::{
    access::{ClientOptions, concurrency::LimitOptions},
    cli::{
        args::{Command, Subcommand},
        check::CheckOptions,
        emulator::{CredentialChoice, EmulatorOptions},
        endpoints::EndpointsOptions,
        generate::{CompletionsOptions, ManOptions},
        init::InitOptions,
        models::ModelsOptions,
        run,
        run::RunOptions,
        serve::Options,
        start_log,
        token::TokenOptions,
    },
    config::{
        credentials::CredentialOptions, listing::ListingOptions, network::NetworkOptions,
        upstream::TargetOptions,
    },
    error::Error,
    inbound::tls::TlsOptions,
    outbound::OutboundOptions,
    server::{
        admin::{AdminOptions, StatusPage},
        startup::ServingOptions,
    },
    telemetry::log::{LogFormat, LogGuard, LogOptions},
};
