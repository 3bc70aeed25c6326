//! `vertex-gateway emulator`: Vertex AI on loopback, for tests without a cloud.

#[cfg(target_os = "linux")]
mod as_google;
#[cfg(target_os = "linux")]
mod namespace;

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueEnum};

use crate::{
    config::parse::{ConfigFile, address},
    error::Error,
    output::print_lines,
    server::{listener::cannot_listen, signals::stop_signal},
    values::{LONGEST_FILE, shown_debug},
};
use tower_vertex::{regular_file, route::Location};
use tower_vertex_emulator::{CredentialKind, Emulator, EmulatorBuilder, Model};

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

    /// A file with the publisher models that exist, instead of those that Google's pages name: a JSON
    /// array of names and of objects
    #[arg(long, value_name = "FILE")]
    pub models: Option<PathBuf>,

    /// The projects that exist, so that requests for another one are refused [default: all]
    #[arg(long, value_name = "PROJECT[,PROJECT…]", value_delimiter = ',')]
    pub project: Vec<String>,

    /// Run a command in a network of its own, in which Google's host names lead to the emulator, and
    /// exit with its code (Linux)
    #[arg(long, requires = "command")]
    pub as_google: bool,

    /// With --as-google: the credentials that the command finds [default: service_account, unless
    /// GOOGLE_APPLICATION_CREDENTIALS is set]
    #[arg(long, value_name = "KIND", requires = "as_google")]
    pub credential: Option<CredentialChoice>,

    /// With --as-google: further locations whose hosts lead to the emulator
    #[arg(
        long,
        value_name = "LOCATION[,LOCATION…]",
        value_delimiter = ',',
        requires = "as_google"
    )]
    pub location: Vec<String>,

    /// The command of --as-google, with its arguments
    #[arg(last = true, value_name = "COMMAND", requires = "as_google")]
    pub command: Vec<OsString>,
}

shown_debug!(EmulatorOptions: listen, models; tls, host_aware, as_google, credential);

/// The credentials that a command finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CredentialChoice {
    /// A key file.
    ServiceAccount,
    /// The login of a person, as gcloud saves it.
    AuthorizedUser,
    /// That person as a service account.
    ImpersonatedServiceAccount,
    /// Workload identity federation.
    ExternalAccount,
    /// The same as a service account.
    ExternalAccountImpersonated,
    /// A workforce login.
    ExternalAccountAuthorizedUser,
    /// No file, only the metadata server of a virtual machine.
    Metadata,
    /// Neither a file nor a metadata server.
    None,
}

impl CredentialChoice {
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "for --as-google"))]
    fn kind(self) -> Option<CredentialKind> {
        Some(match self {
            Self::ServiceAccount => CredentialKind::ServiceAccount,
            Self::AuthorizedUser => CredentialKind::AuthorizedUser,
            Self::ImpersonatedServiceAccount => CredentialKind::ImpersonatedServiceAccount,
            Self::ExternalAccount => CredentialKind::ExternalAccount,
            Self::ExternalAccountImpersonated => CredentialKind::ExternalAccountImpersonated,
            Self::ExternalAccountAuthorizedUser => CredentialKind::ExternalAccountAuthorizedUser,
            Self::Metadata | Self::None => return None,
        })
    }
}

impl EmulatorOptions {
    /// The models and the projects of the emulator.
    fn builder(&self) -> Result<EmulatorBuilder, Error> {
        let builder = self.project.iter().fold(Emulator::builder(), EmulatorBuilder::project);
        let Some(path) = &self.models else { return Ok(builder) };
        let refused = |why: String| Error::of_file::<Self>("--models", path, why);
        let text = regular_file::read_to_string(path, LONGEST_FILE)
            .map_err(|error| refused(error.to_string()))?;
        // The text of the error could contain a part of the file, which may be the wrong one.
        let models: Vec<Model> = serde_json::from_str(&text).map_err(|error| {
            refused(format!(
                "not a JSON array of models, such as [\"google/gemini-2.5-flash\"]: line {}, column {}",
                error.line(),
                error.column()
            ))
        })?;
        Ok(builder.models(models))
    }
}

/// Serves until Ctrl-C or SIGTERM, or until the command of `--as-google` ends.
pub(super) async fn serve(options: &EmulatorOptions) -> Result<(), Error> {
    if options.as_google {
        return as_google(options).await;
    }
    let addr = address::<EmulatorOptions>("--listen", &options.listen, &ConfigFile::default())?;
    let emulator = options.builder()?.listen(addr).tls(options.tls).host_aware(options.host_aware);
    let emulator = emulator.start().await.map_err(|error| cannot_listen(addr, &error))?;
    let mut lines = vec![format!("emulator listening on {}", emulator.url())];
    if options.tls {
        let control = emulator.control_url();
        lines.push(format!("emulator control on {control}"));
        lines.push(format!("emulator certificate on {control}/__emulator/certificate"));
    }
    print_lines(&lines);
    stop_signal()?.await;
    Ok(())
}

async fn as_google(options: &EmulatorOptions) -> Result<(), Error> {
    for location in &options.location {
        Location::try_from(location.as_str()).map_err(|error| Error::new(error.to_string()))?;
    }
    #[cfg(target_os = "linux")]
    match namespace::entered() {
        Some(folder) => as_google::run(&folder, options).await,
        None => Err(namespace::enter(options)),
    }
    #[cfg(not(target_os = "linux"))]
    Err(Error::new("--as-google needs Linux, because the network of the command is a namespace"))
}
