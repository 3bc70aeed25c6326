//! `predict` and `rawPredict` of a deployed endpoint.
//!
//! The service passes the instances to the container of the model, whose response is not known. The
//! emulator's container embeds the texts of instances with `content`, and returns others as they
//! are.

use serde_json::{Map, Value, json};

use super::{
    super::{endpoints::PROJECT_NUMBER, google_errors::GoogleError, models::Model, path::Target},
    embeddings,
};

/// The response to `predict`.
pub(super) fn predict(
    target: &Target<'_>,
    request: &Map<String, Value>,
) -> Result<Value, GoogleError> {
    let instances = request.get("instances").and_then(Value::as_array);
    let instances = instances.map(Vec::as_slice).unwrap_or_default();
    let is_text = |instance: &Value| instance.get("content").is_some_and(Value::is_string);
    let mut body = if !instances.is_empty() && instances.iter().all(is_text) {
        embeddings::predict(&Model::new("google", "text-embedding-005"), request)?
    } else {
        json!({ "predictions": instances })
    };
    let (location, id) = (target.location, target.endpoint);
    body["deployedModelId"] = "1".into();
    body["model"] = format!("projects/{PROJECT_NUMBER}/locations/{location}/models/{id}").into();
    body["modelVersionId"] = "1".into();
    Ok(body)
}
