//! The configuration file: defaults of options, and the table of models.
//!
//! `gateway.example.toml` in the repository has every key with its meaning.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::SocketAddr,
    num::NonZeroU32,
    ops::Range,
    path::Path,
    sync::Arc,
};

use clap::{
    Arg, ArgAction, Args,
    builder::Resettable,
    error::{ContextKind, ContextValue},
};
use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::{
    discovered::{self, Discovered},
    suggest::nearest,
};
use crate::{
    gateway::{
        error::Failure,
        values::{self, LONGEST_FILE, MOST, given_in},
    },
    model::{ModelRoute, ModelTable},
    regular_file,
    route::Upstream,
    shown,
};

/// What a configuration file sets. An option, and a variable of its meaning, count more.
///
/// What has a field here can change while it serves; all other options are [defaults](Self::as_defaults)
/// of the command line.
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
    default_publisher: Option<String>,
    #[serde(rename = "model")]
    models: Vec<Model>,
    #[serde(rename = "client")]
    clients: Vec<ClientRules>,
    /// By the names of their options.
    #[serde(skip)]
    options: BTreeMap<String, Vec<String>>,
    /// Those that it may set.
    #[serde(skip)]
    known: FileOptions,
}

/// Shows no value: whatever a file holds may be in the wrong place.
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

/// What the value of a key is.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    Texts,
    /// Names, each with a text.
    Named,
    Truth,
    Count,
    /// `[[key]]`, each with such keys.
    Entries(&'static [Key]),
}

type Key = (&'static str, Kind);

/// What is no option, and options that can change while it serves.
const KEYS: [Key; 13] = [
    ("project", Kind::Text),
    ("location", Kind::Text),
    ("endpoint", Kind::Text),
    ("dedicated_host", Kind::Text),
    ("api_version", Kind::Text),
    ("upstream", Kind::Text),
    ("quota_project", Kind::Text),
    ("discover_endpoints", Kind::Truth),
    ("forward_header", Kind::Texts),
    ("forward_query", Kind::Texts),
    ("default_publisher", Kind::Text),
    ("model", Kind::Entries(&MODEL_KEYS)),
    ("client", Kind::Entries(&CLIENT_KEYS)),
];
const CLIENT_KEYS: [Key; 5] = [
    ("name", Kind::Text),
    ("models", Kind::Texts),
    ("requests_per_minute", Kind::Count),
    ("max_concurrent_requests", Kind::Count),
    ("shared_responses", Kind::Truth),
];
const MODEL_KEYS: [Key; 9] = [
    ("name", Kind::Text),
    ("model", Kind::Text),
    ("publisher", Kind::Text),
    ("location", Kind::Text),
    ("locations", Kind::Texts),
    ("endpoint", Kind::Text),
    ("dedicated_host", Kind::Text),
    ("api_version", Kind::Text),
    ("headers", Kind::Named),
];

impl Kind {
    fn fits(self, value: &DeValue<'_>) -> bool {
        let texts = |values: &[toml::Spanned<DeValue<'_>>]| {
            values.iter().all(|value| value.get_ref().is_str())
        };
        match (self, value) {
            (Self::Text, value) => value.is_str(),
            (Self::Truth, value) => value.is_bool(),
            (Self::Texts, DeValue::Array(values)) => texts(values),
            (Self::Named, DeValue::Table(table)) => {
                table.values().all(|value| value.get_ref().is_str())
            }
            (Self::Count, DeValue::Integer(number)) => {
                let number = u64::from_str_radix(number.as_str(), number.radix());
                number.is_ok_and(|number| (1..=MOST).contains(&number))
            }
            (Self::Entries(_), DeValue::Array(values)) => {
                values.iter().all(|value| value.get_ref().is_table())
            }
            _ => false,
        }
    }

    fn advice(self, key: &str) -> String {
        match self {
            Self::Text => "give text in quotes".to_owned(),
            Self::Texts => r#"give texts in quotes, such as ["one", "two"]"#.to_owned(),
            Self::Named => r#"give names and texts, such as { name = "text" }"#.to_owned(),
            Self::Truth => "give true or false".to_owned(),
            Self::Count => format!("give a whole number from 1 to {MOST}"),
            Self::Entries(_) => format!("begin each of its entries with [[{key}]]"),
        }
    }
}

/// What is wrong, and where. Values are not repeated: one may be a secret in the wrong place.
struct Wrong {
    at: Range<usize>,
    what: String,
}

impl Wrong {
    fn new(at: Range<usize>, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }

    fn told(self, text: &str) -> String {
        format!("line {}: {}", line(text, &self.at), self.what)
    }
}

fn line(text: &str, at: &Range<usize>) -> usize {
    text.get(..at.start).unwrap_or_default().matches('\n').count() + 1
}

/// How an entry of the file says that it has no id.
pub(crate) const BY_NAME: &str = "display-name:";

/// `[[client]]` of the configuration file: what the holder of a key may do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct ClientRules {
    pub(crate) name: String,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) requests_per_minute: Option<NonZeroU32>,
    pub(crate) max_concurrent_requests: Option<NonZeroU32>,
    #[serde(default)]
    pub(crate) shared_responses: bool,
}

