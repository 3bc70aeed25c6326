//! Runs programs with each kind of credentials in a network in which Google's host is an emulator
//! with TLS, and checks their output. `unshare` has created that network.

use std::process::{Command, exit};

use tower_vertex_emulator::Emulator;

#[tokio::main]
async fn main() -> Result<(), tower_vertex::BoxError> {
    let emulator = Emulator::builder()
        .listen(([127, 0, 0, 1], 443).into())
        .tls(true)
        .host_aware(true)
        .start()
        .await?;
    let folder = std::env::temp_dir().join(format!("at-google-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let authority = folder.join("authority.pem");
    std::fs::write(&authority, emulator.certificate_pem().unwrap_or_default())?;
    // The second kind is for `gcp_auth`, the first for `google-cloud-auth` if that is built in.
    let credentials =
        [("user", emulator.authorized_user()), ("key", emulator.service_account_key())];
    let mut failed = false;
    for program in std::env::args().skip(1) {
        for (name, text) in &credentials {
            let file = folder.join(name);
            std::fs::write(&file, text)?;
            // The default features support users' credentials only in their usual place.
            if *name == "user" && !program.ends_with("everything") {
                continue;
            }
            let before = emulator.requests().len();
            let mut command = Command::new(&program);
            command.env("GOOGLE_APPLICATION_CREDENTIALS", &file).env("SSL_CERT_FILE", &authority);
            command.env("GOOGLE_CLOUD_PROJECT", "my-project").env("GOOGLE_CLOUD_LOCATION", "global");
            let output = tokio::task::spawn_blocking(move || command.output()).await??;
            let said = String::from_utf8_lossy(&output.stdout);
            print!("{program}: {said}");
            eprint!("{}", String::from_utf8_lossy(&output.stderr));
            // Programs that send no request only have to start and end.
            let asked = emulator.requests().len() > before;
            failed |= !output.status.success() || asked && !said.contains("You said: hello");
            failed |= !asked && (program.ends_with("-0") || program.ends_with("everything"));
        }
    }
    std::fs::remove_dir_all(&folder)?;
    exit(failed.into());
}
