//! LiteLLM: a fixed token for an upstream that speaks OpenAI's protocol, one worker, no database.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use tower::BoxError;

use super::{World, environments};
use crate::{
    exchange::{CLIENT_KEY, MODEL, PATH, TOKEN},
    process::{Server, root},
};

/// The program and its version, from the name of the folder beside its package: the program itself
/// takes many seconds for it. The packages of the tests have the client alone, so they do not count.
fn found() -> Option<(PathBuf, String)> {
    let [environment, _] = environments(&root());
    let program = environment.join("bin/litellm");
    for python in fs::read_dir(environment.join("lib")).ok()?.flatten() {
        let Ok(packages) = fs::read_dir(python.path().join("site-packages")) else { continue };
        for package in packages.flatten() {
            let name = package.file_name().to_string_lossy().into_owned();
            let version =
                name.strip_prefix("litellm-").and_then(|name| name.strip_suffix(".dist-info"));
            if let (Some(version), true) = (version, program.exists()) {
                return Some((program, format!("LiteLLM {version}")));
            }
        }
    }
    None
}

pub fn version() -> Option<String> {
    found().map(|(_, version)| version)
}

pub fn start(world: &World) -> Result<Option<Server>, BoxError> {
    let Some((program, _)) = found() else { return Ok(None) };
    let config = world.folder.join("litellm.yaml");
    let base = PATH.strip_suffix("/chat/completions").unwrap_or(PATH);
    fs::write(
        &config,
        format!(
            r#"model_list:
- model_name: {MODEL}
  litellm_params:
    model: openai/{MODEL}
    api_base: http://{}{base}
    api_key: {TOKEN}
general_settings:
  master_key: {CLIENT_KEY}
litellm_settings:
  telemetry: false
"#,
            world.upstream
        ),
    )?;
    let log = fs::File::create(world.folder.join("litellm.log"))?;
    Server::start_at(world.cores.proxy, |addr| {
        let mut command = Command::new(program);
        command.arg("--config").arg(&config).args(["--host", "127.0.0.1", "--num_workers", "1"]);
        command.args(["--port", &addr.port().to_string(), "--telemetry", "False"]);
        // Without these it fetches a price list from the network, and logs each request.
        command.env("LITELLM_LOCAL_MODEL_COST_MAP", "True").env("LITELLM_LOG", "ERROR");
        command.stderr(Stdio::from(log));
        Ok(command)
    })
    .map(Some)
}
