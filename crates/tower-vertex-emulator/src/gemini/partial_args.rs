//! The arguments of a call in pieces, for `streamFunctionCallArguments`.
//!
//! A call begins with its name and `willContinue`, and ends with an empty call. Between them, each
//! piece names its argument by a JSON path (vercel/ai pull request 13929, and the definition of
//! `PartialArg`).

use serde_json::{Value, json};

use super::super::pieces::Pieces;

/// Number of pieces of a text, unless the settings of the stream say so.
const CHUNKS: usize = 5;

/// The arguments as an object.
pub(super) fn parsed(arguments: &str) -> Value {
    serde_json::from_str(arguments).unwrap_or_else(|_| json!({}))
}

/// The parts of a call. `chunks` is the number of pieces of each text.
pub(super) fn parts(name: &str, arguments: &str, chunks: Option<usize>) -> Vec<Value> {
    let mut parts = vec![json!({ "functionCall": { "name": name, "willContinue": true } })];
    add("$", &parsed(arguments), chunks, &mut parts);
    parts.push(json!({ "functionCall": {} }));
    parts
}

fn add(path: &str, value: &Value, chunks: Option<usize>, parts: &mut Vec<Value>) {
    let mut push = |argument: Value| {
        parts.push(json!({ "functionCall": { "partialArgs": [argument], "willContinue": true } }));
    };
    match value {
        Value::Null => push(json!({ "jsonPath": path, "nullValue": null })),
        Value::Bool(value) => push(json!({ "jsonPath": path, "boolValue": value })),
        Value::Number(value) => push(json!({ "jsonPath": path, "numberValue": value })),
        Value::String(text) => {
            // Every piece is made now, so there are no empty ones.
            let most = text.chars().count().max(1);
            let pieces = Pieces::new(text.as_str(), Some(chunks.unwrap_or(CHUNKS).min(most)));
            for index in 0..pieces.count() {
                let mut argument = json!({ "jsonPath": path, "stringValue": pieces.get(index) });
                if index + 1 < pieces.count() {
                    argument["willContinue"] = true.into();
                }
                push(argument);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                add(&format!("{path}[{index}]"), item, chunks, parts);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                add(&format!("{path}.{name}"), member, chunks, parts);
            }
        }
    }
}
