//! The source of a federated identity's subject token, its own proof of identity.

use serde_json::Value;

use super::{
    AS_MADE, TransportPolicy, fault, field_fault, field_of, fields::Shape, urls::check_local_url,
};
use crate::error::Fault;

/// Checks the source of a workload's subject token.
pub(super) fn check_subject(json: &Value, transport: TransportPolicy) -> Result<(), Fault> {
    const NAME: &str = "credential_source";
    let Some(source) = json.get(NAME) else { return Ok(()) };
    let text = |name: &str| match source.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            Shape::Text.check(&format!("{NAME}.{name}"), value)?;
            Ok(value.as_str())
        }
    };
    if source.get("certificate").is_some() {
        return Err(field_fault(
            NAME,
            "is a certificate, which is not supported here",
            "file, url, executable and aws are: make one of these with \
             `gcloud iam workload-identity-pools create-cred-config`",
        ));
    }
    if let Some(format) = source.get("format").filter(|format| !format.is_null()) {
        let json = match format.get("type").and_then(Value::as_str) {
            None | Some("text") => false,
            Some("json") => true,
            Some(_) => {
                return Err(field_fault(
                    "credential_source.format.type",
                    "is neither text nor json",
                    AS_MADE,
                ));
            }
        };
        if json && field_of(format, "subject_token_field_name").is_none() {
            return Err(fault(
                "it has no \"credential_source.format.subject_token_field_name\"",
                AS_MADE,
            ));
        }
    }
    if let Some(environment) = text("environment_id")? {
        if !environment.starts_with("aws") {
            return Err(field_fault(
                "credential_source.environment_id",
                "is not aws1, which alone is supported here",
                AS_MADE,
            ));
        }
        for name in
            ["region_url", "url", "regional_cred_verification_url", "imdsv2_session_token_url"]
        {
            if let Some(url) = text(name)? {
                check_local_url(&format!("{NAME}.{name}"), url, transport)?;
            }
        }
        return Ok(());
    }
    if let Some(executable) = source.get("executable") {
        let command = executable.get("command").unwrap_or(&Value::Null);
        return Shape::Text.check("credential_source.executable.command", command);
    }
    if let Some(url) = text("url")? {
        return check_local_url("credential_source.url", url, transport);
    }
    if text("file")?.is_some() {
        return Ok(());
    }
    Err(field_fault(
        NAME,
        "names no source",
        "it has one of \"file\", \"url\", \"executable\" and, for AWS, \"environment_id\"",
    ))
}
