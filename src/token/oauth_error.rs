//! The meaning of a response in which a token endpoint refuses a token, and the remedy.
//!
//! Bodies of refusals may repeat parts of the request, secrets included. So only these parts are
//! kept: the status, the error code of RFC 6749 §5.2, and which of a few known causes the body
//! names.

use serde_json::Value;

use super::CredentialKind;
use crate::error::{Fault, FaultKind};

/// A refusal, without any free text of its sender.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OAuthError {
    status: Option<u16>,
    code: Option<String>,
    cause: Option<Cause>,
    /// Whether the body is a `google.rpc.Status`, which Google's APIs return but its OAuth
    /// endpoints do not.
    api: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Clock,
    Reauthentication,
    UnknownKey,
    UnknownAccount,
    Lifetime,
    ApiDisabled,
}

/// Phrases of Google's descriptions that distinguish the causes of an `invalid_grant`.
const CAUSES: [(&str, Cause); 9] = [
    ("reasonable timeframe", Cause::Clock),
    ("JWT must be a short-lived token", Cause::Clock),
    ("rapt", Cause::Reauthentication),
    ("Invalid JWT Signature", Cause::UnknownKey),
    ("account not found", Cause::UnknownAccount),
    ("lifetime cannot exceed", Cause::Lifetime),
    ("IssuedAt", Cause::Clock),
    ("SERVICE_DISABLED", Cause::ApiDisabled),
    ("accessNotConfigured", Cause::ApiDisabled),
];

impl OAuthError {
    pub(super) fn new(status: u16, body: &str) -> Self {
        let json: Option<Value> = serde_json::from_str(body).ok();
        let error = json.as_ref().and_then(|json| json.get(0).unwrap_or(json).get("error"));
        let code = error
            .and_then(|error| error.as_str().or_else(|| error.get("status")?.as_str()))
            .filter(|code| CODES.contains(code));
        Self {
            status: Some(status),
            code: code.map(str::to_owned),
            cause: CAUSES.iter().find(|(words, _)| body.contains(words)).map(|(_, cause)| *cause),
            api: error.is_some_and(Value::is_object),
        }
    }

    /// Converts the refusal into a fault, for the owner of credentials of this kind, if it is known.
    pub(super) fn fault(&self, kind: impl Into<Option<CredentialKind>>) -> Fault {
        let mut what = match (self.status, self.api) {
            (Some(status), false) => format!("the token endpoint returned {status}"),
            (Some(status), true) => format!("Google's IAM returned {status}"),
            (None, _) => "the token endpoint refused the request".to_owned(),
        };
        if let Some(code) = &self.code {
            what.push_str(&format!(" with {code:?}"));
        }
        let denied = self.cause.is_none() && self.api && self.status == Some(403);
        let fault = if denied { FaultKind::MayNotImpersonate } else { FaultKind::Refused };
        Fault::new(fault, what, self.remedy(kind.into()).unwrap_or(OTHERWISE))
    }

    /// Converts the refusal into a fault, for the source of a subject token.
    pub(super) fn of_subject(&self, what: String) -> Fault {
        let remedy = match self.status {
            Some(429 | 500..) => "try again in a moment",
            _ => "check \"credential_source\", and that this workload may use the source",
        };
        Fault::new(FaultKind::Refused, what, remedy)
    }

    fn remedy(&self, kind: Option<CredentialKind>) -> Option<&'static str> {
        use CredentialKind as Kind;
        if let Some(cause) = self.cause {
            return Some(match cause {
                Cause::Clock => {
                    "this machine's clock is wrong; set it, for instance with \
                     `timedatectl set-ntp true`"
                }
                Cause::Reauthentication => {
                    "your organisation wants you to log in again; run \
                     `gcloud auth application-default login`"
                }
                Cause::UnknownKey => {
                    "Google does not know this key, which may have been deleted; make a new one \
                     with `gcloud iam service-accounts keys create`"
                }
                Cause::UnknownAccount => {
                    "the service account was deleted or disabled; check with \
                     `gcloud iam service-accounts describe`"
                }
                Cause::Lifetime => {
                    "no policy of the organisation allows tokens of this lifetime; request at most \
                     3600 seconds, or have the service account added to \
                     constraints/iam.allowServiceAccountCredentialLifetimeExtension"
                }
                Cause::ApiDisabled => {
                    "the IAM Service Account Credentials API is off; run \
                     `gcloud services enable iamcredentials.googleapis.com`"
                }
            });
        }
        Some(match (self.status?, self.code.as_deref().unwrap_or_default(), kind) {
            (400 | 401, "invalid_grant" | "invalid_client", Some(Kind::AuthorizedUser))
            | (
                400 | 401,
                "invalid_grant" | "invalid_client",
                Some(Kind::ImpersonatedServiceAccount),
            ) => {
                "the login was revoked or has expired; run `gcloud auth application-default login`"
            }
            (
                400 | 401,
                "invalid_grant" | "invalid_client",
                Some(Kind::ExternalAccountAuthorizedUser),
            ) => {
                "the login was revoked or has expired; run \
                 `gcloud auth application-default login --login-config=FILE`"
            }
            (400, "invalid_grant", Some(Kind::ServiceAccount)) => {
                "the key was deleted, its account was disabled, or this machine's clock is wrong"
            }
            (400, "invalid_grant" | "invalid_request", Some(Kind::ExternalAccount)) => {
                "the subject token is expired, or not of the issuer and audience that the \
                 workload identity pool's provider accepts"
            }
            (400, "invalid_target", Some(Kind::ExternalAccount)) => {
                "the file's \"audience\" names no workload identity pool provider"
            }
            (
                400 | 401 | 403,
                "unauthorized_client" | "access_denied",
                Some(Kind::ExternalAccount),
            ) => "a condition of the workload identity pool's provider rejects this subject",
            (403, _, _) if self.api => {
                "this identity may not impersonate the service account; grant it \
                 roles/iam.serviceAccountTokenCreator on that account"
            }
            (404, _, _) if self.api => "there is no such service account; check its e-mail",
            (404, _, Some(Kind::MetadataServer)) => {
                "this machine has no service account; attach one with the scope cloud-platform"
            }
            (429, ..) => "too many requests; try again in a moment",
            (500.., ..) => "the service has a problem; try again in a moment",
            _ => return None,
        })
    }
}

