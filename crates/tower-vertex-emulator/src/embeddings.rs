//! Embeddings.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use super::{chat::EmbeddingEncoding, usage::tokens};

/// The length of an embedding, unless the request sets it, and the largest that it can set.
const DIMENSIONS: u64 = 768;
const MOST_DIMENSIONS: u64 = 3072;

/// The list of embeddings for a request, or the error in it.
pub(crate) fn embeddings(
    model: &str,
    asked: &Map<String, Value>,
    encoding: EmbeddingEncoding,
) -> Result<Value, String> {
    let inputs: Vec<String> = match asked.get("input") {
        Some(Value::String(text)) => vec![text.clone()],
        // One text as an array of token numbers.
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            vec![Value::Array(items.clone()).to_string()]
        }
        Some(Value::Array(items)) if !items.is_empty() => items
            .iter()
            .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
            .collect(),
        _ => return Err("Request contains an invalid argument: `input` is required.".into()),
    };
    let dimensions = match asked.get("dimensions") {
        None | Some(Value::Null) => DIMENSIONS,
        Some(value) => value
            .as_u64()
            .filter(|n| (1..=MOST_DIMENSIONS).contains(n))
            .ok_or("Request contains an invalid argument: `dimensions` must be 1 to 3072.")?,
    };
    let base64 = match asked.get("encoding_format").map(Value::as_str) {
        None | Some(Some("float")) => false,
        Some(Some("base64")) => match encoding {
            EmbeddingEncoding::AsAsked => true,
            EmbeddingEncoding::Floats => false,
            // No source knows the text.
            EmbeddingEncoding::RefuseBase64 => {
                return Err(
                    "Request contains an invalid argument: `encoding_format` base64 is not \
                     supported by this model."
                        .into(),
                );
            }
        },
        _ => {
            return Err("Request contains an invalid argument: `encoding_format` must be float \
                 or base64."
                .into());
        }
    };
    let data: Vec<Value> = inputs
        .iter()
        .enumerate()
        .map(|(index, input)| {
            let vector = embed(input, dimensions);
            let embedding = if base64 {
                let bytes: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
                Value::from(STANDARD.encode(bytes))
            } else {
                Value::from(vector)
            };
            json!({ "object": "embedding", "index": index, "embedding": embedding })
        })
        .collect();
    let count: u64 = inputs.iter().map(|input| tokens(input)).sum();
    let usage = json!({ "prompt_tokens": count, "total_tokens": count });
    Ok(json!({ "object": "list", "data": data, "model": model, "usage": usage }))
}

/// A unit vector that depends only on the text.
pub(crate) fn embed(text: &str, dimensions: u64) -> Vec<f32> {
    let hash = digest(&SHA256, text.as_bytes());
    let seed = hash.as_ref().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
    let mut random = fastrand::Rng::with_seed(seed);
    let vector: Vec<f32> = (0..dimensions).map(|_| random.f32() - 0.5).collect();
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    vector.iter().map(|x| x / length).collect()
}
