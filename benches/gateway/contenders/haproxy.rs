//! HAProxy: a fixed token, no log.

use std::{fs, net::SocketAddr, process::Command};

use tower::BoxError;

use super::World;
use crate::{
    certificates::NAME,
    exchange::{PATH, TOKEN},
    process::{Server, installed},
};

fn found() -> Option<(std::path::PathBuf, String)> {
    installed(&["haproxy".into(), "/usr/sbin/haproxy".into()], "-v")
}

pub fn version() -> Option<String> {
    let (_, line) = found()?;
    Some(format!("HAProxy {}", line.split(' ').nth(2)?.split('-').next()?))
}

pub fn start(tls: bool, world: &World) -> Result<Option<Server>, BoxError> {
    let Some((program, _)) = found() else { return Ok(None) };
    let config = world.folder.join(if tls { "haproxy-tls.cfg" } else { "haproxy.cfg" });
    Server::start_at(world.cores.proxy, |addr| {
        fs::write(&config, text(addr, tls, world))?;
        let mut command = Command::new(program);
        command.args(["-q", "-db", "-f"]).arg(&config);
        Ok(command)
    })
    .map(Some)
}

/// The defaults include `TCP_NODELAY`. Without `http-no-delay`, a first chunk waits for the next
/// one.
fn text(addr: SocketAddr, tls: bool, world: &World) -> String {
    let files = &world.certificates;
    let (to_clients, to_upstream) = if tls {
        (
            format!(" ssl crt \"{}\" alpn http/1.1", files.both.display()),
            format!(
                " ssl verify required ca-file \"{}\" sni str({NAME}) alpn http/1.1",
                files.authority.display()
            ),
        )
    } else {
        Default::default()
    };
    format!(
        r#"global
    nbthread {threads}
defaults
    mode http
    timeout client 10m
    timeout connect 10s
    timeout server 10m
    option http-no-delay
frontend clients
    bind {addr}{to_clients}
    http-request set-path {PATH}
    http-request set-header Authorization "Bearer {TOKEN}"
    default_backend vertex
backend vertex
    http-reuse always
    server vertex {upstream}{to_upstream}
"#,
        threads = world.cores.proxy_threads(),
        upstream = world.upstream(tls),
    )
}
