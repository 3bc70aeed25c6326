//! What `serve` reports when it is ready.

use super::sidecar::Sidecar;
use crate::output::print_lines;
use tower_vertex::redact;

/// Reports what was found and where the sidecar listens: in the log, and on standard output.
pub(super) fn greet(sidecar: &Sidecar) {
    let Sidecar { addr, admin_addr, state: shared, backend, .. } = sidecar;
    let (emulator, identity) = (backend.emulator.as_deref(), &backend.identity);
    let keys = shared.clients.load().len();
    let scheme = if shared.tls.is_some() { "https" } else { "http" };
    tracing::info!(credentials = %identity, "found");
    let upstream = shared.upstream.to_string();
    tracing::info!(upstream = %redact::value(&upstream), "forwarding");
    if let Some(proxy) = shared.network.proxy_for(shared.upstream.uri()) {
        tracing::info!(proxy = %redact::value(&proxy), "connecting through a proxy");
    }
    if keys > 0 {
        tracing::info!(keys, "clients must send a key");
    }
    let mut lines = Vec::new();
    if let Some(emulator) = emulator {
        lines.push(format!("emulator listening on {}", emulator.url()));
    }
    lines.push(format!("listening on {scheme}://{addr}"));
    lines.extend(admin_addr.map(|addr| format!("admin on http://{addr}")));
    if emulator.is_some() && keys == 0 && shared.tls.is_none() {
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
