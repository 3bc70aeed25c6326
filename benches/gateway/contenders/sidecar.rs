//! `vertex-gateway`.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use tower::BoxError;

use super::{Observed, World};
use crate::{
    exchange::{CLIENT_KEY, LOCATION, PROJECT},
    process::{Server, root},
};

/// The name of the sidecar's log file.
pub const LOG: &str = "sidecar.log";

/// The program: the one that the variable names, or that of this checkout, which is built now.
pub fn binary() -> Result<PathBuf, BoxError> {
    if let Some(path) = env::var_os("VERTEX_GATEWAY") {
        return Ok(path.into());
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--locked", "--release", "-p", "vertex-gateway", "--target-dir", "target"])
        .current_dir(root())
        .status()?;
    if !status.success() {
        return Err(
            "vertex-gateway could not be built; set VERTEX_GATEWAY to another binary".into()
        );
    }
    Ok(root().join("target/release/vertex-gateway"))
}

pub fn start(observed: Observed, tls: bool, world: &World) -> Result<Server, BoxError> {
    let mut command = Command::new(&world.sidecar);
    // The process gets no variable of this machine.
    command.env_clear().args(["--listen", "127.0.0.1:0", "--project", PROJECT]);
    command.args(["--location", LOCATION, "--upstream", &world.upstream_url(tls)]);
    // The bench compares each response with the one that the upstream sent.
    command.args(["--compat", "off"]).arg("--credentials").arg(&world.credentials);
    command.args(["--workers", &world.cores.proxy_threads().to_string()]);
    if tls {
        let files = &world.certificates;
        command.arg("--upstream-ca").arg(&files.authority);
        command.arg("--tls-cert").arg(&files.certificate).arg("--tls-key").arg(&files.key);
    }
    match observed {
        Observed::Off => {
            command.env("VERTEX_GATEWAY_LOG", "off").stderr(Stdio::inherit());
        }
        Observed::On => {
            let keys = world.folder.join("keys");
            fs::write(&keys, format!("bench:{CLIENT_KEY}\n"))?;
            command.arg("--client-key-file").arg(keys);
            command.args(["--log-format", "json", "--admin-listen", "127.0.0.1:0"]);
            let log = fs::File::options().create(true).append(true).open(world.folder.join(LOG))?;
            command.stderr(log);
        }
    }
    Server::start(command, world.cores.proxy)
}
