//! The fields of each type of credential file.

use serde_json::Value;

use super::{AS_MADE, field_fault};
use crate::{error::Fault, token::CredentialKind};

/// The type that a field must have.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Text,
    Object,
    Texts,
}

impl Shape {
    pub(super) fn check(self, name: &str, value: &Value) -> Result<(), Fault> {
        let (fits, wanted) = match self {
            Self::Text => (value.is_string(), "text"),
            Self::Object => (value.is_object(), "an object"),
            Self::Texts => {
                let texts = value.as_array().is_some_and(|all| all.iter().all(Value::is_string));
                (texts, "a list of texts")
            }
        };
        let is = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(text) if text.is_empty() => "empty",
            Value::String(_) => "text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        if !fits {
            return Err(field_fault(name, &format!("is not {wanted} but {is}"), AS_MADE));
        }
        if value.as_str() == Some("") {
            return Err(field_fault(name, "is empty", AS_MADE));
        }
        Ok(())
    }
}

pub(super) type Shapes = &'static [(&'static str, Shape)];

/// The fields of a type of file. Other fields are not read.
pub(super) struct Fields {
    pub(super) needed: Shapes,
    pub(super) optional: Shapes,
    pub(super) urls: &'static [&'static str],
}

impl Fields {
    pub(super) fn of(kind: CredentialKind) -> Self {
        use Shape::{Object, Text, Texts};
        const LOGIN: Shapes =
            &[("client_id", Text), ("client_secret", Text), ("refresh_token", Text)];
        let (needed, optional, urls): (Shapes, Shapes, &'static [&'static str]) = match kind {
            CredentialKind::ServiceAccount => (
                &[("client_email", Text), ("private_key", Text)],
                &[("token_uri", Text), ("project_id", Text), ("private_key_id", Text)],
                &["token_uri"],
            ),
            CredentialKind::AuthorizedUser => (LOGIN, &[("token_uri", Text)], &["token_uri"]),
            CredentialKind::ExternalAccount => (
                &[
                    ("audience", Text),
                    ("subject_token_type", Text),
                    ("token_url", Text),
                    ("credential_source", Object),
                ],
                &[
                    ("service_account_impersonation_url", Text),
                    ("service_account_impersonation", Object),
                    ("client_id", Text),
                    ("client_secret", Text),
                    ("scopes", Texts),
                    ("workforce_pool_user_project", Text),
                ],
                &["token_url", "service_account_impersonation_url"],
            ),
            CredentialKind::ExternalAccountAuthorizedUser => (
                &[
                    ("client_id", Text),
                    ("client_secret", Text),
                    ("refresh_token", Text),
                    ("token_url", Text),
                ],
                &[],
                &["token_url"],
            ),
            CredentialKind::ImpersonatedServiceAccount => (
                &[("service_account_impersonation_url", Text), ("source_credentials", Object)],
                &[("delegates", Texts)],
                &["service_account_impersonation_url"],
            ),
            CredentialKind::MetadataServer | CredentialKind::Gcloud => (&[], &[], &[]),
        };
        Self { needed, optional, urls }
    }
}
