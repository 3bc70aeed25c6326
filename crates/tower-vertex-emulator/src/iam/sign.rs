//! The methods that sign in the name of an account. All accounts have the key of the service account.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{check_fields, invalid};
use crate::{google_errors::GoogleError, id_token, key, state::Shared};

/// The longest lifetime of a signed JWT in seconds.
const TWELVE_HOURS: f64 = 43_200.0;

type Body = Map<String, Value>;

fn text<'a>(body: &'a Body, name: &str) -> Result<&'a str, GoogleError> {
    let value = body.get(name).and_then(Value::as_str).filter(|value| !value.is_empty());
    value.ok_or_else(|| invalid(&format!("`{name}` is required")))
}

/// `generateIdToken`.
pub(super) fn id_token(shared: &Shared, account: &str, body: &Body) -> Result<Value, GoogleError> {
    check_fields(
        body,
        &["audience", "includeEmail", "delegates", "organizationNumberIncluded", "useEmailAzp"],
    )?;
    let mut claims = id_token::claims(shared, account, text(body, "audience")?);
    if body.get("includeEmail") != Some(&Value::Bool(true))
        && let Some(claims) = claims.as_object_mut()
    {
        claims.retain(|name, _| !name.starts_with("email"));
    }
    shared.count(|stats| stats.token_mints += 1);
    Ok(json!({ "token": id_token::sign(&claims) }))
}

/// `signBlob`.
pub(super) fn blob(body: &Body) -> Result<Value, GoogleError> {
    check_fields(body, &["payload", "delegates"])?;
    let payload = STANDARD.decode(text(body, "payload")?);
    let payload = payload.map_err(|_| invalid("`payload` must be base64"))?;
    Ok(json!({ "keyId": key::id(), "signedBlob": STANDARD.encode(key::sign(&payload)) }))
}

/// `signJwt`. A lifetime is not necessary, but it has a limit.
pub(super) fn jwt(shared: &Shared, body: &Body) -> Result<Value, GoogleError> {
    check_fields(body, &["payload", "delegates"])?;
    let payload = text(body, "payload")?;
    let claims: Map<String, Value> = serde_json::from_str(payload)
        .map_err(|_| invalid("`payload` must be a JSON object of claims"))?;
    let ends = claims.get("exp").and_then(Value::as_f64);
    if ends.is_some_and(|ends| ends > shared.now().seconds() as f64 + TWELVE_HOURS) {
        return Err(invalid("`exp` must not be more than 12 hours away"));
    }
    Ok(json!({ "keyId": key::id(), "signedJwt": key::sign_jwt(payload.as_bytes()) }))
}
