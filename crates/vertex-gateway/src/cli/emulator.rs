//! `vertex-gateway emulator`: Vertex AI on loopback, for tests without a cloud.

use clap::Args;

use crate::{
    config::parse::{ConfigFile, address},
    error::Error,
    output::print_lines,
    server::{listener::cannot_listen, signals::stop_signal},
    values::shown_debug,
};
use tower_vertex_emulator::Emulator;

/// The options of `vertex-gateway emulator`.
#[derive(Clone, Args)]
pub struct EmulatorOptions {
    /// Address and port of the emulator; port 0 chooses a free port
    #[arg(
        long,
        value_name = "ADDR",
        env = "VERTEX_EMULATOR_LISTEN",
        default_value = "127.0.0.1:8081"
    )]
    pub listen: String,

    /// Serve the API over TLS, by HTTP/1.1 and HTTP/2, with a certificate that is made at the start
    #[arg(long)]
    pub tls: bool,

    /// Respond only at the host names that the real service has for a location
    #[arg(long)]
    pub host_aware: bool,
}

shown_debug!(EmulatorOptions: listen; tls, host_aware);

/// Serves until Ctrl-C or SIGTERM.
pub(super) async fn serve(options: &EmulatorOptions) -> Result<(), Error> {
    let addr = address::<EmulatorOptions>("--listen", &options.listen, &ConfigFile::default())?;
    let emulator = Emulator::builder().listen(addr).tls(options.tls).host_aware(options.host_aware);
    let emulator = emulator.start().await.map_err(|error| cannot_listen(addr, &error))?;
    let mut lines = vec![format!("emulator listening on {}", emulator.url())];
    if options.tls {
        lines.push(format!("emulator control on {}", emulator.control_url()));
    }
    print_lines(&lines);
    stop_signal()?.await;
    Ok(())
}
