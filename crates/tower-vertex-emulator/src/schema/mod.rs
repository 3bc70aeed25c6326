//! A value that fits a JSON Schema, for the arguments of tools and for `response_format`.
//!
//! | module | purpose |
//! |---|---|
//! | `merge` | combines several schemas that apply at the same time |
//! | `number` | makes a number within its bounds |
//! | `text` | makes a text with the given length, format or pattern |
//! | `fits` | checks whether a value fits: to choose between values, and as the final check |
//!
//! The emulator supports the keywords that the schemas of tools use, in drafts 4 to 2020-12:
//!
//! - `type`, `enum`, `const`, `$ref`, `allOf`, `anyOf`, `oneOf`
//! - `properties`, `required`, `additionalProperties`, `minProperties`, `maxProperties`
//! - `items`, `prefixItems`, `minItems`, `maxItems`, `uniqueItems`
//! - `minimum`, `maximum`, their exclusive forms, `multipleOf`
//! - `minLength`, `maxLength`, `pattern`, `format`
//!
//! It ignores other keywords, and a `pattern` that has a lookahead or is longer than 1,000 bytes.

mod fits;
mod merge;
mod number;
mod text;

use std::{borrow::Cow, cell::Cell};

use serde_json::{Map, Value};

/// The depth from which a value has only its required parts. If the value becomes too large, it is
/// made again with the next smaller depth.
const ENOUGH: [usize; 3] = [8, 3, 0];
/// The depth at which a value is an error.
const DEEPEST: usize = 32;
/// The limit of the work for one schema. Each visit to a part of the schema counts, and values that
/// are made or copied count by their [`size`].
const WORK: usize = 100_000;
/// This many bytes of text count as one unit of work.
const BYTES: usize = 64;

/// The largest number of characters of the prompt that are repeated.
const ECHO: usize = 1024;

type Object = Map<String, Value>;

/// Makes a value for a schema: the first of several choices, the number next to zero, and `said`
/// for any text. The result is the same for the same schema. An error describes the fault in the
/// schema.
pub(crate) fn example(schema: &Value, said: &str) -> Result<Value, String> {
    let end = said.char_indices().nth(ECHO).map_or(said.len(), |(end, _)| end);
    let said = said.get(..end).unwrap_or_default();
    let mut made = Err(String::new());
    for enough in ENOUGH {
        let maker = Maker { root: schema, said, enough, work: Cell::new(WORK) };
        made = maker.make(schema, 0, 0).and_then(|value| {
            let fits = maker.fits(schema, &value, 0);
            fits.then_some(value).ok_or_else(|| "the emulator has no value for the schema".into())
        });
        if made.is_ok() {
            break;
        }
    }
    made
}

struct Maker<'a> {
    root: &'a Value,
    said: &'a str,
    enough: usize,
    work: Cell<usize>,
}

