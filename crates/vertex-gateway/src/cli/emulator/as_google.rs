//! `--as-google`, in the network of the command: the emulator stands for Google's hosts while the
//! command runs.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use super::{
    CredentialChoice, EmulatorOptions,
    namespace::{FOLDER, write},
};
use crate::{
    cli::child::{Running, command},
    error::Error,
};
use tower_vertex_emulator::Emulator;

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Variables that would lead a client away from the emulator.
const UNSET: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "GCE_METADATA_HOST",
    "GCE_METADATA_IP",
    "GCE_METADATA_ROOT",
];
/// The variables by which clients find root certificates.
const ROOTS: [&str; 7] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HTTPLIB2_CA_CERTS",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "DENO_CERT",
];

/// Serves the emulator and runs the command. Removes the folder at the end.
pub(super) async fn run(folder: &Path, options: &EmulatorOptions) -> Result<(), Error> {
    let ended = run_in(folder, options).await;
    let _ = fs::remove_dir_all(folder);
    match ended? {
        0 => Ok(()),
        code => Err(Error::of_command(code)),
    }
}

async fn run_in(folder: &Path, options: &EmulatorOptions) -> Result<u8, Error> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut control = vec![local(80)];
    if options.credential != Some(CredentialChoice::None) {
        control.push((METADATA, 80).into());
    }
    let emulator =
        options.builder()?.listen(local(443)).tls(true).host_aware(true).control(control);
    let emulator = emulator.start().await.map_err(|error| {
        Error::new(format!("--as-google cannot listen in the network of the command: {error}"))
    })?;
    let mut command = command(&options.command)?;
    prepare(&mut command, folder, options, &emulator)
        .map_err(|error| Error::new(format!("--as-google cannot write its files: {error}")))?;

    Running::start(command)?.exit_code().await
}

/// Writes the files for the command, and sets its variables.
fn prepare(
    command: &mut Command,
    folder: &Path,
    options: &EmulatorOptions,
    emulator: &Emulator,
) -> io::Result<()> {
    let path = |name: &str| folder.join(name);
    let authority = emulator.certificate_pem().unwrap_or_default();
    write(folder, "authority.pem", authority.as_bytes(), 0o644)?;
    let mut roots = fs::read(path("roots.pem"))?;
    roots.extend_from_slice(b"\n");
    roots.extend_from_slice(authority.as_bytes());
    write(folder, "roots.pem", &roots, 0o644)?;
    let machine = fs::read_to_string(path("hosts"))?;
    write(folder, "hosts", hosts(options, emulator, &machine).as_bytes(), 0o644)?;

    command.env_remove(FOLDER);
    UNSET.into_iter().for_each(|name| {
        command.env_remove(name);
    });
    command.envs(ROOTS.map(|name| (name, path("roots.pem"))));
    // Node.js and Bun have the other roots built in.
    command.env("NODE_EXTRA_CA_CERTS", path("authority.pem"));
    command.env("VERTEX_EMULATOR_CONTROL_URL", emulator.control_url());

    const FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
    let is_set = std::env::var_os(FILE).is_some_and(|value| !value.is_empty());
    let choice = match options.credential {
        None if is_set => return Ok(()),
        None => CredentialChoice::ServiceAccount,
        Some(choice) => choice,
    };
    let Some(kind) = choice.kind() else {
        // Nothing but the metadata server is left where libraries look for credentials.
        fs::create_dir(path("gcloud"))?;
        command.env_remove(FILE).env("CLOUDSDK_CONFIG", path("gcloud"));
        return Ok(());
    };
    write(folder, "subject-token", emulator.subject_token().as_bytes(), 0o600)?;
    let credential = emulator.credential_at_google(kind, path("subject-token"));
    write(folder, "credentials.json", credential.as_bytes(), 0o600)?;
    command.env(FILE, path("credentials.json"));
    Ok(())
}

/// The content of `/etc/hosts`: Google's names, and then those of the machine.
fn hosts(options: &EmulatorOptions, emulator: &Emulator, machine: &str) -> String {
    let mut text = "127.0.0.1 localhost\n".to_owned();
    for host in emulator.hosts(options.location.iter().map(String::as_str)) {
        text.push_str(&format!("127.0.0.1 {host}\n"));
    }
    if options.credential != Some(CredentialChoice::None) {
        // google-auth-library for Node.js looks up the name with a final dot, too.
        text.push_str(&format!(
            "{METADATA} metadata.google.internal metadata.google.internal. metadata\n"
        ));
    }
    text.push_str(machine);
    text
}
