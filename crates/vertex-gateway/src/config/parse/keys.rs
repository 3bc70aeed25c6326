//! The keys of the configuration file, and errors about them.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use clap::Arg;
use toml::de::{DeTable, DeValue};

use crate::{config::suggest::nearest, values::MOST};
use tower_vertex::redact;

/// The type of a key's value.
#[derive(Clone, Copy, Debug)]
pub(super) enum ValueType {
    Text,
    Texts,
    /// Names, each with a text.
    Named,
    Truth,
    Count,
    /// Tables `[[key]]`, each with these keys.
    Entries(&'static [Key]),
}

pub(super) type Key = (&'static str, ValueType);

/// Keys that are not options, and options that can change while the gateway runs.
pub(super) const KEYS: [Key; 17] = [
    ("project", ValueType::Text),
    ("location", ValueType::Text),
    ("endpoint", ValueType::Text),
    ("dedicated_host", ValueType::Text),
    ("api_version", ValueType::Text),
    ("upstream", ValueType::Text),
    ("quota_project", ValueType::Text),
    ("discover_endpoints", ValueType::Truth),
    ("forward_header", ValueType::Texts),
    ("forward_query", ValueType::Texts),
    ("model_methods", ValueType::Texts),
    ("client_locations", ValueType::Texts),
    ("client_projects", ValueType::Texts),
    ("default_publisher", ValueType::Text),
    ("default_model", ValueType::Text),
    ("model", ValueType::Entries(&MODEL_KEYS)),
    ("client", ValueType::Entries(&CLIENT_KEYS)),
];
pub(super) const CLIENT_KEYS: [Key; 5] = [
    ("name", ValueType::Text),
    ("models", ValueType::Texts),
    ("requests_per_minute", ValueType::Count),
    ("max_concurrent_requests", ValueType::Count),
    ("shared_responses", ValueType::Truth),
];
pub(super) const MODEL_KEYS: [Key; 9] = [
    ("name", ValueType::Text),
    ("model", ValueType::Text),
    ("publisher", ValueType::Text),
    ("location", ValueType::Text),
    ("locations", ValueType::Texts),
    ("endpoint", ValueType::Text),
    ("dedicated_host", ValueType::Text),
    ("api_version", ValueType::Text),
    ("headers", ValueType::Named),
];

impl ValueType {
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

    pub(super) fn advice(self, key: &str) -> String {
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

/// An error and its position in the file. Values are not repeated: one may be a secret in the wrong
/// place.
pub(super) struct FileError {
    at: Range<usize>,
    what: String,
}

impl FileError {
    pub(super) fn new(at: Range<usize>, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }

    pub(super) fn with_line(self, text: &str) -> String {
        format!("line {}: {}", line(text, &self.at), self.what)
    }
}

fn line(text: &str, at: &Range<usize>) -> usize {
    text.get(..at.start).unwrap_or_default().matches('\n').count() + 1
}

/// The key that sets an option.
pub(super) fn key_of(option: &str) -> String {
    option.replace('-', "_")
}

/// Checks that each `[[kind]]` has a name of its own and only known keys.
pub(super) fn check_entries(
    text: &str,
    table: &DeTable<'_>,
    kind: &str,
    advice: &str,
) -> Result<(), FileError> {
    let Some((_, ValueType::Entries(known))) = KEYS.iter().find(|(key, _)| *key == kind) else {
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
            Some(name) => format!(" in [[{kind}]] {:?}", redact::value(name)),
            None => format!(" in [[{kind}]] number {}", number + 1),
        };
        check_keys(entry, known, &BTreeMap::new(), &place)?;
        let (Some(value), Some(named)) = (name, named) else {
            return Err(FileError::new(spanned.span(), format!("no `name`{place}: {advice}")));
        };
        if let Some(first) = names.insert(named, line(text, &value.span())) {
            return Err(FileError::new(
                value.span(),
                format!(
                    "a [[{kind}]] with the name {:?} is in line {first} already: leave one of the \
                     two out, or give it another name",
                    redact::value(named)
                ),
            ));
        }
    }
    Ok(())
}

pub(super) fn check_keys(
    table: &DeTable<'_>,
    known: &[Key],
    options: &BTreeMap<String, Arg>,
    place: &str,
) -> Result<(), FileError> {
    for (spanned, value) in table {
        let key = &**spanned.get_ref();
        let wrong = |what| Err(FileError::new(spanned.span(), what));
        match known.iter().find(|(known, _)| *known == key) {
            Some((_, kind)) if kind.fits(value.get_ref()) => {}
            Some((_, kind)) => return wrong(format!("`{key}`{place}: {}", kind.advice(key))),
            None if options.contains_key(key) => {}
            None => {
                let names = known.iter().map(|(name, _)| *name);
                let shown = redact::value(key);
                // Options have hyphens, so users write keys with hyphens too.
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
