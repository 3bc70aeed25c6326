//! Combines schemas that apply at the same time: those of `$ref` and `allOf`, and the keywords
//! beside them.

use std::{borrow::Cow, cmp::Ordering};

use serde_json::{Value, json};

use super::{Maker, Object};

impl Maker<'_> {
    /// Replaces `$ref` and `allOf` by the keywords that they contain.
    pub(super) fn merged<'s>(
        &self,
        schema: &'s Object,
        depth: usize,
    ) -> Result<Cow<'s, Object>, String> {
        let name = schema.get("$ref").and_then(Value::as_str);
        let all = schema.get("allOf").and_then(Value::as_array);
        if name.is_none() && all.is_none() {
            return Ok(Cow::Borrowed(schema));
        }
        let mut one = self.copy_schema(schema)?;
        one.remove("$ref");
        one.remove("allOf");
        let there = name.map(|name| self.there(name)).transpose()?;
        for part in there.into_iter().chain(all.into_iter().flatten()) {
            self.begin(depth)?;
            match part {
                Value::Bool(true) => {}
                Value::Object(part) => self.merge(&mut one, &*self.merged(part, depth + 1)?)?,
                _ => return Err("the schema must be an object".into()),
            }
        }
        Ok(Cow::Owned(one))
    }

    /// Adds the keywords of `more`.
    pub(super) fn merge(&self, one: &mut Object, more: &Object) -> Result<(), String> {
        into(one, &self.copy_schema(more)?);
        Ok(())
    }
}

const CHOICES: [&str; 2] = ["oneOf", "anyOf"];

/// The choice that a keyword stands for. A second choice with the same name has a `+` appended, and
/// so on.
pub(super) fn choice(keyword: &str) -> Option<&'static str> {
    CHOICES.into_iter().find(|choice| keyword.trim_end_matches('+') == *choice)
}

/// Merges the keywords of `more` into `one`. The narrower of two bounds is kept. If two keywords
/// cannot be combined, the first one is kept; the final check shows whether the value fits both.
fn into(one: &mut Object, more: &Object) {
    for (keyword, wanted) in more {
        if choice(keyword).is_some() {
            // Both choices are kept, under different names.
            let mut free = keyword.trim_end_matches('+').to_owned();
            while one.contains_key(&free) {
                free.push('+');
            }
            one.insert(free, wanted.clone());
            continue;
        }
        let Some(has) = one.get_mut(keyword) else {
            one.insert(keyword.clone(), wanted.clone());
            continue;
        };
        match &**keyword {
            "properties" => {
                if let (Value::Object(has), Value::Object(wanted)) = (has, wanted) {
                    for (name, wanted) in wanted {
                        match has.get_mut(name) {
                            Some(has) => *has = json!({ "allOf": [has.take(), wanted] }),
                            None => drop(has.insert(name.clone(), wanted.clone())),
                        }
                    }
                }
            }
            "required" => {
                if let (Value::Array(has), Value::Array(wanted)) = (has, wanted) {
                    has.extend(wanted.iter().cloned());
                }
            }
            "enum" => {
                if let (Value::Array(has), Value::Array(wanted)) = (has, wanted) {
                    has.retain(|value| wanted.contains(value));
                }
            }
            "type" => *has = both(has, wanted),
            "minimum" | "exclusiveMinimum" | "minLength" | "minItems" | "minProperties"
                if compare(has, wanted) == Some(Ordering::Less) =>
            {
                *has = wanted.clone();
            }
            "maximum" | "exclusiveMaximum" | "maxLength" | "maxItems" | "maxProperties"
                if compare(has, wanted) == Some(Ordering::Greater) =>
            {
                *has = wanted.clone();
            }
            _ => {}
        }
    }
}

fn compare(one: &Value, other: &Value) -> Option<Ordering> {
    one.as_f64()?.partial_cmp(&other.as_f64()?)
}

/// The types that both schemas allow.
fn both(one: &Value, other: &Value) -> Value {
    let list = |kinds: &Value| match kinds {
        Value::Array(kinds) => kinds.clone(),
        kind => vec![kind.clone()],
    };
    let (one, other) = (list(one), list(other));
    let narrower = |kind: &Value| {
        if other.contains(kind) || (kind == "integer" && other.contains(&"number".into())) {
            Some(kind.clone())
        } else if kind == "number" && other.contains(&"integer".into()) {
            Some("integer".into())
        } else {
            None
        }
    };
    one.iter().filter_map(narrower).collect()
}
