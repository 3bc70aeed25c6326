//! `vertex-gateway token`: an access token on standard output, and nothing else.

use chrono::{SecondsFormat, TimeDelta, Utc};
use clap::Args;
use serde::Serialize;

use crate::{
    config::{
        credentials::{CredentialOptions, fetch_token, find},
        parse::ConfigFile,
    },
    error::Error,
    output::{print_json, print_lines},
};

/// The options of `vertex-gateway token`.
#[derive(Clone, Debug, Args)]
pub struct TokenOptions {
    /// Credentials for the token.
    #[command(flatten)]
    pub credentials: CredentialOptions,

    /// Print one JSON document: {"access_token", "expires_in", "expires_at", "token_type"}
    #[arg(long)]
    pub json: bool,
}

/// Prints a token. Exit code 1 means that no token could be fetched, 2 that an option is wrong.
pub(crate) async fn print(options: &TokenOptions) -> Result<(), Error> {
    let credentials = &options.credentials;
    let emulator = credentials.start_emulator().await?;
    let search = credentials.search(&ConfigFile::default())?.project_known(true);
    let identity = match find(search, emulator.as_ref()).await {
        Err(error @ tower_vertex::Error::Credentials(_)) => {
            return Err(Error::negative(error.to_string()));
        }
        found => found?,
    };
    let fetched =
        fetch_token(identity.source).await.map_err(|error| Error::negative(error.to_string()))?;
    if !options.json {
        print_lines(&[fetched.in_clear().to_owned()]);
        return Ok(());
    }
    let life = fetched.life.and_then(|life| TimeDelta::from_std(life).ok());
    let end = life
        .and_then(|life| Utc::now().checked_add_signed(life))
        .map(|end| end.to_rfc3339_opts(SecondsFormat::Secs, true));
    print_json(&Document {
        access_token: fetched.in_clear(),
        expires_in: fetched.life.map(|life| life.as_secs()),
        expires_at: end,
        token_type: "Bearer",
    });
    Ok(())
}

#[derive(Serialize)]
struct Document<'a> {
    access_token: &'a str,
    /// In seconds; `null` if the source does not report it.
    expires_in: Option<u64>,
    expires_at: Option<String>,
    token_type: &'static str,
}
