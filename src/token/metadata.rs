//! The metadata server, asked for what is no token: whether it is there, and who this machine is.

use std::{env, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use tokio::time::{Instant, error::Elapsed, sleep, timeout_at};

use super::{file::is_name, https};
use crate::BoxError;

/// Names another host than [`HOST`], with or without a port.
pub(super) const HOST_VARIABLE: &str = "GCE_METADATA_HOST";
/// Resolves on Google Cloud only.
pub(super) const HOST: &str = "metadata.google.internal";
const RETRY_AFTER: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) email: Option<String>,
    pub(super) project_id: Option<String>,
    pub(super) universe_domain: Option<String>,
}

/// The host that the environment names.
pub(super) fn other_host() -> Option<String> {
    env::var(HOST_VARIABLE).ok().map(|host| host.trim().to_owned()).filter(|host| !host.is_empty())
}

/// Whether this is a machine of Google Cloud, where the server is only late if it does not answer:
/// the firmware says so, or Cloud Run does.
pub(super) fn is_expected() -> bool {
    let firmware = std::fs::read_to_string("/sys/class/dmi/id/product_name").unwrap_or_default();
    firmware.trim_start().starts_with("Google") || env::var_os("K_SERVICE").is_some()
}

/// Who this machine is, if a metadata server says so within `limit`.
///
/// A new machine's server may refuse connections for a moment, so a refusal is tried again; a name
/// that does not resolve means that this is not Google Cloud.
pub(super) async fn machine(limit: Duration) -> Result<Machine, BoxError> {
    let deadline = Instant::now() + limit;
    let host = other_host().unwrap_or_else(|| HOST.to_owned());
    let timed_out = |_: Elapsed| BoxError::from(format!("{host} did not answer within {limit:?}"));
    let ask = async {
        loop {
            match get(&host, "instance/service-accounts/default/email", limit).await {
                Err(error)
                    if error
                        .downcast_ref::<https::Unanswered>()
                        .is_some_and(|why| why.cause == https::Cause::Refused) =>
                {
                    sleep(RETRY_AFTER).await;
                }
                answered => break answered,
            }
        }
    };
    let email = timeout_at(deadline, ask).await.map_err(timed_out)??;
    let more = async {
        let project_id = get(&host, "project/project-id", limit).await?;
        let universe_domain = get(&host, "universe/universe-domain", limit).await?;
        Ok::<_, BoxError>((project_id, universe_domain))
    };
    let (project_id, universe_domain) = timeout_at(deadline, more).await.map_err(timed_out)??;
    let universe_domain = universe_domain.filter(|domain| domain != "googleapis.com");
    Ok(Machine { email, project_id, universe_domain })
}

/// `None` if the server has no such value.
async fn get(host: &str, path: &str, connect: Duration) -> Result<Option<String>, BoxError> {
    let request = Request::get(format!("http://{host}/computeMetadata/v1/{path}"))
        .header("metadata-flavor", "Google")
        .body(Full::<Bytes>::default())
        .map_err(|_| format!("{HOST_VARIABLE} is not a host"))?;
    let answer = https::send(request, connect).await?;
    if answer.headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
        return Err(format!("{host} is not a metadata server").into());
    }
    let value = answer.text().trim();
    Ok((answer.status.is_success() && is_name(value)).then(|| value.to_owned()))
}
