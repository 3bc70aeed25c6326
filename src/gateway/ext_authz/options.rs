//! What can be set.

use clap::Args;

use crate::gateway::{AdminOptions, ClientOptions, LogOptions, TargetOptions, TlsOptions};

/// The options of `vertex-gateway ext-authz`.
#[derive(Clone, Debug, Args)]
pub struct ExtAuthzOptions {
    /// Where Envoy reaches it: an address and a port, 0 for a free one, or unix:PATH for a socket
    /// file. The answers carry the access token, so an address that is not this machine's needs
    /// --tls-client-ca
    #[arg(
        long,
        value_name = "ADDR",
        env = "VERTEX_GATEWAY_EXT_AUTHZ_LISTEN",
        default_value = "127.0.0.1:8082"
    )]
    pub listen: String,

    /// Who may ask Envoy.
    #[command(flatten)]
    pub clients: ClientOptions,

    /// The certificate that Envoy sees, and the one that it must show.
    #[command(flatten)]
    pub tls: TlsOptions,

    /// Where requests go, and whose credentials they carry.
    #[command(flatten)]
    pub target: TargetOptions,

    /// Longest request body in bytes that Envoy may send along; as `max_request_bytes` of Envoy's
    /// `with_request_body`, or more
    #[arg(long, value_name = "BYTES", env = "VERTEX_GATEWAY_MAX_REQUEST_BYTES", default_value_t = 32 << 20)]
    pub max_request_bytes: usize,

    /// Seconds between SIGTERM or Ctrl-C, when /readyz begins to say no, and the last connection that
    /// is accepted
    #[arg(long, value_name = "SECONDS", env = "VERTEX_GATEWAY_DRAIN_DELAY", default_value_t = 0)]
    pub drain_delay: u64,

    /// Seconds that calls of Envoy under way have to come to their end after SIGTERM or Ctrl-C, before
    /// they are cut; 0 waits for all of them. Envoy's requests go on without
    #[arg(
        long,
        value_name = "SECONDS",
        env = "VERTEX_GATEWAY_DRAIN_TIMEOUT",
        default_value_t = 60
    )]
    pub drain_timeout: u64,

    /// How it is watched.
    #[command(flatten)]
    pub admin: AdminOptions,

    /// What it tells.
    #[command(flatten)]
    pub log: LogOptions,

    /// Seconds after which endpoints that go by name are looked up again; 0 for only at the start
    #[arg(
        long,
        value_name = "SECONDS",
        env = "VERTEX_GATEWAY_DISCOVERY_INTERVAL",
        default_value_t = 300
    )]
    pub discovery_interval: u64,
}
