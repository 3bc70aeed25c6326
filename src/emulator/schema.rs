//! A value that fits a JSON Schema, for answers that have to.

use serde_json::{Map, Number, Value};

/// How deep the value goes before it has only what is required, and before it is an error.
const ENOUGH: usize = 8;
const DEEPEST: usize = 32;
/// As many items as an array is given, whatever the schema wants.
const MOST_ITEMS: u64 = 100;

/// The same for the same schema: the first of several choices, the smallest number, and `said`
/// where any text may stand. Patterns are not looked at. Or what is wrong with the schema.
pub(crate) fn example(schema: &Value, said: &str) -> Result<Value, String> {
    Maker { root: schema, said }.make(schema, 0)
}

struct Maker<'a> {
    root: &'a Value,
    said: &'a str,
}

impl Maker<'_> {
    fn make(&self, schema: &Value, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("the schema has no end".into());
        }
        let schema = match schema {
            // Anything will do.
            Value::Bool(true) => return Ok(Value::Object(Map::new())),
            Value::Object(schema) => schema,
            _ => return Err("the schema must be an object".into()),
        };
        if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
            let there = name.strip_prefix('#').and_then(|pointer| self.root.pointer(pointer));
            let there = there.ok_or_else(|| format!("the schema has no `{name}`"))?;
            return self.make(there, depth + 1);
        }
        let first = |name: &str| schema.get(name).and_then(Value::as_array)?.first();
        if let Some(value) = schema.get("const").or_else(|| first("enum")) {
            return Ok(value.clone());
        }
        if let Some(choice) = ["anyOf", "oneOf", "allOf"].into_iter().find_map(first) {
            return self.make(choice, depth + 1);
        }
        let kind = match schema.get("type") {
            Some(Value::String(kind)) => kind,
            Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
            _ if schema.contains_key("items") => "array",
            _ => "object",
        };
        Ok(match kind {
            "object" => self.object(schema, depth)?,
            "array" => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1);
                let item = match schema.get("items") {
                    Some(items) if least > 0 && depth < ENOUGH => self.make(items, depth + 1)?,
                    Some(items) if schema.contains_key("minItems") => {
                        self.make(items, depth + 1)?
                    }
                    _ => return Ok(Value::Array(Vec::new())),
                };
                Value::Array(vec![item; usize::try_from(least.min(MOST_ITEMS)).unwrap_or(1)])
            }
            "string" => self.text(schema).into(),
            "integer" | "number" => number(schema),
            "boolean" => true.into(),
            "null" => Value::Null,
            _ => return Err(format!("the schema has a type `{kind}`")),
        })
    }

    fn object(&self, schema: &Map<String, Value>, depth: usize) -> Result<Value, String> {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &String| {
            required.is_some_and(|names| names.iter().any(|required| required == name))
        };
        let mut object = Map::new();
        if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            for (name, property) in properties {
                if depth < ENOUGH || is_required(name) {
                    object.insert(name.clone(), self.make(property, depth + 1)?);
                }
            }
        }
        Ok(Value::Object(object))
    }

    fn text(&self, schema: &Map<String, Value>) -> String {
        let format = schema.get("format").and_then(Value::as_str);
        let text = match format.unwrap_or_default() {
            "date-time" => "2026-01-02T03:04:05Z",
            "date" => "2026-01-02",
            "time" => "03:04:05Z",
            "duration" => "PT1S",
            "email" => "somebody@example.com",
            "hostname" => "example.com",
            "ipv4" => "192.0.2.1",
            "ipv6" => "2001:db8::1",
            "uri" => "https://example.com/",
            "uuid" => "00000000-0000-4000-8000-000000000000",
            _ => {
                let length = |name: &str| schema.get(name).and_then(Value::as_u64);
                let most = length("maxLength")
                    .map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
                let least = length("minLength").unwrap_or(0).min(MOST_ITEMS);
                let mut text: String = self.said.chars().take(most.min(1024)).collect();
                while (text.chars().count() as u64) < least {
                    text.push('.');
                }
                return text;
            }
        };
        text.to_owned()
    }
}

