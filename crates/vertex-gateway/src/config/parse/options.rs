//! The options of the command line that the file can set.

use std::{collections::BTreeMap, sync::Arc};

use clap::{
    Arg, ArgAction,
    builder::Resettable,
    error::{ContextKind, ContextValue},
};
use toml::de::DeValue;

use super::keys::{KEYS, ValueType, key_of};
use crate::values;

/// The options that can be set in a file and are not in `KEYS`, by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileOptions(pub(super) Arc<BTreeMap<String, Arg>>);

impl FileOptions {
    /// The options of `serve`, which are those of the command itself, and those of `ext-authz`.
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

/// The values of an option as they would be on the command line; `None` for an empty value.
pub(super) fn values_of(arg: &Arg, value: &DeValue<'_>) -> Result<Option<Vec<String>>, String> {
    if !arg.get_action().takes_values() {
        let truth = value.as_bool().ok_or_else(|| ValueType::Truth.advice(""))?;
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
    let mut values = values.ok_or_else(|| ValueType::Text.advice(""))?;
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
            _ => format!("the value does not fit --{long}"),
        }),
    }
}
