//! The options of `ext-authz`.

use clap::Args;

use crate::{server::startup::ServingOptions, values::shown_debug};

/// The options of `vertex-gateway ext-authz`.
#[derive(Clone, Args)]
#[command(
    mut_arg("client_key_file", |arg| arg.help(
        "File of the keys that clients of Envoy must send, one `name:key` a line; it is read again \
         when it changes. The variable VERTEX_GATEWAY_CLIENT_KEYS may hold keys too, separated by \
         commas. Without keys, every client of Envoy can use your credentials"
    )),
    mut_arg("allow_unauthenticated", |arg| arg.help(
        "Give access tokens to clients without a certificate: only Envoy can reach --listen"
    )),
    mut_arg("max_request_bytes", |arg| arg.help(
        "Longest request body that Envoy may send with a call: at least `max_request_bytes` of \
         Envoy's `with_request_body`; 0 refuses every body"
    )),
    mut_arg("drain_timeout", |arg| arg.help(
        "Time for Envoy's calls in flight to end after SIGTERM or Ctrl-C, after which they are \
         aborted; 0 for no limit. The requests of Envoy continue without them"
    )),
)]
pub struct ExtAuthzOptions {
    /// Address and port that Envoy calls, or unix:PATH for a socket file; port 0 chooses a free
    /// port. The responses carry the access token, so an address that is not on this machine needs
    /// --tls-client-ca
    #[arg(
        long,
        value_name = "ADDR",
        env = "VERTEX_GATEWAY_EXT_AUTHZ_LISTEN",
        default_value = "127.0.0.1:8082"
    )]
    pub listen: String,

    /// Options that `serve` and `ext-authz` share.
    #[command(flatten)]
    pub serving: ServingOptions,
}

shown_debug!(ExtAuthzOptions: listen; serving);
