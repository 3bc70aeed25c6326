//! The help of the commands: `-h` has a line for each option that most people need, and `--help` has
//! every option with the whole of its explanation, under the headings of the manual.

use clap::Arg;

/// The headings of the manual, each with its options. `docs/operations.md` has the same ones, which a
/// test checks.
pub(super) const HEADINGS: [(&str, &[&str]); 6] = [
    (
        "Where requests go",
        &[
            "project",
            "location",
            "endpoint",
            "dedicated-host",
            "api-version",
            "upstream",
            "allow-insecure-upstream",
            "config",
            "default-model",
            "discover-endpoints",
            "list-models",
            "discovery-interval",
            "forward-header",
            "forward-query",
            "model-methods",
            "client-locations",
            "client-projects",
            "emulator",
        ],
    ),
    (
        "Whose credentials",
        &[
            "credentials",
            "impersonate-service-account",
            "token-lifetime",
            "iam-endpoint",
            "allow-insecure-token-endpoints",
            "quota-project",
        ],
    ),
    (
        "Connections to Google",
        &["proxy", "no-proxy", "upstream-ca", "upstream-cert", "upstream-key"],
    ),
    (
        "Which clients are served",
        &[
            "listen",
            "client-key-file",
            "allow-unauthenticated",
            "tls-cert",
            "tls-key",
            "tls-client-ca",
            "cors-origin",
            "allowed-host",
            "health-path",
        ],
    ),
    (
        "Load and time",
        &[
            "max-connections",
            "max-concurrent-requests",
            "max-queued-requests",
            "queue-timeout",
            "max-attempts",
            "retry-max-delay",
            "compat",
            "signature-memory",
            "signature-lifetime",
            "max-request-bytes",
            "replay-limit",
            "max-header-bytes",
            "tls-handshake-timeout",
            "request-header-timeout",
            "request-body-timeout",
            "keepalive-timeout",
            "http2-ping-interval",
            "http2-ping-timeout",
            "response-header-timeout",
            "stream-idle-timeout",
            "send-timeout",
            "upstream-connection-lifetime",
            "drain-delay",
            "drain-timeout",
            "workers",
        ],
    ),
    ("Log, metrics and traces", &["admin-listen", "status-page", "log-format", "log-peer-address"]),
];

/// The options below a heading that `-h` has: those of the table in `docs/start.md`, which a test
/// checks.
pub(super) const COMMON: [&str; 14] = [
    "project",
    "location",
    "endpoint",
    "credentials",
    "config",
    "listen",
    "client-key-file",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "cors-origin",
    "max-attempts",
    "admin-listen",
    "emulator",
];

/// Arranges the help of all commands. The value of a variable is in none of them, because it may be
/// a secret.
pub(super) fn arrange(command: clap::Command) -> clap::Command {
    command.mut_args(arranged).mut_subcommands(|command| {
        // The emulator's options have names of `serve`, and are others.
        let is_the_emulator = command.get_name() == "emulator";
        command.mut_args(|arg| if is_the_emulator { explained(arg) } else { arranged(arg) })
    })
}

fn arranged(arg: Arg) -> Arg {
    let long = arg.get_long().unwrap_or_default().to_owned();
    let heading = HEADINGS.iter().find(|(_, options)| options.contains(&long.as_str()));
    let arg = explained(arg);
    match heading {
        Some((heading, _)) => {
            arg.help_heading(*heading).hide_short_help(!COMMON.contains(&long.as_str()))
        }
        None => arg,
    }
}

/// Gives the option its first sentence for `-h`, and all of them for `--help`.
fn explained(arg: Arg) -> Arg {
    let arg = arg.hide_env_values(true);
    let Some(whole) = arg.get_help().map(ToString::to_string) else { return arg };
    match whole.split_once(". ") {
        Some((first, _)) => arg.help(first.to_owned()).long_help(whole),
        None => arg,
    }
}
