//! `vertex-gateway run -- COMMAND`: a sidecar for one command, which finds it by the variables that the
//! clients of OpenAI, Gemini and Claude read.
//!
//! The sidecar demands a key that only the command has, because other users of the machine can reach
//! its address.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use clap::{Arg, Args, builder::Resettable};
use tokio::sync::{Notify, oneshot};

use super::{
    child::{Running, command},
    serve::Options,
    sidecar::Sidecar,
};
use crate::{
    access::ClientSources,
    config::parse::{OF_SERVERS, address},
    error::Error,
    server::{admin::StatusPage, startup::AccessControl},
    values::shown_debug,
};

/// The options of `vertex-gateway run`.
#[derive(Clone, Args)]
#[command(
    mut_arg("listen", |arg| of_servers(arg).default_value("127.0.0.1:0").help(
        "Address and port of the sidecar, by default a free port of this machine. The variable and \
         the configuration file do not set it"
    )),
    mut_arg("admin_listen", of_servers),
    mut_arg("client_key_file", refused),
    mut_arg("allow_unauthenticated", refused),
    mut_arg("tls_cert", refused),
    mut_arg("tls_key", refused),
    mut_arg("tls_client_ca", refused),
    mut_arg("drain_delay", refused),
)]
pub struct RunOptions {
    /// The command, with its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    /// File to which the log of the sidecar is appended [default: only errors are logged, on standard
    /// error]
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,

    /// The options of the sidecar.
    #[command(flatten)]
    pub options: Options,
}

shown_debug!(RunOptions: log_file; options);

/// An option that neither its variable nor the configuration file sets for `run`: see [`OF_SERVERS`].
fn of_servers(arg: Arg) -> Arg {
    debug_assert!(arg.get_long().is_some_and(|long| OF_SERVERS.contains(&long)));
    arg.env(Resettable::Reset)
}

/// An option about other clients than the command, so that there is nothing for it to set.
fn refused(arg: Arg) -> Arg {
    of_servers(arg).hide(true).conflicts_with("command")
}

/// Variables by which the command would use another service, or send another key.
const UNSET: [&str; 11] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_VERTEX",
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_USE_ENTERPRISE",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
];

/// Runs the command, and ends with its exit code. If the sidecar cannot serve, the command is not
/// started.
pub(super) async fn run(options: RunOptions) -> Result<(), Error> {
    let RunOptions { command: mut words, mut options, log_file: _ } = options;
    if options.serving.admin.admin_listen.is_none() {
        // The port of the emulator's page would be printed nowhere.
        options.serving.admin.status_page = StatusPage::Off;
    }
    let serving = &options.serving;
    let addr = address::<Options>("--listen", &options.listen, &serving.target.file)?;
    let (sources, key) = ClientSources::of_command()?;
    let access = AccessControl::of(serving, sources)?;
    let sidecar = Sidecar::start(&options, addr, access).await?;

    let root = format!("http://{}", sidecar.addr);
    let program = words.first().map(Path::new).and_then(Path::file_stem);
    let variables = variables(&root, key.in_clear(), program);
    let options_of_program = own_options(&root, program);
    words.splice(1..1, options_of_program);
    let mut command = command(&words)?;
    UNSET.into_iter().for_each(|name| {
        command.env_remove(name);
    });
    command.envs(variables);
    without_a_proxy(&mut command);
    if let Some(emulator) = &sidecar.backend.emulator {
        command.env("VERTEX_EMULATOR_CONTROL_URL", emulator.control_url());
    }

    let running = Running::start(command)?;
    let (is_running, ended) = oneshot::channel::<()>();
    let stop = async {
        let _ = ended.await;
    };
    let exit_code = async {
        let code = running.exit_code().await;
        drop(is_running);
        code
    };
    // A hangup is for the command, so only changed files are read again.
    let (exit_code, served) =
        tokio::join!(exit_code, sidecar.serve(stop, Arc::new(Notify::new()), None));
    match exit_code? {
        0 => served,
        code => Err(Error::of_command(code)),
    }
}

/// The variables of clients, each with its value: the address of the sidecar, or the key.
fn variables(root: &str, key: &str, program: Option<&OsStr>) -> [(&'static str, String); 9] {
    let v1 = format!("{root}/v1");
    // Claude Code prompts before it uses an API key that is new to it, and takes a token without a
    // prompt. Other clients read only the API key.
    let is_claude_code = program.is_some_and(|program| program == "claude");
    let of_claude = if is_claude_code { "ANTHROPIC_AUTH_TOKEN" } else { "ANTHROPIC_API_KEY" };
    let values = [
        ("OPENAI_BASE_URL", v1.as_str()),
        // LiteLLM, and so aider.
        ("OPENAI_API_BASE", &v1),
        // Open WebUI.
        ("OPENAI_API_BASE_URL", &v1),
        ("OPENAI_API_KEY", key),
        ("CODEX_API_KEY", key),
        ("GOOGLE_GEMINI_BASE_URL", root),
        ("GEMINI_API_KEY", key),
        ("ANTHROPIC_BASE_URL", root),
        (of_claude, key),
    ];
    values.map(|(name, value)| (name, value.to_owned()))
}

/// The options by which a program gets the address, if it reads none of the variables. They stand before its
/// other arguments, so that a user's own take precedence.
fn own_options(root: &str, program: Option<&OsStr>) -> Vec<OsString> {
    match program.and_then(OsStr::to_str) {
        Some("codex") => vec!["-c".into(), format!("openai_base_url=\"{root}/v1\"").into()],
        _ => Vec::new(),
    }
}

/// Makes clients connect to the sidecar directly, also if the environment names a proxy.
fn without_a_proxy(command: &mut Command) {
    const HERE: &str = "127.0.0.1,localhost";
    for name in ["NO_PROXY", "no_proxy"] {
        match std::env::var(name).ok().filter(|hosts| !hosts.trim().is_empty()) {
            Some(hosts) => command.env(name, format!("{hosts},{HERE}")),
            None => command.env(name, HERE),
        };
    }
}
