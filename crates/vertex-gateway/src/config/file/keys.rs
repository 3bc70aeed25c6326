//! The keys that the configuration file can have, and what is wrong with one.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
};

use clap::Arg;
use toml::de::{DeTable, DeValue};

use crate::{config::suggest::nearest, values::MOST};
use tower_vertex::shown;

/// What the value of a key is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Texts,
    /// Names, each with a text.
    Named,
    Truth,
    Count,
    /// `[[key]]`, each with such keys.
    Entries(&'static [Key]),
}

pub(super) type Key = (&'static str, Kind);

/// What is no option, and options that can change while it serves.
pub(super) const KEYS: [Key; 13] = [
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
pub(super) const CLIENT_KEYS: [Key; 5] = [
    ("name", Kind::Text),
    ("models", Kind::Texts),
    ("requests_per_minute", Kind::Count),
    ("max_concurrent_requests", Kind::Count),
    ("shared_responses", Kind::Truth),
];
pub(super) const MODEL_KEYS: [Key; 9] = [
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

/// What is wrong, and where. Values are not repeated: one may be a secret in the wrong place.
pub(super) struct Wrong {
    at: Range<usize>,
    what: String,
}

impl Wrong {
    pub(super) fn new(at: Range<usize>, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }

    pub(super) fn told(self, text: &str) -> String {
        format!("line {}: {}", line(text, &self.at), self.what)
    }
}

fn line(text: &str, at: &Range<usize>) -> usize {
    text.get(..at.start).unwrap_or_default().matches('\n').count() + 1
}

/// The key of an option.
pub(super) fn key_of(option: &str) -> String {
    option.replace('-', "_")
}

/// Each `[[kind]]` has a name of its own, and no key but the known ones.
pub(super) fn check_entries(
    text: &str,
    table: &DeTable<'_>,
    kind: &str,
    advice: &str,
) -> Result<(), Wrong> {
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

pub(super) fn check_keys(
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