/// An endpoint that the file knows by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Named {
    /// `None` is that of all requests.
    pub(crate) location: Option<String>,
    /// With its `display-name:`.
    pub(crate) entry: String,
}

/// The options that can be set in a file and have no key above, by the keys that they have there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileOptions(Arc<BTreeMap<String, Arg>>);

impl FileOptions {
    /// Those of what serves: of the command itself, and of `ext-authz`.
    pub(crate) fn of(command: &clap::Command) -> Self {
        let of_serve = command.get_arguments();
        let of_envoy = command.find_subcommand("ext-authz").into_iter();
        let all = of_envoy.flat_map(clap::Command::get_arguments).chain(of_serve);
        let options = all
            .filter_map(|arg| Some((key_of(arg.get_long()?), arg.clone())))
            .filter(|(key, _)| !["help", "version", "config"].contains(&key.as_str()))
            .filter(|(key, _)| KEYS.iter().all(|(known, _)| known != key))
            .collect();
        Self(Arc::new(options))
    }
}

/// The key of an option.
fn key_of(option: &str) -> String {
    option.replace('-', "_")
}

/// The values of an option, as they would be on the command line; `None` for one that is given as
/// nothing.
fn values_of(arg: &Arg, value: &DeValue<'_>) -> Result<Option<Vec<String>>, String> {
    if !arg.get_action().takes_values() {
        let truth = value.as_bool().ok_or_else(|| Kind::Truth.advice(""))?;
        return Ok(Some(vec![truth.to_string()]));
    }
    let one = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        _ => None,
    };
    let values: Option<Vec<String>> = match (arg.get_action(), value) {
        (ArgAction::Append, DeValue::Array(values)) => {
            values.iter().map(|value| one(value.get_ref())).collect()
        }
        (_, value) => one(value).map(|text| vec![text]),
    };
    let mut values = values.ok_or_else(|| Kind::Text.advice(""))?;
    values.retain(|value| !value.is_empty());
    if values.is_empty() {
        return Ok(None);
    }
    let alone = arg.clone().env(Resettable::Reset).default_value(Resettable::Reset);
    let long = arg.get_long().unwrap_or_default();
    let given = values.iter().map(|value| format!("--{long}={value}"));
    let parsed = clap::Command::new("").no_binary_name(true).arg(alone).try_get_matches_from(given);
    match parsed {
        Ok(_) => Ok(Some(values)),
        Err(error) => Err(match (values::advice(&error), error.get(ContextKind::ValidValue)) {
            (Some(advice), _) => advice.to_owned(),
            (None, Some(ContextValue::Strings(words))) => format!("give {}", words.join(" or ")),
            _ => format!("this is not what --{long} takes"),
        }),
    }
}

/// The variables of options that clap does not read, because they have others beside it.
const OTHER_VARIABLES: [(&str, &str); 1] = [("credentials", "GOOGLE_APPLICATION_CREDENTIALS")];

