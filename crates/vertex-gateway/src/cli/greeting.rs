//! The report of `serve` when it is ready. A person at a terminal gets a few lines; elsewhere the log has
//! it, and standard output the address.

use std::io::{self, IsTerminal as _};

use super::sidecar::{Sidecar, listening_on};
use crate::{
    config::{layered::Given, upstream::DEFAULT},
    output::print_lines,
    printable::fit,
};
use tower_vertex::redact;

pub(super) fn greet(sidecar: &Sidecar) {
    let Sidecar { addr, admin_lines, state, backend, .. } = sidecar;
    let keys = state.clients.load().len();
    let is_read = io::stdout().is_terminal() && io::stderr().is_terminal();
    let to_a_person = is_read && backend.emulator.is_none();
    if !to_a_person {
        tracing::info!(credentials = %backend.identity, "found");
        let upstream = state.upstream.to_string();
        tracing::info!(upstream = %redact::value(&upstream), "forwarding");
    }
    if let Some(proxy) = state.network.proxy_for(state.upstream.uri()) {
        tracing::info!(proxy = %redact::value(&proxy), "connecting through a proxy");
    }
    if keys > 0 {
        tracing::info!(keys, "clients must send a key");
    }
    let mut lines = Vec::new();
    if to_a_person {
        lines.extend(found(sidecar));
    }
    if let Some(emulator) = &backend.emulator {
        lines.push(format!("emulator listening on {}", emulator.url()));
    }
    let url = listening_on(*addr, state);
    lines.push(format!("listening on {url}"));
    lines.extend_from_slice(admin_lines);
    if to_a_person {
        let key = if keys > 0 { "KEY" } else { "unused" };
        lines.push(format!("  export OPENAI_BASE_URL={url}/v1"));
        lines.push(format!("  export OPENAI_API_KEY={key}"));
    } else if backend.emulator.is_some() && keys == 0 && state.tls.is_none() {
        lines.push(format!(
            r#"
try it:
  curl http://{addr}/v1/chat/completions -H 'content-type: application/json' -d '{{"model": "google/gemini-2.5-flash", "messages": [{{"role": "user", "content": "hello"}}]}}'

or set up any OpenAI SDK:
  export OPENAI_BASE_URL=http://{addr}/v1
  export OPENAI_API_KEY=unused
"#
        ));
    }
    print_lines(&lines);
}

/// The credentials, the project and the location, each with its source.
fn found(sidecar: &Sidecar) -> Vec<String> {
    let backend = &sidecar.backend;
    let line = |name, text: &str| format!("{name:11}  {}", fit(text));
    let mut lines = vec![line("credentials", &backend.identity.to_string())];
    let upstream = sidecar.state.upstream.to_string();
    match (&backend.project, &backend.location) {
        (Some(project), Some(location)) => {
            lines.push(line("project", &with_source(project)));
            lines.push(line("location", &with_source(location)));
        }
        _ => lines.push(line("upstream", &redact::value(&upstream).to_string())),
    }
    lines
}

fn with_source(given: &Given) -> String {
    let change = if given.from == DEFAULT { "; --location names another" } else { "" };
    format!("{}, from {}{change}", redact::value(&given.value), given.from)
}
