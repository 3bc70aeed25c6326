//! Tokens of the metadata server, for the service account of a machine, a pod or a service of
//! Google Cloud.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::{
    AccessToken, CLOUD_PLATFORM_SCOPE, CredentialKind, FetchReason, TokenFuture, TokenSource,
    credential_file, grant, http::Answer, metadata,
};
use crate::{
    BoxError,
    error::{Fault, FaultKind},
};

/// Off Google Cloud no server responds.
const TIMEOUT: Duration = Duration::from_secs(3);

pub(super) struct MetadataServer {
    host: String,
    quota_project: Option<String>,
}

impl MetadataServer {
    /// Uses the host that the environment names, or the usual host on Google Cloud.
    pub(super) fn new() -> Self {
        Self { host: metadata::host(), quota_project: credential_file::quota_project(None) }
    }
}

/// Fetches one token.
pub(super) async fn token(host: &str) -> Result<AccessToken, BoxError> {
    let answer = ask(host, &format!("token?scopes={CLOUD_PLATFORM_SCOPE}")).await?;
    Ok(grant::granted(CredentialKind::MetadataServer, &answer, host)?.token)
}

/// Requests a value of the service account from the metadata server.
pub(super) async fn ask(host: &str, value: &str) -> Result<Answer, BoxError> {
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/{value}");
    let request = Request::get(url).header("metadata-flavor", "Google");
    let request = request.body(Full::<Bytes>::default()).map_err(|_| {
        let what = format!("{} is not a host", metadata::HOST_VARIABLE);
        Fault::new(FaultKind::Credentials, what, "give a host, with a port or without")
    })?;
    let answered = tokio::time::timeout(TIMEOUT, grant::send(request)).await.map_err(|_| {
        let what = format!("{host} did not respond within {TIMEOUT:?}");
        Fault::new(FaultKind::Unreachable, what, "check that the metadata server is up")
    })?;
    let answer = answered?;
    if !metadata::is_its_own(&answer) {
        let what = "is not that of a metadata server";
        return Err(grant::not_a_token(host, what).into());
    }
    Ok(answer)
}

impl TokenSource for MetadataServer {
    fn fetch(&self, _: FetchReason) -> TokenFuture<'_> {
        Box::pin(token(&self.host))
    }

    fn quota_project(&self) -> Option<&str> {
        self.quota_project.as_deref()
    }
}

impl fmt::Debug for MetadataServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetadataServer").field("host", &self.host).finish_non_exhaustive()
    }
}
