//! Embeddings in base64 if the request has that format.
//!
//! **Evidence.** openai-python and openai-node send `"encoding_format":"base64"` if their caller
//! sets no format. If the response has numbers nevertheless, openai-node 6.49 decodes them as base64:
//! N numbers become N/4 zeros, without an error (openai/openai-node#1542, and tried). Vertex AI
//! ignores parameters that it does not support, says its documentation. Whether it supports this one
//! is not documented. async-openai requires `usage`, which agentgateway/agentgateway#2451 reports as
//! missing.
//!
//! **Rule.** A list of numbers becomes the base64 text of the same numbers as 32-bit floats in
//! little-endian order, as in OpenAI's responses. A missing `usage` gets zeros.
//!
//! **Cost.** One pass over the numbers. The text is about a quarter as long as the list.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::compat::json::{Edits, Object, Value};

pub(super) fn cure(root: &Object<'_>, base64: bool, edits: &mut Edits) {
    let Some(data) = root.get_some("data").and_then(Value::array) else { return };
    if base64 {
        for element in &data.elements {
            let embedding = element.get("embedding");
            if let Some((value, text)) = embedding.and_then(|value| Some((value, encode(value)?))) {
                edits.replace(value, text);
            }
        }
    }
    if root.get_some("usage").is_none() {
        edits.set(root, "usage", r#"{"prompt_tokens":0,"total_tokens":0}"#);
    }
}

/// A JSON string with the numbers of an array. `None` for another value.
fn encode(value: Value<'_>) -> Option<String> {
    if !value.text().starts_with('[') {
        return None;
    }
    let numbers: Vec<f32> = serde_json::from_str(value.text()).ok()?;
    let mut bytes = Vec::with_capacity(numbers.len() * 4);
    for number in numbers {
        if !number.is_finite() {
            return None;
        }
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    Some(format!("\"{}\"", STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_numbers_is_encoded() {
        for (list, expected) in [
            ("[]", Some(&[][..])),
            ("[ 1 , -0.5,1e-3 ]", Some(&[1.0_f32, -0.5, 0.001])),
            ("[0.1234567891234]", Some(&[0.123_456_79])),
            ("\"AACAPw==\"", None),
            ("null", None),
            ("[1,\"2\"]", None),
            ("[1e300]", None),
        ] {
            let encoded = encode(Value::parse(list).unwrap());
            let decoded = encoded.map(|text| STANDARD.decode(text.trim_matches('"')).unwrap());
            let expected = expected
                .map(|floats| floats.iter().flat_map(|float| float.to_le_bytes()).collect());
            assert_eq!(decoded, expected, "{list}");
        }
    }
}