impl Maker<'_> {
    /// Makes a value. `nth` selects one of several values where they must differ.
    fn make(&self, schema: &Value, depth: usize, nth: usize) -> Result<Value, String> {
        self.begin(depth)?;
        match schema {
            // Any value fits.
            Value::Bool(true) => Ok(Value::Object(Map::new())),
            Value::Object(schema) => {
                let schema = self.merged(schema, depth)?;
                self.value(&schema, depth, nth)
            }
            _ => Err("the schema must be an object".into()),
        }
    }

    /// Limits depth and work, so that no schema is endless or costs more than a moment.
    fn begin(&self, depth: usize) -> Result<(), String> {
        if depth > DEEPEST { Err("the schema has no end".into()) } else { self.spend(1) }
    }

    fn spend(&self, work: usize) -> Result<(), String> {
        let left = self.work.get().checked_sub(work);
        // After an overrun no work is left, so smaller parts cannot continue either.
        self.work.set(left.unwrap_or(0));
        left.map(drop).ok_or_else(|| "the schema is too large".into())
    }

    /// A copy of a value, counted as work.
    fn copy(&self, value: &Value) -> Result<Value, String> {
        self.spend(size(value))?;
        Ok(value.clone())
    }

    /// A copy of a schema without the definitions for references, which are looked up in the root.
    fn copy_schema(&self, schema: &Object) -> Result<Object, String> {
        let of_itself = schema.iter().filter(|(keyword, _)| !is_for_others(keyword));
        let copied = of_itself.map(|(keyword, wanted)| {
            self.spend(size_of_text(keyword))?;
            Ok((keyword.clone(), self.copy(wanted)?))
        });
        copied.collect()
    }

    /// The text of the prompt, shortened to [`ECHO`] characters.
    fn said(&self) -> Result<String, String> {
        self.spend(size_of_text(self.said))?;
        Ok(self.said.to_owned())
    }

    /// Resolves a reference of the form `#/…`.
    fn there(&self, name: &str) -> Result<&Value, String> {
        let there = name.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
        there.ok_or_else(|| format!("the schema has no `{name}`"))
    }

    fn value(&self, schema: &Object, depth: usize, nth: usize) -> Result<Value, String> {
        let one_of_these = match (schema.get("const"), schema.get("enum")) {
            (Some(value), _) => Some(std::slice::from_ref(value)),
            (None, Some(Value::Array(values))) => Some(&values[..]),
            _ => None,
        };
        if let Some(values) = one_of_these {
            let mut fit = values.iter().filter(|value| self.fits_all(schema, value, depth));
            return self.copy(fit.nth(nth).ok_or("no value of `enum` fits")?);
        }
        for (keyword, branches) in schema {
            if let (Some(_), Value::Array(branches)) = (merge::choice(keyword), branches) {
                return self.choose(schema, keyword, branches, depth, nth);
            }
        }
        let kinds = kinds(schema);
        let mut error = "the schema has no type".into();
        for kind in kinds {
            let made = match &*kind.to_ascii_lowercase() {
                "object" => self.object(schema, depth, nth),
                "array" => self.array(schema, depth),
                "string" => {
                    let spend = |text: &str| self.spend(size_of_text(text));
                    text::make(schema, self.said, nth, spend).map(Value::String)
                }
                "integer" => number::integer(schema, nth),
                "number" => number::any(schema, nth),
                "boolean" if nth < 2 => Ok((nth == 0).into()),
                "null" if nth == 0 => Ok(Value::Null),
                "boolean" | "null" => Err("there are no more values".into()),
                _ => Err(format!("the schema has a type `{kind}`")),
            };
            match made {
                Ok(value) => return Ok(value),
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    /// Makes a value by the first branch that has one that fits the whole schema.
    fn choose(
        &self,
        schema: &Object,
        choice: &str,
        branches: &[Value],
        depth: usize,
        nth: usize,
    ) -> Result<Value, String> {
        let mut branches: Vec<&Value> = branches.iter().collect();
        if depth >= self.enough {
            branches.sort_by_key(|branch| !is_flat(branch));
        }
        let mut base = self.copy_schema(schema)?;
        base.remove(choice);
        let mut error = format!("`{choice}` has nothing to choose from");
        for branch in branches {
            let made = match branch {
                Value::Object(branch) => self.merged(branch, depth + 1).and_then(|branch| {
                    self.begin(depth)?;
                    let mut both = self.copy_schema(&base)?;
                    self.merge(&mut both, &branch)?;
                    self.value(&both, depth + 1, nth)
                }),
                _ => self.value(&base, depth + 1, nth),
            };
            match made {
                Ok(value) if self.fits_all(schema, &value, depth) => return Ok(value),
                Ok(_) => {}
                Err(why) => error = why,
            }
        }
        Err(error)
    }

    fn object(&self, schema: &Object, depth: usize, nth: usize) -> Result<Value, String> {
        let required = required(schema);
        let mut object = Map::new();
        for (name, property) in properties(schema) {
            let is_required = required.contains(&name.as_str());
            if is_required || depth < self.enough {
                self.spend(size_of_text(name))?;
                match self.make(property, depth + 1, nth) {
                    Ok(value) => drop(object.insert(name.clone(), value)),
                    Err(why) if is_required => return Err(why),
                    Err(_) => {}
                }
            }
        }
        let more = schema.get("additionalProperties").unwrap_or(&Value::Bool(true));
        let another = || match more {
            Value::Bool(true) => self.said().map(Value::String),
            more => self.make(more, depth + 1, nth),
        };
        for name in &required {
            if !object.contains_key(*name) {
                self.spend(size_of_text(name))?;
                object.insert((*name).to_owned(), another()?);
            }
        }
        let most = length(schema, "maxProperties").unwrap_or(usize::MAX);
        while object.len() > most {
            let needless = object.keys().rev().find(|name| !required.contains(&name.as_str()));
            let needless = needless.cloned().ok_or("`maxProperties` is less than `required`")?;
            object.remove(&needless);
        }
        let least = length(schema, "minProperties").unwrap_or(0);
        for number in 1.. {
            if object.len() >= least {
                break;
            }
            self.begin(depth)?;
            let name = format!("property{number}");
            if !object.contains_key(&name) {
                object.insert(name, another()?);
            }
        }
        Ok(Value::Object(object))
    }

    fn array(&self, schema: &Object, depth: usize) -> Result<Value, String> {
        let (first, rest) = schemas_of_items(schema);
        let most = length(schema, "maxItems").unwrap_or(usize::MAX);
        let least = match length(schema, "minItems") {
            Some(least) => least,
            None if depth >= self.enough => 0,
            None if first.is_empty() => usize::from(rest.is_some()).min(most),
            None => first.len().min(most),
        };
        let is_unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        let mut items: Vec<Value> = Vec::new();
        while items.len() < least {
            self.begin(depth)?;
            let at = items.len();
            let made = match (first.get(at), rest) {
                (Some(item), _) => self.make(item, depth + 1, if is_unique { at } else { 0 }),
                (None, Some(Value::Bool(true)) | None) => {
                    self.said().map(|said| format!("{said} {at}").into())
                }
                (None, Some(_)) if !is_unique && at > first.len() => self.copy(&items[at - 1]),
                (None, Some(rest)) => self.make(rest, depth + 1, if is_unique { at } else { 0 }),
            };
            match made {
                Ok(item) => items.push(item),
                Err(why) if schema.contains_key("minItems") => return Err(why),
                // The item is optional without `minItems`, so the array can end here.
                Err(_) => break,
            }
        }
        Ok(Value::Array(items))
    }
}

/// The work to make or copy a value.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => size_of_text(text),
        Value::Array(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Object(object) => {
            1 + object.iter().map(|(name, value)| size_of_text(name) + size(value)).sum::<usize>()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

fn size_of_text(text: &str) -> usize {
    1 + text.len() / BYTES
}

/// Whether a keyword holds definitions for references.
fn is_for_others(keyword: &str) -> bool {
    matches!(keyword, "$defs" | "definitions")
}

/// The types that a value may have, in the order in which they are tried.
fn kinds(schema: &Object) -> Vec<Cow<'_, str>> {
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind.into()],
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).map(Cow::from).collect()
        }
        _ => {
            let of = |kind, keywords: &[&str]| {
                keywords.iter().any(|keyword| schema.contains_key(*keyword)).then_some(kind)
            };
            let kind = of("object", &["properties", "required", "additionalProperties"])
                .or(of("array", &["items", "prefixItems", "minItems", "maxItems", "uniqueItems"]))
                .or(of("string", &["minLength", "maxLength", "pattern", "format"]))
                .or(of("number", &["minimum", "exclusiveMinimum"]))
                .or(of("number", &["maximum", "exclusiveMaximum", "multipleOf"]));
            vec![kind.unwrap_or("object").into()]
        }
    }
}

