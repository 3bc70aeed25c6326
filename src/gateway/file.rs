//! The configuration file: defaults of options, and the table of models.
//!
//! `gateway.example.toml` in the repository has every key with its meaning.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use toml::{Table, Value};

use super::{
    clients::ClientRules,
    config::Failure,
    directory::{self, BY_NAME, Directory, Named},
};
use crate::{
    model::{ModelRoute, ModelTable},
    route::Upstream,
};

/// What a configuration file sets. An option, and a variable of its meaning, count more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ConfigFile {
    pub(super) project: Option<String>,
    pub(super) location: Option<String>,
    pub(super) endpoint: Option<String>,
    pub(super) dedicated_host: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) quota_project: Option<String>,
    pub(super) discover_endpoints: bool,
    pub(super) forward_headers: Vec<String>,
    pub(super) forward_query: Vec<String>,
    default_publisher: Option<String>,
    #[serde(rename = "model")]
    models: Vec<Model>,
    #[serde(rename = "client")]
    clients: Vec<ClientRules>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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

const KEYS: [&str; 13] = [
    "project",
    "location",
    "endpoint",
    "dedicated_host",
    "api_version",
    "upstream",
    "quota_project",
    "discover_endpoints",
    "forward_headers",
    "forward_query",
    "default_publisher",
    "model",
    "client",
];
const CLIENT_KEYS: [&str; 4] = ["name", "models", "requests_per_minute", "max_concurrent_requests"];
const MODEL_KEYS: [&str; 9] = [
    "name",
    "model",
    "publisher",
    "location",
    "locations",
    "endpoint",
    "dedicated_host",
    "api_version",
    "headers",
];

impl ConfigFile {
    pub(super) fn load(path: &Path) -> Result<Self, Failure> {
        let refused =
            |why: String| Failure::new(format!("configuration file {}: {why}", path.display()));
        let text = std::fs::read_to_string(path)
            .map_err(|error| refused(format!("cannot be read: {}", error.kind())))?;
        Self::parse(&text).map_err(refused)
    }

    fn parse(text: &str) -> Result<Self, String> {
        // Of the parser's errors the message alone: the rest quotes the file.
        let told = |error: toml::de::Error| match error.span() {
            Some(span) => {
                let before = text.get(..span.start).unwrap_or_default();
                format!("line {}: {}", before.matches('\n').count() + 1, error.message())
            }
            None => error.message().to_owned(),
        };
        let table: Table = text.parse().map_err(told)?;
        check_keys(&table, &KEYS, "")?;
        check_entries(&table, "model", &MODEL_KEYS, "give what clients ask for")?;
        check_entries(&table, "client", &CLIENT_KEYS, "give the name of a client's key")?;
        toml::from_str(text).map_err(told)
    }

    /// What the holders of keys may do.
    pub(super) fn clients(&self) -> &[ClientRules] {
        &self.clients
    }