/// The remedy for a refusal whose cause is not known.
const OTHERWISE: &str =
    "check the names in the credentials, and create new ones if this error persists";

/// The codes of RFC 6749 §5.2, RFC 8693 §2.2.2, Google's token endpoint and `google.rpc.Code`. Any
/// other word may be part of the request, and is not shown.
const CODES: [&str; 25] = [
    "access_denied",
    "internal_failure",
    "invalid_client",
    "invalid_grant",
    "invalid_request",
    "invalid_scope",
    "invalid_target",
    "org_internal",
    "server_error",
    "temporarily_unavailable",
    "unauthorized_client",
    "unsupported_grant_type",
    "ABORTED",
    "DEADLINE_EXCEEDED",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNIMPLEMENTED",
    "UNKNOWN",
    "CANCELLED",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_remedy() {
        use CredentialKind as Kind;
        for (status, body, kind, words) in [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Bad Request"}"#,
                Kind::AuthorizedUser,
                "application-default login",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_subtype":"invalid_rapt"}"#,
                Kind::AuthorizedUser,
                "log in again",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."}"#,
                Kind::ServiceAccount,
                "clock is wrong;",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Invalid JWT Signature."}"#,
                Kind::ServiceAccount,
                "keys create",
            ),
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Invalid grant: account not found"}"#,
                Kind::ServiceAccount,
                "deleted or disabled",
            ),
            (400, r#"{"error":"invalid_target"}"#, Kind::ExternalAccount, "audience"),
            (
                400,
                r#"{"error":{"code":400,"message":"The access token lifetime cannot exceed 3600 seconds.","status":"INVALID_ARGUMENT"}}"#,
                Kind::AuthorizedUser,
                "LifetimeExtension",
            ),
            (
                403,
                r#"[{"error":{"code":403,"status":"PERMISSION_DENIED"}}]"#,
                Kind::ExternalAccount,
                "serviceAccountTokenCreator",
            ),
            (404, "<html>", Kind::MetadataServer, "attach one"),
            (429, "", Kind::MetadataServer, "try again"),
            (503, "", Kind::ServiceAccount, "try again"),
        ] {
            let text = OAuthError::new(status, body).fault(kind).to_string();
            assert!(text.contains(words) && text.contains(&status.to_string()), "{text}");
        }
    }

    #[test]
    fn free_text_of_a_refusal_is_not_shown() {
        for body in [
            r#"{"error":"SECRET-1","error_description":"SECRET"}"#,
            r#"{"error":{"status":"secret SECRET","message":"SECRET"}}"#,
            r#"{"error":"SECRET"}"#,
            r#"{"error":"secret_words"}"#,
            "SECRET",
        ] {
            let refusal = OAuthError::new(400, body);
            let text = format!("{}{refusal:?}", refusal.fault(CredentialKind::ServiceAccount));
            assert!(!text.contains("SECRET") && !text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn only_a_403_of_an_api_without_a_known_cause_is_a_refused_impersonation() {
        let api = |status: u16, message: &str| {
            let error = serde_json::json!({ "error": { "code": status, "message": message } });
            OAuthError::new(status, &error.to_string())
        };
        let fault = |refusal: OAuthError| refusal.fault(None);
        let denied = fault(api(403, ""));
        assert_eq!(denied.kind(), FaultKind::MayNotImpersonate);
        assert!(denied.remedy().contains("serviceAccountTokenCreator"));
        let known = "The access token lifetime cannot exceed 3600 seconds.";
        for refusal in [api(403, known), api(400, ""), OAuthError::new(403, "<html>")] {
            let other = fault(refusal);
            assert_eq!(other.kind(), FaultKind::Refused, "{other}");
            assert!(!other.remedy().contains("serviceAccountTokenCreator"), "{other}");
        }
        assert!(fault(api(404, "")).remedy().contains("no such service account"));
    }
}