/// The number next to zero that the schema allows.
fn number(schema: &Map<String, Value>) -> Value {
    let limit = |name: &str| schema.get(name).and_then(Value::as_f64);
    let step = limit("multipleOf").filter(|step| *step > 0.0).unwrap_or(1.0);
    let least = limit("minimum").or(limit("exclusiveMinimum").map(|least| least + step));
    let most = limit("maximum").or(limit("exclusiveMaximum").map(|most| most - step));
    let near = 0.0_f64.min(most.unwrap_or(0.0)).max(least.unwrap_or(f64::NEG_INFINITY));
    let near = if near > 0.0 { (near / step).ceil() } else { (near / step).floor() } * step;
    #[expect(clippy::cast_possible_truncation, reason = "whole, and small enough, is what it asks")]
    if near.fract() == 0.0 && near.abs() < 9e15 {
        return Value::from(near as i64);
    }
    Number::from_f64(near).map_or(Value::from(0), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_of_schema_has_an_example() {
        for (schema, made) in [
            (json!({ "type": "string" }), json!("hello")),
            (json!({ "type": "string", "maxLength": 2 }), json!("he")),
            (json!({ "type": "string", "minLength": 7 }), json!("hello..")),
            (json!({ "type": "string", "format": "date" }), json!("2026-01-02")),
            (json!({ "type": "integer" }), json!(0)),
            (json!({ "type": "integer", "minimum": 3 }), json!(3)),
            (json!({ "type": "integer", "exclusiveMinimum": 3, "maximum": 9 }), json!(4)),
            (json!({ "type": "integer", "maximum": -3 }), json!(-3)),
            (json!({ "type": "integer", "minimum": 7, "multipleOf": 5 }), json!(10)),
            (json!({ "type": "number", "minimum": 0.5, "multipleOf": 0.5 }), json!(0.5)),
            (json!({ "type": "boolean" }), json!(true)),
            (json!({ "type": ["null", "string"] }), json!(null)),
            (json!({ "enum": ["red", "blue"] }), json!("red")),
            (json!({ "const": 7 }), json!(7)),
            (json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }), json!(0)),
            (json!({ "type": "array", "items": { "type": "integer" } }), json!([0])),
            (json!({ "items": { "type": "null" }, "minItems": 2 }), json!([null, null])),
            (json!({ "type": "array", "items": {}, "minItems": 0 }), json!([])),
            (json!({ "type": "object" }), json!({})),
            (json!(true), json!({})),
            (
                json!({
                    "type": "object",
                    "properties": { "a": { "$ref": "#/$defs/a" }, "b": { "type": "string" } },
                    "$defs": { "a": { "type": "integer" } },
                }),
                json!({ "a": 0, "b": "hello" }),
            ),
        ] {
            assert_eq!(example(&schema, "hello").as_ref(), Ok(&made), "{schema}");
        }
    }

    #[test]
    fn a_tree_ends_where_it_may() {
        let tree = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "children": { "type": "array", "items": { "$ref": "#" } },
            },
            "required": ["name", "children"],
        });
        let made = example(&tree, "x").unwrap();
        let deepest = "/children/0".repeat(3);
        assert_eq!(made.pointer(&deepest), Some(&json!({ "name": "x", "children": [] })));
    }

    #[test]
    fn a_schema_that_is_wrong_is_an_error() {
        let endless = json!({ "properties": { "a": { "$ref": "#" } }, "required": ["a"] });
        for schema in [
            endless,
            json!({ "$ref": "#/$defs/a" }),
            json!({ "$ref": "other.json" }),
            json!({ "type": "text" }),
            json!("object"),
            json!(false),
        ] {
            assert!(example(&schema, "x").is_err(), "{schema}");
        }
    }
}