    /// The models whose endpoints go by name, and these.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, Named)> {
        self.models.iter().filter_map(|model| Some((model.name.as_str(), model.named()?)))
    }

    /// The locations of the models that have their own.
    pub(super) fn locations(&self) -> impl Iterator<Item = &str> {
        self.models.iter().flat_map(|model| {
            let listed = model.locations.iter().flatten().map(String::as_str);
            model.location.as_deref().into_iter().chain(listed)
        })
    }

    /// The models, over the upstream of those that no entry moves. An endpoint that goes by name
    /// and is not in the directory has not been looked up yet: the table then serves to check the
    /// rest.
    pub(super) fn table(
        &self,
        base: Upstream,
        directory: &Directory,
    ) -> Result<ModelTable, Failure> {
        let mut table = ModelTable::builder(base);
        match self.default_publisher.as_deref() {
            None => {}
            Some("") => table = table.without_default_publisher(),
            Some(publisher) => table = table.default_publisher(publisher),
        }
        for model in &self.models {
            table = table.route(&model.name, model.route(directory)?);
        }
        let taken = |name: &str| self.models.iter().any(|model| model.name == name);
        table = directory.add_deployed(table, taken);
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

    fn route(&self, directory: &Directory) -> Result<ModelRoute, Failure> {
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
                    self.name
                )));
            }
            route = match directory.named(&named) {
                Some(endpoint) => directory::at(route, endpoint),
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

/// Each `[[kind]]` has a name, and no key but the known ones.
fn check_entries(table: &Table, kind: &str, known: &[&str], advice: &str) -> Result<(), String> {
    let Some(Value::Array(entries)) = table.get(kind) else { return Ok(()) };
    for (number, entry) in entries.iter().enumerate() {
        let named = entry.get("name").and_then(Value::as_str);
        let place = match named {
            Some(name) => format!(" in [[{kind}]] {name:?}"),
            None => format!(" in [[{kind}]] number {}", number + 1),
        };
        if let Value::Table(entry) = entry {
            check_keys(entry, known, &place)?;
        }
        if named.is_none_or(str::is_empty) {
            return Err(format!("no `name`{place}: {advice}"));
        }
    }
    Ok(())
}

fn check_keys(table: &Table, known: &[&str], place: &str) -> Result<(), String> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    // Options are written with hyphens.
    let written = key.replace('-', "_").to_lowercase();
    Err(match nearest(&written, known.iter().copied()) {
        Some(near) => format!("unknown key `{key}`{place}: did you mean `{near}`?"),
        None => format!("unknown key `{key}`{place}: there are {}", known.join(", ")),
    })
}

/// What was meant, if one of the known is like what was written.
pub(super) fn nearest<'a>(written: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::jaro_winkler(written, known), known))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, near)| near)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = include_str!("../../gateway.example.toml");

    fn base() -> Upstream {
        Upstream::new("p", "us-central1").unwrap()
    }

    #[test]
    fn the_example_loads_as_it_is_and_with_every_key() {
        let file = ConfigFile::parse(EXAMPLE).unwrap();
        assert_eq!(file, ConfigFile::default(), "all of it is commented out");
        // `#key = value` is a setting; `# text` is text.
        let every: String = EXAMPLE
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let file = ConfigFile::parse(&every).unwrap();
        assert!(file.table(base(), &Directory::default()).is_ok(), "{file:?}");
        let table: Table = every.parse().unwrap();
        for key in KEYS {
            assert!(table.contains_key(key), "{key} is not in the example");
        }
        let models = table["model"].as_array().unwrap();
        for key in MODEL_KEYS {
            assert!(models.iter().any(|model| model.get(key).is_some()), "{key} is in no model");
        }
        for key in CLIENT_KEYS {
            assert!(table["client"][0].get(key).is_some(), "{key} is in no client");
        }
    }

    #[test]
    fn what_the_readme_shows_loads() {
        let readme = include_str!("../../README.md");
        let shown = readme.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
        let table = ConfigFile::parse(shown).unwrap().table(base(), &Directory::default()).unwrap();
        assert_eq!(table.entries().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_remedy() {
        for (text, why) in [
            ("projct = \"p\"", "unknown key `projct`: did you mean `project`?"),
            ("dedicated-host = \"p\"", "did you mean `dedicated_host`?"),
            ("zebra = 1", "unknown key `zebra`: there are project, location"),
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
            ("[[client]]\nname = \"a\"\nrequests_per_minute = 0", "line 3: "),
            ("project = ", "line 1: "),
            ("\n\nproject = 7", "line 3: "),
            ("[model]\nname = \"a\"", "line 1: "),
        ] {
            let error = ConfigFile::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (text, why) in [
            ("[[model]]\nname = \"a\"\nlocation = \"evil.com/\"", "location"),
            (
                "[[model]]\nname = \"a\"\nendpoint = \"display-name:b\"\ndedicated_host = \"c\"",
                "model \"a\": leave out `dedicated_host`",
            ),
            ("[[model]]\nname = \"a\"\napi_version = \"v2\"", "v2"),
            ("[[model]]\nname = \"a\"\n[[model]]\nname = \"a\"", "already"),
            ("[[model]]\nname = \"a\"\nheaders = { authorization = \"SECRET\" }", "header"),
        ] {
            let error = ConfigFile::parse(text)
                .unwrap()
                .table(base(), &Directory::default())
                .unwrap_err()
                .to_string();
            assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
        }
    }
}
