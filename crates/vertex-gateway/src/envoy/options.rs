//! What can be set.

use clap::Args;

use crate::{server::bootstrap::ServingOptions, values::shown_debug};

/// The options of `vertex-gateway ext-authz`.
#[derive(Clone, Args)]
#[command(
    mut_arg("allow_unauthenticated", |arg| arg.help(
        "Give tokens to whoever reaches --listen without a certificate: only Envoy can"
    )),
    mut_arg("max_request_bytes", |arg| arg.help(
        "Longest request body that Envoy may send along; as `max_request_bytes` of Envoy's \
         `with_request_body`, or more; 0 refuses each one"
    )),
    mut_arg("drain_timeout", |arg| arg.help(
        "Time that calls of Envoy under way have to come to their end after SIGTERM or Ctrl-C, \
         before they are cut; 0 waits for all of them. Envoy's requests go on without"
    )),
)]
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

    /// What all that serves has.
    #[command(flatten)]
    pub serving: ServingOptions,
}

shown_debug!(ExtAuthzOptions: listen; serving);
