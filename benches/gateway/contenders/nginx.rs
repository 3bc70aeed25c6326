//! nginx: a fixed token, no buffering, no access log.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use tower::BoxError;

use super::World;
use crate::{
    certificates::NAME,
    exchange::{CHAT, PATH, TOKEN},
    process::{Server, installed},
};

fn found() -> Option<(std::path::PathBuf, String)> {
    // Debian installs servers in a folder that is not in every PATH.
    installed(&["nginx".into(), "/usr/sbin/nginx".into()], "-v")
}

pub fn version() -> Option<String> {
    found().map(|(_, line)| line.replace("nginx version: nginx/", "nginx "))
}

pub fn start(tls: bool, world: &World) -> Result<Option<Server>, BoxError> {
    let Some((program, _)) = found() else { return Ok(None) };
    let place = world.folder.join(if tls { "nginx-tls" } else { "nginx" });
    fs::create_dir_all(&place)?;
    let config = place.join("nginx.conf");
    Server::start_at(world.cores.proxy, |addr| {
        fs::write(&config, text(addr, tls, &place, world))?;
        let mut command = Command::new(program);
        command.arg("-p").arg(&place).arg("-c").arg(&config).args(["-e", "stderr"]);
        Ok(command)
    })
    .map(Some)
}

fn text(addr: SocketAddr, tls: bool, place: &Path, world: &World) -> String {
    let place = place.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path \"{place}/{kind}\";\n"))
        .concat();
    let files = &world.certificates;
    let (ssl, to_upstream) = if tls {
        let ssl = format!(
            "ssl_certificate \"{}\"; ssl_certificate_key \"{}\";",
            files.certificate.display(),
            files.key.display()
        );
        let to_upstream = format!(
            "proxy_ssl_trusted_certificate \"{}\"; proxy_ssl_verify on; proxy_ssl_name {NAME}; \
             proxy_ssl_server_name on; proxy_ssl_protocols TLSv1.2 TLSv1.3;",
            files.authority.display()
        );
        (ssl + " ssl_protocols TLSv1.2 TLSv1.3;", to_upstream)
    } else {
        Default::default()
    };
    let (listen, scheme) = if tls { (" ssl", "https") } else { ("", "http") };
    format!(
        r#"daemon off;
pid "{place}/pid";
error_log stderr warn;
worker_processes {threads};
events {{ worker_connections 40000; }}
http {{
    access_log off;
{temporary}    tcp_nodelay on;
    keepalive_requests 1000000000;
    upstream vertex {{
        server {upstream};
        keepalive 1024;
        keepalive_requests 1000000000;
    }}
    server {{
        listen {addr}{listen};
        {ssl}
        location = {CHAT} {{
            proxy_pass {scheme}://vertex{PATH};
            {to_upstream}
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_read_timeout 10m;
            proxy_set_header Connection "";
            proxy_set_header Authorization "Bearer {TOKEN}";
        }}
    }}
}}
"#,
        threads = world.cores.proxy_threads(),
        upstream = world.upstream(tls),
    )
}
