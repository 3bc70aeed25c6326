//! `predict`, `embedContent` and `batchEmbedContents` of the models for embeddings.
//!
//! The members are those of Google's page on the text embeddings API, and of google-genai 3.6.

use serde_json::{Map, Value, json};

use super::super::{embeddings::embed, google_errors::GoogleError, models::Model, usage::tokens};

/// The largest number of texts in one request, by Google's page. The text of the error is recorded
/// with a smaller number (langchain issue 5316).
const MOST_INSTANCES: usize = 250;
/// The largest number of tokens that a model reads of one text.
const MOST_TOKENS: u64 = 2048;

/// The largest length of a vector, which is also the usual one.
fn dimensions(model: &Model) -> u64 {
    if model.name.starts_with("gemini-embedding") || model.publisher.is_empty() {
        3072
    } else {
        768
    }
}

/// The length of the vectors in a request. The text of the error is assumed.
fn asked_dimensions(model: &Model, asked: Option<&Value>) -> Result<u64, GoogleError> {
    let most = dimensions(model);
    let Some(asked) = asked.filter(|asked| !asked.is_null()) else { return Ok(most) };
    asked.as_u64().filter(|asked| (1..=most).contains(asked)).ok_or_else(|| {
        GoogleError::invalid_argument(format!(
            "Unable to submit request because it has an outputDimensionality value of {asked} but \
             the supported range is from 1 (inclusive) to {} (exclusive). Update the value and try \
             again.",
            most + 1
        ))
    })
}

/// A text as the model reads it.
struct Read {
    tokens: u64,
    is_truncated: bool,
}

/// A text that is too long is shortened, unless the request forbids it. The text of the error is assumed.
fn read(text: &str, auto_truncate: Option<&Value>) -> Result<Read, GoogleError> {
    let all = tokens(text);
    let is_truncated = all > MOST_TOKENS;
    if is_truncated && auto_truncate == Some(&Value::Bool(false)) {
        return Err(GoogleError::invalid_argument(format!(
            "The input token count is {all} but the model supports up to {MOST_TOKENS}."
        )));
    }
    Ok(Read { tokens: all.min(MOST_TOKENS), is_truncated })
}

/// The members of a response to `predict`.
pub(super) fn predict(model: &Model, request: &Map<String, Value>) -> Result<Value, GoogleError> {
    let instances = request.get("instances").and_then(Value::as_array);
    let instances = instances.map(Vec::as_slice).unwrap_or_default();
    if instances.len() > MOST_INSTANCES {
        return Err(GoogleError::invalid_argument(format!(
            "{MOST_INSTANCES} instance(s) is allowed per prediction. Actual: {}",
            instances.len()
        )));
    }
    let parameter = |names: [&str; 2]| {
        let parameters = request.get("parameters")?;
        names.iter().find_map(|name| parameters.get(name))
    };
    let dimensions =
        asked_dimensions(model, parameter(["outputDimensionality", "output_dimensionality"]))?;
    let auto_truncate = parameter(["autoTruncate", "auto_truncate"]);
    let (mut predictions, mut characters) = (Vec::new(), 0);
    for instance in instances {
        let text = instance.get("content").and_then(Value::as_str).unwrap_or_default();
        if text.is_empty() {
            return Err(GoogleError::invalid_argument("The text content is empty."));
        }
        let Read { tokens, is_truncated } = read(text, auto_truncate)?;
        characters += text.chars().filter(|character| !character.is_whitespace()).count();
        predictions.push(json!({
            "embeddings": {
                "values": embed(text, dimensions),
                "statistics": { "token_count": tokens, "truncated": is_truncated },
            },
        }));
    }
    if predictions.is_empty() {
        return Err(GoogleError::invalid_argument("Request contains an invalid argument."));
    }
    Ok(json!({
        "predictions": predictions,
        "metadata": { "billableCharacterCount": characters },
    }))
}

/// The response to `embedContent`.
pub(super) fn embed_content(
    model: &Model,
    request: &Map<String, Value>,
) -> Result<Value, GoogleError> {
    let Embedded { values, read } = Embedded::of(model, request)?;
    let mut body =
        json!({ "embedding": { "values": values }, "usageMetadata": usage(read.tokens) });
    if read.is_truncated {
        body["truncated"] = true.into();
    }
    Ok(body)
}

/// The response to `batchEmbedContents`. Only its vectors are known, from the libraries that read
/// it.
pub(super) fn batch(model: &Model, request: &Map<String, Value>) -> Result<Value, GoogleError> {
    let requests = request.get("requests").and_then(Value::as_array).into_iter().flatten();
    let (mut embeddings, mut tokens) = (Vec::new(), 0);
    for request in requests.filter_map(Value::as_object) {
        let Embedded { values, read } = Embedded::of(model, request)?;
        embeddings.push(json!({ "values": values }));
        tokens += read.tokens;
    }
    if embeddings.is_empty() {
        return Err(GoogleError::invalid_argument("Request contains an invalid argument."));
    }
    Ok(json!({ "embeddings": embeddings, "usageMetadata": usage(tokens) }))
}

fn usage(tokens: u64) -> Value {
    json!({
        "promptTokenCount": tokens,
        "totalTokenCount": tokens,
        "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": tokens }],
    })
}

/// The vector of a content.
struct Embedded {
    values: Vec<f32>,
    read: Read,
}

impl Embedded {
    fn of(model: &Model, request: &Map<String, Value>) -> Result<Self, GoogleError> {
        let parts = request.get("content").and_then(|content| content.get("parts"));
        let parts = parts.and_then(Value::as_array).into_iter().flatten();
        let texts: Vec<&str> = parts.filter_map(|part| part.get("text")?.as_str()).collect();
        let text = texts.join(" ");
        if text.is_empty() {
            return Err(GoogleError::invalid_argument("The text content is empty."));
        }
        // The members beside the configuration are deprecated.
        let config = |name: &str| {
            let config = request.get("embedContentConfig").and_then(|config| config.get(name));
            config.or_else(|| request.get(name))
        };
        let dimensions = asked_dimensions(model, config("outputDimensionality"))?;
        let read = read(&text, config("autoTruncate"))?;
        Ok(Self { values: embed(&text, dimensions), read })
    }
}
