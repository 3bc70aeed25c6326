//! Gemini's own parameters move to `extra_body.google`, the only place where Vertex AI reads them.
//!
//! openai-python puts the content of its `extra_body` at the top level of the request. So Google's
//! page nests it twice: `extra_body={"extra_body": {"google": …}}`. A program that nests it once sends
//! a top-level `google`, and a program that nests it twice in another language sends
//! `extra_body.extra_body`. Vertex AI ignores both without an error. These places have no other meaning, so
//! nothing is lost. A parameter that is already in the right place takes precedence.

use super::chat::Chat;
use crate::compat::json::{Edits, Object, Value, quote};

/// Gemini's own parameters, by their keys.
pub(super) struct Parameters<'a>(Vec<(String, Value<'a>)>);

impl Parameters<'_> {
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.iter().any(|(known, value)| known == key && !value.is_null())
    }

    /// The parameters that are in the right place.
    pub(super) fn of<'a>(chat: &Chat<'a>) -> Parameters<'a> {
        let mut parameters = Parameters(Vec::new());
        if let Some(google) = chat.root.get("extra_body").and_then(|extra| extra.get("google")) {
            parameters.add(google.object());
        }
        parameters
    }
}

impl<'a> Parameters<'a> {
    fn add(&mut self, google: Option<Object<'a>>) {
        for member in google.into_iter().flat_map(|google| google.members) {
            if self.0.iter().all(|(known, _)| *known != member.key) {
                self.0.push((member.key.into_owned(), member.value));
            }
        }
    }
}

/// Returns the parameters after the cure, and whether some were moved.
pub(super) fn cure<'a>(chat: &Chat<'a>, edits: &mut Edits) -> (Parameters<'a>, bool) {
    let mut all = Parameters::of(chat);
    let kept = all.0.len();
    let extra = chat.root.get_some("extra_body");
    let outer = extra.and_then(Value::object);
    let place = outer.as_ref().and_then(|outer| outer.get_some("google"));
    let target = place.and_then(Value::object);
    if extra.is_some() && outer.is_none() || place.is_some() && target.is_none() {
        return (all, false);
    }
    let nested = outer.as_ref().and_then(|outer| outer.get("extra_body")).and_then(Value::object);
    let inner = nested.as_ref().and_then(|nested| nested.get("google")).and_then(Value::object);
    let top = chat.root.get("google").and_then(Value::object);
    if inner.is_none() && top.is_none() {
        return (all, false);
    }
    if top.is_some() {
        edits.remove(&chat.root, "google");
    }
    if let (Some(outer), Some(nested), Some(_)) = (&outer, &nested, &inner) {
        match nested.members.len() {
            1 => edits.remove(outer, "extra_body"),
            _ => edits.remove(nested, "google"),
        }
    }
    all.add(inner);
    all.add(top);
    let moved = all.0.get(kept..).unwrap_or_default();
    if let Some(target) = &target {
        for (key, value) in moved {
            edits.insert_last(target, key, value.text());
        }
        return (all, true);
    }
    let members = moved.iter().map(|(key, value)| format!("{}:{}", quote(key), value.text()));
    let google = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
    match &outer {
        Some(outer) => edits.set(outer, "google", &google),
        None => edits.set(&chat.root, "extra_body", &format!(r#"{{"google":{google}}}"#)),
    }
    (all, true)
}