/// Whether the values of a schema have no parts.
fn is_flat(schema: &Value) -> bool {
    let kinds = schema.get("type").and_then(Value::as_str);
    let is_flat = |kind: &str| !["object", "array"].contains(&kind.to_ascii_lowercase().as_str());
    schema.get("const").is_some() || schema.get("enum").is_some() || kinds.is_some_and(is_flat)
}

fn properties(schema: &Object) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The schemas of the first items, and the schema of all items after them.
fn schemas_of_items(schema: &Object) -> (&[Value], Option<&Value>) {
    // Drafts before 2020-12 use an array in `items` for `prefixItems`.
    match (schema.get("prefixItems"), schema.get("items")) {
        (Some(Value::Array(first)), rest) => (first, rest),
        (_, Some(Value::Array(first))) => (first, schema.get("additionalItems")),
        (_, rest) => (&[], rest),
    }
}

fn required(schema: &Object) -> Vec<&str> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A length or a count. Some schemas write it as `2.0`, and Google's own as a string.
fn length(schema: &Object, keyword: &str) -> Option<usize> {
    let length = match schema.get(keyword)? {
        Value::String(digits) => digits.parse().ok()?,
        number => {
            let float = number.as_f64().filter(|number| *number >= 0.0)?;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the float is rounded up and not negative"
            )]
            number.as_u64().unwrap_or(float.ceil() as u64)
        }
    };
    Some(usize::try_from(length).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests;
