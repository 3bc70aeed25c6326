//! What a token endpoint means when it gives no token, and what to do about it.
//!
//! Bodies of refusals may repeat what was sent, secrets included. So only this much of one is kept:
//! its status, the error code of RFC 6749 §5.2, and which of a few known causes it names.

use serde_json::Value;

use super::CredentialKind;
use crate::error::{Fault, FaultKind};

/// A refusal, without anything that its sender wrote freely.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OAuthError {
    status: Option<u16>,
    code: Option<String>,
    cause: Option<Cause>,
    /// A `google.rpc.Status`, which Google's APIs answer with, and not its OAuth endpoints.
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

/// Words of Google's descriptions that tell one `invalid_grant` from another.
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

    /// For the owner of credentials of this kind.
    pub(super) fn fault(&self, kind: CredentialKind) -> Fault {
        let mut what = match (self.status, self.api) {
            (Some(status), false) => format!("the token endpoint answered {status}"),
            (Some(status), true) => format!("Google's IAM answered {status}"),
            (None, _) => "the token endpoint refused".to_owned(),
        };
        if let Some(code) = &self.code {
            what.push_str(&format!(" with {code:?}"));
        }
        let denied = self.cause.is_none() && self.api && self.status == Some(403);
        let fault = if denied { FaultKind::MayNotImpersonate } else { FaultKind::Refused };
        Fault::new(fault, what, self.remedy(kind).unwrap_or(OTHERWISE))
    }

    /// For what gives a subject token.
    pub(super) fn of_subject(&self, what: String) -> Fault {
        let remedy = match self.status {
            Some(429 | 500..) => "try again in a moment",
            _ => "look at \"credential_source\", and at whether this workload may ask there",
        };
        Fault::new(FaultKind::Refused, what, remedy)
    }

    fn remedy(&self, kind: CredentialKind) -> Option<&'static str> {
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
                    "the service account was deleted or disabled; look with \
                     `gcloud iam service-accounts describe`"
                }
                Cause::Lifetime => {
                    "no policy of the organisation allows tokens of this life; ask for at most \
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
            (400 | 401, "invalid_grant" | "invalid_client", Kind::AuthorizedUser)
            | (400 | 401, "invalid_grant" | "invalid_client", Kind::ImpersonatedServiceAccount) => {
                "the login was revoked or has expired; run `gcloud auth application-default login`"
            }
            (
                400 | 401,
                "invalid_grant" | "invalid_client",
                Kind::ExternalAccountAuthorizedUser,
            ) => {
                "the login was revoked or has expired; run \
                 `gcloud auth application-default login --login-config=FILE`"
            }
            (400, "invalid_grant", Kind::ServiceAccount) => {
                "the key was deleted, its account was disabled, or this machine's clock is wrong"
            }
            (400, "invalid_grant" | "invalid_request", Kind::ExternalAccount) => {
                "the subject token is expired, or not of the issuer and audience that the \
                 workload identity pool's provider accepts"
            }
            (400, "invalid_target", Kind::ExternalAccount) => {
                "the file's \"audience\" names no workload identity pool provider"
            }
            (400 | 401 | 403, "unauthorized_client" | "access_denied", Kind::ExternalAccount) => {
                "a condition of the workload identity pool's provider rejects this subject"
            }
            (403, _, _) if self.api => {
                "this identity may not impersonate the service account; grant it \
                 roles/iam.serviceAccountTokenCreator on that account"
            }
            (404, _, _) if self.api => "there is no such service account; look at its e-mail",
            (404, _, Kind::MetadataServer) => {
                "this machine has no service account; attach one with the scope cloud-platform"
            }
            (429, ..) => "asked too often; try again in a moment",
            (500.., ..) => "the service has a problem; try again in a moment",
            _ => return None,
        })
    }
}

/// What to do about a refusal of which no more is known.
const OTHERWISE: &str = "look at what the credentials name, and if it stays so make new ones";

/// The codes of RFC 6749 §5.2, RFC 8693 §2.2.2, Google's token endpoint and `google.rpc.Code`. Any
/// other word may be what was sent, and is not shown.
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
    fn nothing_that_was_written_freely_is_shown() {
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
}
