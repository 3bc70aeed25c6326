//! The check whether a value fits a schema. It covers all supported keywords except `pattern` and
//! `format`.

use serde_json::Value;

use super::{
    DEEPEST, Maker, Object, kinds, length, merge, number, properties, required, schemas_of_items,
};

impl Maker<'_> {
    pub(super) fn fits(&self, schema: &Value, value: &Value, depth: usize) -> bool {
        match schema {
            Value::Bool(fits) => *fits,
            Value::Object(schema) => self.fits_all(schema, value, depth),
            _ => false,
        }
    }

    pub(super) fn fits_all(&self, schema: &Object, value: &Value, depth: usize) -> bool {
        // Choices and references add to the depth here, but not to that of the value.
        if depth > 4 * DEEPEST || self.spend(1).is_err() {
            return false;
        }
        let fits = |schema: &Value| self.fits(schema, value, depth + 1);
        let of_keyword = |(keyword, wanted): (&String, &Value)| match (&**keyword, wanted) {
            ("$ref", Value::String(name)) => self.there(name).is_ok_and(fits),
            ("allOf", Value::Array(all)) => all.iter().all(fits),
            ("const", wanted) => value == wanted,
            ("enum", Value::Array(values)) => values.contains(value),
            (keyword, Value::Array(branches)) => match merge::choice(keyword) {
                Some("anyOf") => branches.iter().any(fits),
                Some(_) => branches.iter().filter(|branch| fits(branch)).count() == 1,
                None => true,
            },
            _ => true,
        };
        schema.iter().all(of_keyword)
            && (!schema.contains_key("type") || kinds(schema).iter().any(|kind| is(kind, value)))
            && match value {
                Value::Number(value) => number::fits(schema, value),
                Value::String(text) => is_within(schema, "Length", text.chars().count()),
                Value::Array(items) => self.fits_items(schema, items, depth),
                Value::Object(object) => self.fits_properties(schema, object, depth),
                Value::Null | Value::Bool(_) => true,
            }
    }

    fn fits_items(&self, schema: &Object, items: &[Value], depth: usize) -> bool {
        let (first, rest) = schemas_of_items(schema);
        let is_unique = schema.get("uniqueItems") == Some(&Value::Bool(true));
        is_within(schema, "Items", items.len())
            && items.iter().enumerate().all(|(at, item)| {
                first.get(at).or(rest).is_none_or(|schema| self.fits(schema, item, depth + 1))
                    && !(is_unique && items[..at].contains(item))
            })
    }

    fn fits_properties(&self, schema: &Object, object: &Object, depth: usize) -> bool {
        let more = schema.get("additionalProperties");
        // The names may match a pattern of `patternProperties`, which is not supported.
        let more = more.filter(|_| !schema.contains_key("patternProperties"));
        let declared = schema.get("properties").and_then(Value::as_object);
        is_within(schema, "Properties", object.len())
            && required(schema).iter().all(|name| object.contains_key(*name))
            && properties(schema).all(|(name, property)| {
                object.get(name).is_none_or(|value| self.fits(property, value, depth + 1))
            })
            && object.iter().all(|(name, value)| {
                declared.is_some_and(|declared| declared.contains_key(name))
                    || more.is_none_or(|more| self.fits(more, value, depth + 1))
            })
    }
}

/// Whether a value is of this type.
fn is(kind: &str, value: &Value) -> bool {
    match &*kind.to_ascii_lowercase() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|value| value.fract() == 0.0),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Whether a length is within `min…` and `max…`.
fn is_within(schema: &Object, what: &str, is: usize) -> bool {
    let bound = |which: &str| length(schema, &format!("{which}{what}"));
    bound("min").is_none_or(|least| is >= least) && bound("max").is_none_or(|most| is <= most)
}