impl ConfigFile {
    /// `O` has the option that names it.
    pub(crate) fn load<O: Args>(path: &Path, known: &FileOptions) -> Result<Self, Failure> {
        let refused = |why: String| Failure::of_file::<O>("--config", path, why);
        let text = regular_file::read_to_string(path, LONGEST_FILE)
            .map_err(|error| refused(error.to_string()))?;
        Self::parse(&text, known).map_err(refused)
    }

    /// The options that it may set.
    pub(crate) fn known_options(&self) -> &FileOptions {
        &self.known
    }

    fn parse(text: &str, known: &FileOptions) -> Result<Self, String> {
        // Of the parser's errors the message alone: the rest quotes the file.
        let told = |error: toml::de::Error| match error.span() {
            Some(at) => Wrong::new(at, error.message()).told(text),
            None => error.message().to_owned(),
        };
        let table = DeTable::parse(text).map_err(told)?;
        let (table, of_options) = (table.get_ref(), &*known.0);
        let mut options = BTreeMap::new();
        let read = (|| {
            check_keys(table, &KEYS, of_options, "")?;
            for (key, value) in table {
                let Some(arg) = of_options.get(&**key.get_ref()) else { continue };
                let wrong =
                    |advice| Wrong::new(key.span(), format!("`{}`: {advice}", key.get_ref()));
                if let Some(values) = values_of(arg, value.get_ref()).map_err(wrong)? {
                    options.insert(arg.get_long().unwrap_or_default().to_owned(), values);
                }
            }
            check_entries(text, table, "model", "give what clients ask for")?;
            check_entries(text, table, "client", "give the name of a client's key")
        })();
        read.map_err(|wrong: Wrong| wrong.told(text))?;
        let file: Self = toml::from_str(text).map_err(told)?;
        Ok(Self { options, known: known.clone(), ..file })
    }

    /// Makes the options of the file defaults of a command line: what is given there, or in a
    /// variable, counts more.
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
        command.mut_args(set).mut_subcommands(|command| command.mut_args(set))
    }

    /// The key of an option, if the file sets it.
    fn key_of_option(&self, long: &str) -> Option<String> {
        self.options.contains_key(long).then(|| key_of(long))
    }

    /// What an option of `O` has its value from, for an error: the option, its variable, or this
    /// file.
    pub(crate) fn given_by<O: Args>(&self, option: &str) -> String {
        let key = || self.key_of_option(option.trim_start_matches("--"));
        let in_file = || Some(format!("`{}` of the configuration file", key()?));
        given_in::<O>(option).or_else(in_file).unwrap_or_else(|| option.to_owned())
    }

    /// The keys of options that are not as they were.
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

    /// What the holders of keys may do.
    pub(crate) fn clients(&self) -> &[ClientRules] {
        &self.clients
    }

    /// The models whose endpoints go by name, and these.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&str, Named)> {
        self.models.iter().filter_map(|model| Some((model.name.as_str(), model.named()?)))
    }

    /// The locations of the models that have their own.
    pub(crate) fn locations(&self) -> impl Iterator<Item = &str> {
        self.models.iter().flat_map(|model| {
            let listed = model.locations.iter().flatten().map(String::as_str);
            model.location.as_deref().into_iter().chain(listed)
        })
    }

    /// The models, over the upstream of those that no entry moves. An endpoint that goes by name
    /// and was not found has not been looked up yet: the table then serves to check the
    /// rest.
    pub(crate) fn table(
        &self,
        base: Upstream,
        discovered: &Discovered,
    ) -> Result<ModelTable, Failure> {
        let mut table = ModelTable::builder(base);
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
        Ok(table.build()?)
    }
}

impl Model {
    fn named(&self) -> Option<Named> {
        let entry = self.endpoint.as_deref()?.trim();
        entry
            .starts_with(BY_NAME)
            .then(|| Named { location: self.location.clone(), entry: entry.to_owned() })
    }

