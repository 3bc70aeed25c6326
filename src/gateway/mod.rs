//! The sidecar `vertex-gateway`: any OpenAI client uses Vertex AI by changing its base URL.
//!
//! | room | what it does |
//! |---|---|
//! | [`Options`] | what can be set, on the command line and in the environment |
//! | `file` | the configuration file |
//! | `app` | the stack: the path of a request through its layers to Vertex AI, and of its answer back |
//! | `directory` | endpoints by their names, looked up and kept up to date |
//! | `models` | the answers to `/v1/models` |
//! | `inbound` | what is refused at the door, and what happens to a body that nobody reads |
//! | `refusal` | the answers, in OpenAI's form, to what did not reach Vertex AI |
//! | `unreadable` | the same for what is not even HTTP |
//! | [`TargetOptions`] | where requests go, and who may see the token |
//! | [`CredentialOptions`] | whose token it is |
//! | [`run`] | listening, the emulator if asked for, and the end |
//! | `check` | what works and what does not, one line each, with the remedy |
//! | `token` | a token, printed |
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

mod app;
mod check;
mod config;
mod credentials;
mod directory;
mod endpoints;
mod file;
mod inbound;
mod models;
mod refusal;
mod run;
mod target;
mod token;
mod unreadable;

pub use self::{
    config::{
        CheckOptions, Command, EmulatorOptions, EndpointsOptions, Failure, Options, Subcommand,
        TokenOptions,
    },
    credentials::CredentialOptions,
    run::run,
    target::TargetOptions,
};
