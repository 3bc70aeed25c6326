//! `vertex-gateway init`: a configuration file with what was found and with the options that are set.
//! All other keys are in it as comments, with their meaning.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{ArgAction, ArgMatches, Args, FromArgMatches, builder::Resettable, parser::ValueSource};
use serde_json::Value;

use super::serve::Options;
use crate::{
    config::{
        credentials::{Identity, find},
        layered::Given,
        parse::{ConfigFile, FileOptions},
        upstream::UpstreamSettings,
    },
    error::Error,
    output::print_lines,
    printable::fit,
    values::shown_debug,
};
use tower_vertex::redact;

/// The file with every key and its meaning.
const EXAMPLE: &str = include_str!("../../gateway.example.toml");
/// The variable is the only setting that clap does not read.
const CREDENTIALS: (&str, &str) = ("credentials", "GOOGLE_APPLICATION_CREDENTIALS");

/// The options of `vertex-gateway init`.
#[derive(Clone, Args)]
#[command(mut_arg("config", |arg| arg.env(Resettable::Reset).hide(true)))]
pub struct InitOptions {
    /// The options that are set, for the file.
    #[command(flatten)]
    pub(crate) set: SetOptions,

    /// The file to write
    #[arg(value_name = "FILE", default_value = "vertex-gateway.toml")]
    pub path: PathBuf,

    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,

    /// The options of the sidecar, which are written to the file.
    #[command(flatten)]
    pub options: Options,
}

shown_debug!(InitOptions: path; force, options);

/// The values of the options that the command line or a variable sets, by the ids of clap.
#[derive(Clone, Default)]
pub(crate) struct SetOptions(BTreeMap<String, Vec<Value>>);

impl FromArgMatches for SetOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_set = |id: &str| {
            let source = matches.value_source(id);
            matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
        };
        let set = matches.ids().map(clap::Id::as_str).filter(|id| is_set(id));
        let values = |id: &str| match matches.try_get_one::<bool>(id) {
            Ok(flag) => flag.map(|flag| Value::from(*flag)).into_iter().collect(),
            Err(_) => {
                let values = matches.get_raw(id).unwrap_or_default();
                values.map(|value| value.to_string_lossy().into()).collect()
            }
        };
        Ok(Self(set.map(|id| (id.to_owned(), values(id))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for SetOptions {
    fn augment_args(command: clap::Command) -> clap::Command {
        command
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        command
    }
}

impl SetOptions {
    /// The keys of the file with their values.
    fn keys(&self) -> BTreeMap<String, Value> {
        let command = Options::augment_args(clap::Command::new("vertex-gateway"));
        let key = |arg: &clap::Arg| {
            let values = self.0.get(arg.get_id().as_str())?;
            let is_list = matches!(arg.get_action(), ArgAction::Append);
            let value = if is_list { values.clone().into() } else { values.first()?.clone() };
            Some((arg.get_long()?.replace('-', "_"), value))
        };
        command.get_arguments().filter_map(key).collect()
    }
}

/// Writes the file. Without credentials, it is written too.
pub(super) async fn init(options: InitOptions) -> Result<(), Error> {
    let InitOptions { set, path, force, options } = options;
    let mut target = options.serving.target;
    if target.config().is_some() {
        return Err(Error::new("init takes no --config: give the file to write as an argument"));
    }
    // A person reads what was chosen, here and in the file.
    target.at_a_terminal = true;
    let mut keys = set.keys();
    let mut sources = BTreeMap::new();
    let mut report = Vec::new();
    if !target.credentials.emulator {
        let identity = find(target.credentials.search(&ConfigFile::default())?, None).await;
        let identity = match identity {
            Ok(identity) => Some(identity),
            Err(tower_vertex::Error::Credentials(error)) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let info = identity.as_ref().and_then(|identity| identity.info.as_ref());
        let settings = target.settings(None, info)?;
        target.validate(&settings.with_some_names()?, None)?;
        for (key, given) in found(&settings) {
            report.push((key, format!("{}, from {}", redact::value(&given.value), given.from)));
            keys.entry(key.to_owned()).or_insert_with(|| {
                sources.insert(key, given.from.clone());
                given.value.clone().into()
            });
        }
        report.push((CREDENTIALS.0, credentials(identity.as_ref())));
        if let Some(file) = std::env::var(CREDENTIALS.1).ok().filter(|file| !file.is_empty()) {
            keys.entry(CREDENTIALS.0.to_owned()).or_insert(file.into());
        }
    }
    let text = annotated(&keys, &sources, &path, &credentials_comment(&report));
    check(&text)?;
    write(&path, force, &text)?;
    let shown = redact::path(&path);
    let mut lines = vec![format!("wrote {shown}")];
    lines.extend(report.iter().map(|(name, text)| format!("  {name:11}  {}", fit(text))));
    lines.push(format!("next, check it:  vertex-gateway check --config {shown}"));
    lines.push(format!("and serve:       vertex-gateway --config {shown}"));
    print_lines(&lines);
    Ok(())
}

/// The settings that decide where requests go, as far as they are known.
fn found(settings: &UpstreamSettings) -> impl Iterator<Item = (&'static str, &Given)> {
    let all = [("project", settings.project()), ("location", settings.location())];
    all.into_iter().filter_map(|(key, given)| Some((key, given?)))
}

fn credentials(identity: Option<&Identity>) -> String {
    match identity {
        Some(identity) => identity.to_string(),
        None => "none found: run `gcloud auth application-default login`".to_owned(),
    }
}

fn credentials_comment(report: &[(&'static str, String)]) -> String {
    let line = report.iter().find(|(name, _)| *name == CREDENTIALS.0);
    line.map(|(_, text)| text.clone()).unwrap_or_default()
}

/// The example with these keys. A key that was found has a comment with its source.
fn annotated(
    keys: &BTreeMap<String, Value>,
    sources: &BTreeMap<&'static str, String>,
    path: &Path,
    credentials: &str,
) -> String {
    let mut text = String::with_capacity(EXAMPLE.len() + 1024);
    // Entries of models and of clients have keys with the same names as options.
    let mut in_entries = false;
    for line in EXAMPLE.lines() {
        in_entries |= line.starts_with("#[[");
        let key = line.strip_prefix('#').and_then(|line| line.split_once(" = "));
        let key = key.map(|(key, _)| key).filter(|_| !in_entries);
        if key == Some(CREDENTIALS.0) && !credentials.is_empty() {
            text.push_str(&format!("# Found by `vertex-gateway init`: {}.\n", fit(credentials)));
        }
        match key.and_then(|key| Some((key, keys.get(key)?))) {
            Some((key, value)) => {
                if let Some(source) = sources.get(key) {
                    text.push_str(&format!("# From {}.\n", fit(source)));
                }
                text.push_str(&format!("{key} = {value}\n"));
            }
            None => {
                text.push_str(&line.replace("gateway.toml", &redact::path(path).to_string()));
                text.push('\n');
            }
        }
    }
    text
}

/// The file has to be one that `serve` takes.
fn check(text: &str) -> Result<(), Error> {
    use clap::CommandFactory as _;
    let known = FileOptions::of(&super::args::Command::command());
    ConfigFile::parse(text, &known).map(drop).map_err(|why| Error::new(format!("init: {why}")))
}

/// Others cannot read the file, because a proxy's URL may have a password.
fn write(path: &Path, force: bool, text: &str) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::of_file::<InitOptions>("FILE", path, "it exists: --force overwrites it")
        }
        _ => Error::of_file::<InitOptions>("FILE", path, error),
    })
}
