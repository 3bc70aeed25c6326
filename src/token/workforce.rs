//! A person's login through workforce identity federation, which no Rust library refreshes yet.
//!
//! The file's type is `external_account_authorized_user`. Its refresh token goes to its `token_url`
//! as RFC 6749 §6 says, with the client's id and secret in HTTP Basic authentication, which is how
//! Google's own libraries do it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::Full;

use super::{
    AccessToken, CredentialKind, FetchReason, TokenFuture, TokenSource,
    file::{CredentialFile, Reread},
    https,
    refusal::Refusal,
};
use crate::BoxError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct WorkforceUser {
    file: Reread,
    /// The refresh token that came with the last access token, instead of the file's, and the
    /// content of the file that it belongs to.
    rotated: Mutex<Option<(Arc<str>, String)>>,
}

impl WorkforceUser {
    pub(super) fn new(file: Reread) -> Self {
        Self { file, rotated: Mutex::new(None) }
    }

    fn rotated(&self) -> MutexGuard<'_, Option<(Arc<str>, String)>> {
        self.rotated.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, file: &CredentialFile) -> Result<Request<Full<Bytes>>, BoxError> {
        let field = |name| file.text_of(name).unwrap_or_default();
        let client = format!("{}:{}", field("client_id"), field("client_secret"));
        let mut client = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(client)))?;
        client.set_sensitive(true);
        let rotated = self.rotated();
        // After another login the file has another content, and a refresh token that counts.
        let refresh_token = match &*rotated {
            Some((text, token)) if *text == file.text => token,
            _ => field("refresh_token"),
        };
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", refresh_token)
            .finish();
        Ok(Request::post(field("token_url"))
            .header(header::AUTHORIZATION, client)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))?)
    }

    async fn token(&self) -> Result<AccessToken, BoxError> {
        let file = self.file.current().await?;
        let answer = https::send(self.request(&file)?, CONNECT_TIMEOUT).await?;
        if !answer.status.is_success() {
            let refusal = Refusal::new(answer.status.as_u16(), answer.text());
            return Err(refusal.explain(CredentialKind::ExternalAccountAuthorizedUser).into());
        }
        let json =
            answer.json().ok_or("the token endpoint answered with something that is not JSON")?;
        let token =
            json["access_token"].as_str().ok_or("the token endpoint gave no access_token")?;
        // A number, and with some servers a number in quotes.
        let life = &json["expires_in"];
        let life = life.as_u64().or_else(|| life.as_str()?.parse().ok()).map(Duration::from_secs);
        if let Some(rotated) = json["refresh_token"].as_str() {
            *self.rotated() = Some((file.text, rotated.to_owned()));
        }
        Ok(AccessToken::new(token, life)?)
    }
}

impl TokenSource for WorkforceUser {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        Box::pin(self.token())
    }
}

impl fmt::Debug for WorkforceUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkforceUser").field("file", &self.file).finish_non_exhaustive()
    }
}
