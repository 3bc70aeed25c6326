//! A person's login: a refresh token, which is exchanged for access tokens according to RFC 6749
//! §6.
//!
//! There are two kinds. `authorized_user` is a login at Google, whose client id and secret are
//! fields of the form. `external_account_authorized_user` is a login through workforce identity
//! federation, with both in HTTP Basic authentication; no Rust library supports it. Both work as in
//! Google's own libraries.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;

use super::{
    AccessToken, CredentialKind, FetchReason, TokenFuture, TokenSource,
    credential_file::{CredentialFile, Reread, TOKEN_URI},
    grant::{self, Grant},
};
use crate::BoxError;

pub(super) struct Login {
    file: Reread,
    /// The refresh token that came with the last access token and replaces the file's, and the
    /// content of the file that it belongs to.
    rotated: Mutex<Option<(Arc<str>, String)>>,
    quota_project: Option<String>,
}

impl Login {
    pub(super) fn new(file: Reread) -> Self {
        let quota_project = super::credential_file::quota_project(Some(&file));
        Self { file, rotated: Mutex::new(None), quota_project }
    }

    fn rotated(&self) -> MutexGuard<'_, Option<(Arc<str>, String)>> {
        self.rotated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn token(&self) -> Result<AccessToken, BoxError> {
        let file = self.file.current().await?;
        // After another login the file has new content, and its refresh token takes precedence.
        let rotated = match &*self.rotated() {
            Some((text, token)) if *text == file.text => Some(token.clone()),
            _ => None,
        };
        let Grant { token, refresh_token } =
            grant::ask(file.kind, request(&file, rotated.as_deref())?).await?;
        if let Some(rotated) = refresh_token {
            *self.rotated() = Some((file.text, rotated));
        }
        Ok(token)
    }
}

/// Fetches one token of a login that is part of other credentials.
pub(super) async fn once(file: &CredentialFile) -> Result<AccessToken, BoxError> {
    Ok(grant::ask(file.kind, request(file, None)?).await?.token)
}

/// Builds the request for the tokens of a login. `rotated` replaces the file's refresh token.
pub(super) fn request(
    file: &CredentialFile,
    rotated: Option<&str>,
) -> Result<Request<Full<Bytes>>, BoxError> {
    let field = |name| file.text_of(name).unwrap_or_default();
    let (id, secret) = (field("client_id"), field("client_secret"));
    let mut fields = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", rotated.unwrap_or_else(|| field("refresh_token"))),
    ];
    if file.kind == CredentialKind::AuthorizedUser {
        fields.extend([("client_id", id), ("client_secret", secret)]);
        return grant::form(file.text_of("token_uri").unwrap_or(TOKEN_URI), &fields);
    }
    let mut request = grant::form(field("token_url"), &fields)?;
    request.headers_mut().insert(header::AUTHORIZATION, basic(id, secret)?);
    Ok(request)
}

/// Returns the `Basic` credentials of RFC 7617.
pub(super) fn basic(id: &str, secret: &str) -> Result<HeaderValue, BoxError> {
    let client = STANDARD.encode(format!("{id}:{secret}"));
    let mut client = HeaderValue::try_from(format!("Basic {client}"))?;
    client.set_sensitive(true);
    Ok(client)
}

impl TokenSource for Login {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        Box::pin(self.token())
    }

    fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("file", &self.file).finish_non_exhaustive()
    }
}
