//! [`Identity`]: where the ID tokens of credentials come from.

use super::read;
#[cfg(feature = "credentials")]
use crate::token::gcp_auth;
use crate::{
    BoxError,
    error::Fault,
    token::{
        AccessToken, CredentialKind, Impersonated,
        credential_file::{CredentialFile, Reread, fault},
        federation::{self, Federation},
        grant,
        http::Answer,
        login, machine,
        oauth_error::OAuthError,
    },
};

const IMPERSONATE: &str = "impersonate a service account, on which the identity has \
                           roles/iam.serviceAccountTokenCreator";

/// The owner of ID tokens, and their issuer.
pub(in crate::token) enum Identity {
    MetadataServer { host: String },
    File(Reread),
    Impersonated(Impersonated),
    Gcloud,
}

impl Identity {
    pub(in crate::token) fn kind(&self) -> CredentialKind {
        match self {
            Self::MetadataServer { .. } => CredentialKind::MetadataServer,
            Self::File(file) => file.last_good().kind,
            Self::Impersonated(_) => CredentialKind::ImpersonatedServiceAccount,
            Self::Gcloud => CredentialKind::Gcloud,
        }
    }

    /// Checks whether there are ID tokens for this audience.
    pub(super) fn check(&self, audience: &str) -> Result<(), Fault> {
        match self {
            Self::MetadataServer { .. } | Self::Impersonated(_) => Ok(()),
            Self::File(file) => check_file(&file.last_good(), audience),
            Self::Gcloud => Err(of_gcloud()),
        }
    }

    pub(super) async fn token(&self, audience: &str) -> Result<AccessToken, BoxError> {
        match self {
            Self::MetadataServer { host } => of_machine(host, audience).await,
            Self::Impersonated(account) => account.id_token(audience).await,
            Self::File(file) => {
                let file = file.current().await?;
                check_file(&file, audience)?;
                of_file(file, audience).await
            }
            Self::Gcloud => Err(of_gcloud().into()),
        }
    }
}

fn of_gcloud() -> Fault {
    fault("gcloud's login has no ID tokens for an audience", IMPERSONATE)
}

fn check_file(file: &CredentialFile, audience: &str) -> Result<(), Fault> {
    let impersonates = || file.text_of("service_account_impersonation_url").is_some();
    match file.kind {
        CredentialKind::ServiceAccount if cfg!(feature = "credentials") => Ok(()),
        CredentialKind::ServiceAccount => Err(fault(
            "no ID token can be had with its key",
            "enable this crate's feature `credentials`",
        )),
        // The audience of a login's ID tokens is the OAuth client, regardless of the request.
        CredentialKind::AuthorizedUser if file.text_of("client_id") == Some(audience) => Ok(()),
        CredentialKind::AuthorizedUser => Err(fault(
            "a login has ID tokens for the audience of its own \"client_id\" alone",
            IMPERSONATE,
        )),
        CredentialKind::ExternalAccount if !impersonates() => {
            Err(fault("a federated identity has no ID tokens", IMPERSONATE))
        }
        CredentialKind::ExternalAccount | CredentialKind::ImpersonatedServiceAccount
            if Federation::knows(file) =>
        {
            Ok(())
        }
        CredentialKind::ExternalAccount | CredentialKind::ImpersonatedServiceAccount => Err(fault(
            "its subject token comes from a command or from AWS, for which there are no ID tokens",
            "use `Impersonated` over `GoogleCloudAuth`",
        )),
        CredentialKind::ExternalAccountAuthorizedUser => Err(fault(
            "a login through workforce identity federation has no ID tokens",
            IMPERSONATE,
        )),
        CredentialKind::MetadataServer | CredentialKind::Gcloud => Ok(()),
    }
}

async fn of_file(file: CredentialFile, audience: &str) -> Result<AccessToken, BoxError> {
    let request = match file.kind {
        #[cfg(feature = "credentials")]
        CredentialKind::ServiceAccount => {
            let claim = ("target_audience", audience.to_owned());
            gcp_auth::signed_request(file.clone(), claim).await?
        }
        CredentialKind::AuthorizedUser => login::request(&file, None)?,
        _ => return federation::id_token(&file, audience).await,
    };
    let host = request.uri().host().unwrap_or_default().to_owned();
    let answer = grant::send(request).await?;
    check_status(&answer, file.kind)?;
    let json = answer.json().unwrap_or_default();
    match (json["id_token"].as_str(), file.kind) {
        (Some(token), _) => read(token, audience, &answer, |what| grant::not_a_token(&host, what)),
        (None, CredentialKind::AuthorizedUser) if json.get("access_token").is_some() => Err(fault(
            "the login did not grant the scope \"openid\"",
            "run `gcloud auth application-default login`",
        )
        .into()),
        _ => Err(grant::not_a_token(&host, "has no \"id_token\" that is text").into()),
    }
}

/// <https://cloud.google.com/compute/docs/instances/verifying-instance-identity#request_signature>
async fn of_machine(host: &str, audience: &str) -> Result<AccessToken, BoxError> {
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("audience", audience)
        .append_pair("format", "full")
        .finish();
    let answer = machine::ask(host, &format!("identity?{query}")).await?;
    check_status(&answer, CredentialKind::MetadataServer)?;
    read(answer.text().trim(), audience, &answer, |what| grant::not_a_token(host, what))
}

fn check_status(answer: &Answer, kind: CredentialKind) -> Result<(), Fault> {
    match answer.status.is_success() {
        true => Ok(()),
        false => Err(OAuthError::new(answer.status.as_u16(), answer.text()).fault(kind)),
    }
}
