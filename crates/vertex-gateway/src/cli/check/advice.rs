//! Errors of credentials and tokens, split into a fault and a remedy.

use super::report::Check;
use crate::config::credentials::Identity;
use tower_vertex::error::{CredentialsError, Error};

/// Credentials that do not exist or cannot be used.
pub(super) fn no_credentials(error: &CredentialsError) -> Check {
    const NAME: &str = "credentials";
    if error.is_not_found() {
        let mut remedy = "log in with `gcloud auth application-default login`, or set a file with \
             --credentials; these places were searched:"
            .to_owned();
        for (place, why) in error.places() {
            remedy.push_str(&format!("\n- {place}: {why}"));
        }
        return Check::failed(NAME, "none found", remedy);
    }
    Check::failed(NAME, error.what().unwrap_or_default(), error.remedy().unwrap_or_default())
}

/// A token that could not be fetched.
pub(super) fn no_token(error: &Error, identity: &Identity) -> Check {
    let (detail, remedy) = match error {
        Error::Token(error) => (error.what().into_owned(), error.remedy()),
        error => (error.to_string(), error.remedy()),
    };
    let remedy = remedy
        .unwrap_or("check that no firewall or proxy blocks the token endpoint, and try again");
    let denied = matches!(error, Error::Token(error) if error.is_impersonation_denied());
    let info = identity.info.as_ref();
    let account = info.and_then(|info| info.impersonates()).filter(|_| denied);
    let command = account.map(|account| {
        let member = member(info.and_then(|info| info.principal()));
        format!(
            "\n`gcloud iam service-accounts add-iam-policy-binding {account} --member={member} \
             --role=roles/iam.serviceAccountTokenCreator`"
        )
    });
    Check::failed("token", detail, format!("{remedy}{}", command.unwrap_or_default()))
}

/// A principal in the form that IAM's commands take.
pub(super) fn member(principal: Option<&str>) -> String {
    match principal {
        Some(name) if name.contains("://") => name.to_owned(),
        Some(name) if name.ends_with("gserviceaccount.com") => format!("serviceAccount:{name}"),
        Some(name) => format!("user:{name}"),
        None => "user:EMAIL".to_owned(),
    }
}