    fn route(&self, discovered: &Discovered) -> Result<ModelRoute, Failure> {
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
                return Err(Failure::new(format!(
                    "model {:?}: leave out `dedicated_host`: it is looked up with the endpoint",
                    shown::value(&self.name)
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

/// Each `[[kind]]` has a name of its own, and no key but the known ones.
fn check_entries(text: &str, table: &DeTable<'_>, kind: &str, advice: &str) -> Result<(), Wrong> {
    let Some((_, Kind::Entries(known))) = KEYS.iter().find(|(key, _)| *key == kind) else {
        return Ok(());
    };
    let Some(DeValue::Array(entries)) = table.get(kind).map(|value| value.get_ref()) else {
        return Ok(());
    };
    let mut names = HashMap::new();
    for (number, spanned) in entries.iter().enumerate() {
        let DeValue::Table(entry) = spanned.get_ref() else { continue };
        let name = entry.get("name");
        let named = name.and_then(|name| name.get_ref().as_str()).filter(|name| !name.is_empty());
        let place = match named {
            Some(name) => format!(" in [[{kind}]] {:?}", shown::value(name)),
            None => format!(" in [[{kind}]] number {}", number + 1),
        };
        check_keys(entry, known, &BTreeMap::new(), &place)?;
        let (Some(value), Some(named)) = (name, named) else {
            return Err(Wrong::new(spanned.span(), format!("no `name`{place}: {advice}")));
        };
        if let Some(first) = names.insert(named, line(text, &value.span())) {
            return Err(Wrong::new(
                value.span(),
                format!(
                    "a [[{kind}]] with the name {:?} is in line {first} already: leave one of the \
                     two out, or give it another name",
                    shown::value(named)
                ),
            ));
        }
    }
    Ok(())
}

fn check_keys(
    table: &DeTable<'_>,
    known: &[Key],
    options: &BTreeMap<String, Arg>,
    place: &str,
) -> Result<(), Wrong> {
    for (spanned, value) in table {
        let key = &**spanned.get_ref();
        let wrong = |what| Err(Wrong::new(spanned.span(), what));
        match known.iter().find(|(known, _)| *known == key) {
            Some((_, kind)) if kind.fits(value.get_ref()) => {}
            Some((_, kind)) => return wrong(format!("`{key}`{place}: {}", kind.advice(key))),
            None if options.contains_key(key) => {}
            None => {
                let names = known.iter().map(|(name, _)| *name);
                let shown = shown::value(key);
                // Options are written with hyphens.
                let written = key_of(key).to_lowercase();
                let near =
                    nearest(&written, names.clone().chain(options.keys().map(String::as_str)));
                return wrong(match near {
                    Some(near) => format!("unknown key `{shown}`{place}: did you mean `{near}`?"),
                    None if options.is_empty() => {
                        let names: Vec<_> = names.collect();
                        format!("unknown key `{shown}`{place}: there are {}", names.join(", "))
                    }
                    None => format!(
                        "unknown key `{shown}`: there are `model`, `client`, `default_publisher` and \
                         the options that `vertex-gateway --help` lists, with `_` instead of `-`"
                    ),
                });
            }
        }
    }
    Ok(())
}

/// An address to listen on, which is the value of an option of `O`.
pub(crate) fn address<O: Args>(
    option: &str,
    text: &str,
    file: &ConfigFile,
) -> Result<SocketAddr, Failure> {
    // `localhost:8080` is what people write; a name that needs DNS is not for a socket to bind.
    let numeric = text.replace("localhost:", "127.0.0.1:");
    numeric.parse().map_err(|_| {
        Failure::new(format!(
            "invalid {} {:?}: give an address and a port, such as 127.0.0.1:8080",
            file.given_by::<O>(option),
            shown::value(text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::gateway::Command;

    const EXAMPLE: &str = include_str!("../../../gateway.example.toml");

    fn known() -> FileOptions {
        FileOptions::of(&Command::command())
    }

    fn parse(text: &str) -> Result<ConfigFile, String> {
        ConfigFile::parse(text, &known())
    }

    fn base() -> Upstream {
        Upstream::new("p", "us-central1").unwrap()
    }

    #[test]
    fn the_example_loads_as_it_is_and_with_every_key() {
        let file = parse(EXAMPLE).unwrap();
        assert_eq!(file, parse("").unwrap(), "all of it is commented out");
        // `#key = value` is a setting; `# text` is text.
        let every: String = EXAMPLE
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let file = parse(&every).unwrap();
        assert!(file.table(base(), &Discovered::default()).is_ok(), "{file:?}");
        let table: toml::Table = every.parse().unwrap();
        let keys = KEYS
            .iter()
            .map(|(key, _)| (*key).to_owned())
            .chain(known().0.keys().cloned().collect::<Vec<_>>());
        for key in keys {
            assert!(table.contains_key(&key), "`{key}` is not in gateway.example.toml");
        }
        let models = table["model"].as_array().unwrap();
        for (key, _) in MODEL_KEYS {
            assert!(models.iter().any(|model| model.get(key).is_some()), "{key} is in no model");
        }
        for (key, _) in CLIENT_KEYS {
            assert!(table["client"][0].get(key).is_some(), "{key} is in no client");
        }
    }

    #[test]
    fn the_table_of_the_manual_loads() {
        let page = include_str!("../../../docs/models.md");
        let shown = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
        let table = parse(shown).unwrap().table(base(), &Discovered::default()).unwrap();
        assert_eq!(table.entries().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_remedy() {
        for (text, why) in [
            ("projct = \"p\"", "unknown key `projct`: did you mean `project`?"),
            ("dedicated-host = \"p\"", "did you mean `dedicated_host`?"),
            ("zebra = 1", "unknown key `zebra`: there are `model`, `client`"),
            ("send-timeout = 1", "unknown key `send-timeout`: did you mean `send_timeout`?"),
            ("[[model]]\nname = \"a\"\nzebra = 1", "in [[model]] \"a\": there are name, model"),
            (
                "[[model]]\nname = \"a\"\nlocatoin = \"b\"",
                "unknown key `locatoin` in [[model]] \"a\": did you mean `location`?",
            ),
            ("[[model]]\nmodel = \"a\"", "no `name` in [[model]] number 1"),
            ("[[client]]\nmodels = []", "no `name` in [[client]] number 1"),
            (
                "[[client]]\nname = \"a\"\nrequests-per-minute = 1",
                "in [[client]] \"a\": did you mean `requests_per_minute`?",
            ),
            (
                "[[client]]\nname = \"a\"\nrequests_per_minute = 0",
                "line 3: `requests_per_minute` in [[client]] \"a\": give a whole number from 1 to",
            ),
            ("[[client]]\nname = \"a\"\nmax_concurrent_requests = 9999999999", "line 3: "),
            ("[[client]]\nname = \"a\"\nmodels = \"SECRET\"", "line 3: `models` in [[client]]"),
            ("project = ", "line 1: "),
            ("\n\nproject = 7", "line 3: `project`: give text in quotes"),
            ("[model]\nname = \"a\"", "line 1: `model`: begin each of its entries with [[model]]"),
            (
                "[[model]]\nname = \"a\"\n[[model]]\nname = \"a\"",
                "line 4: a [[model]] with the name \"a\" is in line 2 already: leave one",
            ),
            ("header_timeout = \"SECRET\"", "line 1: `header_timeout`: give a time"),
            ("header_timeout = 9223372036854775808", "line 1: "),
            ("send_timeout = 9223372036854775807", "line 1: `send_timeout`: give a time"),
            ("send_timeout = -1", "line 1: `send_timeout`: give a time"),
            ("max_request_bytes = 1.5", "line 1: `max_request_bytes`: give text in quotes"),
            ("log_format = \"SECRET\"", "line 1: `log_format`: give auto or short or text or json"),
            ("allow_unauthenticated = \"SECRET\"", "`allow_unauthenticated`: give true or false"),
            ("config = \"other\"", "unknown key `config`"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
        }
        for (text, why) in [
            ("[[model]]\nname = \"a\"\nlocation = \"evil.com/\"", "location"),
            (
                "[[model]]\nname = \"a\"\nendpoint = \"display-name:b\"\ndedicated_host = \"c\"",
                "model \"a\": leave out `dedicated_host`",
            ),
            ("[[model]]\nname = \"a\"\napi_version = \"v2\"", "v2"),
            ("[[model]]\nname = \"a\"\nheaders = { authorization = \"SECRET\" }", "header"),
        ] {
            let error =
                parse(text).unwrap().table(base(), &Discovered::default()).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
        }
    }
}
