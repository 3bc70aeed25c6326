//! [`Given`]: credentials that the program built with `google-cloud-auth` itself.

use std::sync::{Mutex, MutexGuard, PoisonError};

use google_cloud_auth::credentials::{CacheableResource, Credentials, EntityTag};
use http::{Extensions, HeaderMap, header};

use super::explain::Failure;
use crate::{
    BoxError,
    error::{Fault, FaultKind},
    token::{AccessToken, FetchReason},
};

pub(super) struct Given {
    credentials: Credentials,
    /// The headers that the credentials returned last, as a token, and their tag.
    last: Mutex<Option<(EntityTag, AccessToken)>>,
}

impl Given {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self { credentials, last: Mutex::new(None) }
    }

    /// Returns the same credentials for another source.
    pub(super) fn again(&self) -> Self {
        Self::new(self.credentials.clone())
    }

    fn last(&self) -> MutexGuard<'_, Option<(EntityTag, AccessToken)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tag of the last headers tells the credentials that these are known, so that they do not
    /// return a copy of them as if it was newer.
    pub(super) async fn token(&self, reason: FetchReason) -> Result<AccessToken, BoxError> {
        let last = match reason {
            FetchReason::Cold => None,
            _ => self.last().clone(),
        };
        let mut extensions = Extensions::new();
        if let Some((tag, _)) = &last {
            extensions.insert(tag.clone());
        }
        match self.credentials.headers(extensions).await {
            Ok(CacheableResource::New { entity_tag, data }) => {
                let token = read(data)?;
                *self.last() = Some((entity_tag, token.clone()));
                Ok(token)
            }
            Ok(CacheableResource::NotModified) => match last {
                Some((_, token)) => Ok(token),
                None => Err(fault("returned no headers, as if they were known").into()),
            },
            Err(error) => Err(Failure::Credentials(error).explain(None, None)),
        }
    }
}

fn read(mut headers: HeaderMap) -> Result<AccessToken, BoxError> {
    let Some(authorization) = headers.remove(header::AUTHORIZATION) else {
        let what = match headers.contains_key("x-goog-api-key") {
            true => "are an API key, and not a token",
            false => "returned headers without a token",
        };
        return Err(fault(what).into());
    };
    Ok(AccessToken::try_from(authorization)?.with_headers(headers))
}

fn fault(what: &str) -> Fault {
    let what = format!("the credentials of google-cloud-auth {what}");
    Fault::new(FaultKind::NotAToken, what, "give credentials that have an access token")
}
