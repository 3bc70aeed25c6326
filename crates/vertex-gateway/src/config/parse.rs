//! The configuration file: defaults of options, and the table of models.
//!
//! `gateway.example.toml` in the repository has every key with its meaning.

mod keys;
mod options;

use std::{collections::BTreeMap, fmt, net::SocketAddr, num::NonZeroU32, path::Path};

use clap::{Arg, Args};
use serde::Deserialize;
use toml::de::DeTable;

pub(crate) use self::options::FileOptions;
use self::{
    keys::{FileError, KEYS, check_entries, check_keys, key_of},
    options::values_of,
};
use super::{
    discovered::{self, Discovered},
    layered::Given,
};
use crate::{
    error::Error,
    values::{LONGEST_FILE, given_in},
};
use tower_vertex::{
    model::{ModelRoute, ModelTable},
    redact, regular_file,
    route::Upstream,
};

/// The settings of a configuration file. An option, or a variable for the same setting, takes
/// precedence.
///
/// A setting that has a field here can change while the gateway runs; all other options are
/// [defaults](Self::as_defaults) of the command line.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct ConfigFile {
    pub(crate) project: Option<String>,
    pub(crate) location: Option<String>,
    pub(crate) endpoint: Option<String>,
    pub(crate) dedicated_host: Option<String>,
    pub(crate) api_version: Option<String>,
    pub(crate) upstream: Option<String>,
    pub(crate) quota_project: Option<String>,
    pub(crate) discover_endpoints: bool,
    pub(crate) forward_header: Vec<String>,
    pub(crate) forward_query: Vec<String>,
    pub(crate) model_methods: Vec<String>,
    pub(crate) client_locations: Vec<String>,
    pub(crate) client_projects: Vec<String>,
    default_publisher: Option<String>,
    pub(crate) default_model: Option<String>,
    #[serde(rename = "model")]
    models: Vec<Model>,
    #[serde(rename = "client")]
    clients: Vec<ClientRules>,
    /// The values of all other options, by the names of the options.
    #[serde(skip)]
    options: BTreeMap<String, Vec<String>>,
    /// The options that the file may set.
    #[serde(skip)]
    known: FileOptions,
}

/// Shows no value, because any value in a file may be a secret in the wrong place.
impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfigFile").finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, Eq, Deserialize)]
struct Model {
    name: String,
    model: Option<String>,
    publisher: Option<String>,
    location: Option<String>,
    locations: Option<Vec<String>>,
    endpoint: Option<String>,
    dedicated_host: Option<String>,
    api_version: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
}

/// The prefix of an endpoint that is set by its display name and not by its id.
pub(crate) const BY_NAME: &str = "display-name:";

/// `[[client]]` of the configuration file: the permissions and the limits of a client.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ClientRules {
    pub(crate) name: String,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) requests_per_minute: Option<NonZeroU32>,
    pub(crate) max_concurrent_requests: Option<NonZeroU32>,
    #[serde(default)]
    pub(crate) shared_responses: bool,
}

/// An endpoint that the file sets by its display name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    /// `None` for the location of the gateway.
    pub(crate) location: Option<String>,
    /// The entry with its prefix `display-name:`.
    pub(crate) entry: String,
}

/// The variables of options that clap does not read, because the search for credentials reads them.
const OTHER_VARIABLES: [(&str, &str); 1] = [("credentials", "GOOGLE_APPLICATION_CREDENTIALS")];

/// The options about the listeners of a server. The file and the variables do not set them for `run`,
/// whose sidecar serves one command at an address of its own.
pub(crate) const OF_SERVERS: [&str; 8] = [
    "listen",
    "admin-listen",
    "client-key-file",
    "allow-unauthenticated",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "drain-delay",
];

impl ConfigFile {
    /// Reads the file. Errors name it by the option of `O`.
    pub(crate) fn load<O: Args>(path: &Path, known: &FileOptions) -> Result<Self, Error> {
        let refused = |why: String| Error::of_file::<O>("--config", path, why);
        let text = regular_file::read_to_string(path, LONGEST_FILE)
            .map_err(|error| refused(error.to_string()))?;
        Self::parse(&text, known).map_err(refused)
    }

    /// The options that the file may set.
    pub(crate) fn known_options(&self) -> &FileOptions {
        &self.known
    }

    pub(crate) fn parse(text: &str, known: &FileOptions) -> Result<Self, String> {
        // Only the message of the parser's error is used, because the rest quotes the file.
        let parse_error = |error: toml::de::Error| match error.span() {
            Some(at) => FileError::new(at, error.message()).with_line(text),
            None => error.message().to_owned(),
        };
        let table = DeTable::parse(text).map_err(parse_error)?;
        let (table, of_options) = (table.get_ref(), &*known.0);
        let mut options = BTreeMap::new();
        let read = (|| {
            check_keys(table, &KEYS, of_options, "")?;
            for (key, value) in table {
                let Some(arg) = of_options.get(&**key.get_ref()) else { continue };
                let wrong =
                    |advice| FileError::new(key.span(), format!("`{}`: {advice}", key.get_ref()));
                if let Some(values) = values_of(arg, value.get_ref()).map_err(wrong)? {
                    options.insert(arg.get_long().unwrap_or_default().to_owned(), values);
                }
            }
            check_entries(text, table, "model", "give the name that clients use")?;
            check_entries(text, table, "client", "give the name of a client's key")
        })();
        read.map_err(|wrong: FileError| wrong.with_line(text))?;
        let file: Self = toml::from_str(text).map_err(parse_error)?;
        Ok(Self { options, known: known.clone(), ..file })
    }

