//! The errors of credentials and tokens, parted into what is and what to do.

use super::report::Check;
use crate::{
    error::{CredentialsError, Error},
    gateway::credentials::Identity,
};

/// Credentials that are not there, or cannot be used.
pub(super) fn no_credentials(error: &CredentialsError) -> Check {
    const NAME: &str = "credentials";
    if error.is_not_found() {
        let mut remedy = "log in with `gcloud auth application-default login`, or name a file \
             with --credentials; this was looked at:"
            .to_owned();
        for (place, why) in error.places() {
            remedy.push_str(&format!("\n- {place}: {why}"));
        }
        return Check::failed(NAME, "none found", remedy);
    }
    let text: Vec<String> = error.places().map(|(place, why)| format!("{place} {why}")).collect();
    let text = text.join("; ");
    if let Some((detail, remedy)) = text.rsplit_once("; ") {
        return Check::failed(NAME, detail, remedy);
    }
    let remedy = if text.ends_with("there is no such file") {
        "write the path in --credentials or GOOGLE_APPLICATION_CREDENTIALS as the file has it"
    } else if text.ends_with("this user may not read it") {
        "let this user read it, with `chmod` or `chown`"
    } else {
        "make a new one: for a person `gcloud auth application-default login`, for a service \
         account `gcloud iam service-accounts keys create`"
    };
    Check::failed(NAME, text, remedy)
}

/// A token that could not be had.
pub(super) fn no_token(error: &Error, identity: &Identity) -> Check {
    let text = error.to_string();
    // One for each token on the way: an impersonation needs two.
    let text = text.replace("no access token for Vertex AI: ", "");
    let (detail, remedy) = match text.rsplit_once(": ") {
        Some((detail, remedy)) if detail.contains(" answered ") => (detail, remedy.to_owned()),
        _ => match text.rsplit_once("; ") {
            Some((detail, remedy)) => (detail, remedy.to_owned()),
            None => (
                &*text,
                "see that no firewall or proxy keeps this machine from the token endpoint, and \
                 try again"
                    .to_owned(),
            ),
        },
    };
    let info = identity.info.as_ref();
    let account = info.and_then(|info| info.impersonates());
    let command = account.filter(|_| remedy.contains("TokenCreator")).map(|account| {
        let member = member(info.and_then(|info| info.principal()));
        format!(
            "\n`gcloud iam service-accounts add-iam-policy-binding {account} --member={member} \
             --role=roles/iam.serviceAccountTokenCreator`"
        )
    });
    Check::failed("token", detail, remedy + &command.unwrap_or_default())
}

/// A principal as IAM's commands name it.
pub(super) fn member(principal: Option<&str>) -> String {
    match principal {
        Some(name) if name.contains("://") => name.to_owned(),
        Some(name) if name.ends_with("gserviceaccount.com") => format!("serviceAccount:{name}"),
        Some(name) => format!("user:{name}"),
        None => "user:EMAIL".to_owned(),
    }
}