    /// Makes the options of the file defaults of a command line, so that the command line and its
    /// variables take precedence.
    pub(crate) fn as_defaults(&self, command: clap::Command) -> clap::Command {
        let set = |arg: Arg| {
            let Some(long) = arg.get_long() else { return arg };
            let variable = OTHER_VARIABLES.iter().find(|(option, _)| *option == long);
            let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
            match self.options.get(long) {
                Some(values) if !variable.is_some_and(|(_, name)| is_set(name)) => {
                    arg.default_values(values)
                }
                _ => arg,
            }
        };
        command.mut_args(set).mut_subcommands(|command| {
            let is_run = command.get_name() == "run";
            command.mut_args(|arg| {
                let is_of_servers = arg.get_long().is_some_and(|long| OF_SERVERS.contains(&long));
                if is_run && is_of_servers { arg } else { set(arg) }
            })
        })
    }

    /// The key of an option, if the file sets it.
    fn key_of_option(&self, long: &str) -> Option<String> {
        self.options.contains_key(long).then(|| key_of(long))
    }

    /// The source of an option's value, for an error: the option of `O`, its variable, or this
    /// file.
    pub(crate) fn option_source<O: Args>(&self, option: &str) -> String {
        let key = || self.key_of_option(option.trim_start_matches("--"));
        let in_file = || Some(format!("`{}` of the configuration file", key()?));
        given_in::<O>(option).or_else(in_file).unwrap_or_else(|| option.to_owned())
    }

    /// The keys of options whose values differ from those in `before`.
    pub(crate) fn changed_options(&self, before: &Self) -> Vec<String> {
        let all = self.options.keys().chain(before.options.keys());
        let changed = all.filter(|name| self.options.get(*name) != before.options.get(*name));
        let mut changed: Vec<_> = changed.map(|name| key_of(name)).collect();
        if self.quota_project != before.quota_project {
            changed.push("quota_project".to_owned());
        }
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    /// The permissions and the limits of clients.
    pub(crate) fn clients(&self) -> &[ClientRules] {
        &self.clients
    }

    /// The names of the models whose endpoint is set by its display name, each with that endpoint.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&str, Named)> {
        self.models.iter().filter_map(|model| Some((model.name.as_str(), model.named()?)))
    }

    /// The locations that models set for themselves.
    pub(crate) fn locations(&self) -> impl Iterator<Item = &str> {
        self.models.iter().flat_map(|model| {
            let listed = model.locations.iter().flatten().map(String::as_str);
            model.location.as_deref().into_iter().chain(listed)
        })
    }

    /// The table of models, over the upstream of all models that have no entry. An endpoint with a
    /// display name that was not looked up yet gets a placeholder. Such a table serves to check the
    /// rest of the file.
    pub(crate) fn table(
        &self,
        base: Upstream,
        discovered: &Discovered,
        default_model: Option<Given>,
    ) -> Result<ModelTable, Error> {
        let mut table = ModelTable::builder(base);
        if let Some(model) = &default_model {
            table = table.default_model(&model.value);
        }
        match self.default_publisher.as_deref() {
            None => {}
            Some("") => table = table.without_default_publisher(),
            Some(publisher) => table = table.default_publisher(publisher),
        }
        for model in &self.models {
            table = table.route(&model.name, model.route(discovered)?);
        }
        let taken = |name: &str| self.models.iter().any(|model| model.name == name);
        table = discovered.add_deployed(table, taken);
        table.build().map_err(|error| match default_model {
            Some(given) if error.setting() == "default model" => error.given_in(given.from).into(),
            _ => error.into(),
        })
    }
}

impl Model {
    fn named(&self) -> Option<Named> {
        let entry = self.endpoint.as_deref()?.trim();
        entry
            .starts_with(BY_NAME)
            .then(|| Named { location: self.location.clone(), entry: entry.to_owned() })
    }

    fn route(&self, discovered: &Discovered) -> Result<ModelRoute, Error> {
        let mut route = ModelRoute::new();
        if let Some(model) = &self.model {
            route = route.model(model);
        }
        if let Some(publisher) = &self.publisher {
            route = route.publisher(publisher);
        }
        if let Some(location) = &self.location {
            route = route.location(location);
        }
        if let Some(locations) = &self.locations {
            route = route.locations(locations);
        }
        if let Some(named) = self.named() {
            if self.dedicated_host.is_some() {
                return Err(Error::new(format!(
                    "model {:?}: remove `dedicated_host`: the gateway looks it up with the endpoint",
                    redact::value(&self.name)
                )));
            }
            route = match discovered.named(&named) {
                Some(endpoint) => discovered::at(route, endpoint),
                None => route.endpoint_id("0"),
            };
        } else if let Some(endpoint) = &self.endpoint {
            route = route.endpoint_id(endpoint);
        }
        if let Some(dns) = &self.dedicated_host {
            route = route.dedicated_host(dns);
        }
        if let Some(version) = &self.api_version {
            route = route.api_version(version.parse()?);
        }
        for (name, value) in &self.headers {
            route = route.header(name, value);
        }
        Ok(route)
    }
}

/// Parses an address to listen on, the value of an option of `O`.
pub(crate) fn address<O: Args>(
    option: &str,
    text: &str,
    file: &ConfigFile,
) -> Result<SocketAddr, Error> {
    // Users write `localhost:8080`, so it is accepted. Another name would need DNS, so it is not.
    let numeric = text.replace("localhost:", "127.0.0.1:");
    numeric.parse().map_err(|_| {
        Error::new(format!(
            "invalid {} {:?}: give an address and a port, such as 127.0.0.1:8080",
            file.option_source::<O>(option),
            redact::value(text)
        ))
    })
}

#[cfg(test)]
mod tests;
