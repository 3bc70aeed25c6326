//! Requests to the metadata server other than for a token: whether it exists, and the identity of
//! this machine.
//!
//! In the first seconds of a machine, of a pod of GKE or of an instance of Cloud Run, the server
//! may refuse a connection, close it, hang, or return an error that is not its own. If a server is
//! expected, these failures are transient, and requests are retried for as long as the start may
//! take according to Google.

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep, timeout_at};

use super::{
    credential_file::is_name,
    environment,
    http::{Answer, RequestErrorKind, send_directly},
};
use crate::BoxError;

/// Names another host than [`HOST`], with or without a port.
pub(super) const HOST_VARIABLE: &str = "GCE_METADATA_HOST";
/// If this variable is `true`, Google's own libraries assume that there is no metadata server.
pub(super) const NONE_VARIABLE: &str = "NO_GCE_CHECK";
/// This name resolves on Google Cloud only.
const HOST: &str = "metadata.google.internal";
/// Variables set by Cloud Run for services, jobs and worker pools, by Cloud Functions, and by App
/// Engine.
const PLATFORM_VARIABLES: [&str; 5] =
    ["K_SERVICE", "CLOUD_RUN_JOB", "CLOUD_RUN_WORKER_POOL", "FUNCTION_TARGET", "GAE_SERVICE"];

/// A metadata server that exists responds within milliseconds.
const PROBE: Duration = Duration::from_secs(2);
/// "The GKE metadata server needs a few seconds before it can run"; Google's own libraries try for
/// about this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time after which a try is given up.
const TRY: Duration = Duration::from_secs(3);
/// The pause between two tries: the first, and the maximum up to which it is doubled.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct MachineIdentity {
    pub(super) email: Option<String>,
    pub(super) project_id: Option<String>,
    pub(super) universe_domain: Option<String>,
}

/// The host that the environment names, or the usual host on Google Cloud.
pub(super) fn host() -> String {
    environment::text(HOST_VARIABLE).unwrap_or_else(|| HOST.to_owned())
}

/// Whether the environment says that there is no metadata server.
pub(super) fn is_ruled_out() -> bool {
    environment::text(NONE_VARIABLE).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// The evidence that there is a metadata server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surroundings {
    /// There is no evidence.
    Elsewhere,
    /// This is a Kubernetes cluster. If it is not Google's, the name does not resolve.
    Kubernetes,
    /// The firmware or a variable of the platform indicates Google Cloud, or a variable names the
    /// server.
    GoogleCloud,
}

impl Surroundings {
    pub(super) fn look() -> Self {
        let firmware = std::fs::read_to_string("/sys/class/dmi/id/product_name");
        Self::of(firmware.unwrap_or_default().trim(), |name| environment::path(name).is_some())
    }

    /// Knative sets `K_SERVICE` too, in any cluster.
    fn of(firmware: &str, is_set: impl Fn(&str) -> bool) -> Self {
        if is_set(HOST_VARIABLE) || firmware.starts_with("Google") {
            Self::GoogleCloud
        } else if is_set("KUBERNETES_SERVICE_HOST") {
            Self::Kubernetes
        } else if PLATFORM_VARIABLES.into_iter().any(is_set) {
            Self::GoogleCloud
        } else {
            Self::Elsewhere
        }
    }

    fn patience(self) -> Duration {
        match self {
            Self::Elsewhere => PROBE,
            Self::Kubernetes | Self::GoogleCloud => PATIENCE,
        }
    }

    /// Whether the failure may be transient here.
    fn is_transient(self, why: &MetadataError) -> bool {
        match why {
            MetadataError::NoHost => false,
            MetadataError::NoName(_) => self == Self::GoogleCloud,
            MetadataError::Stranger(status) => {
                self != Self::Elsewhere && (status.is_client_error() || status.is_server_error())
            }
            MetadataError::Unreachable(_) | MetadataError::Busy(_) | MetadataError::Late => true,
        }
    }
}

/// The reason why a metadata server returned no value.
#[derive(Debug)]
enum MetadataError {
    /// The variable does not hold a host.
    NoHost,
    /// The name does not resolve.
    NoName(BoxError),
    /// The response does not say that it is from a metadata server.
    Stranger(StatusCode),
    /// The metadata server returned an error of its own.
    Busy(StatusCode),
    /// The connection failed or was closed early.
    Unreachable(BoxError),
    /// No response arrived within [`TRY`].
    Late,
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHost => write!(f, "{HOST_VARIABLE} is not a host"),
            Self::NoName(error) => write!(f, "its name does not resolve: {error}"),
            Self::Stranger(status) => {
                write!(f, "the server there, which returned {status}, is not a metadata server")
            }
            Self::Busy(status) => write!(f, "it returned {status}"),
            Self::Unreachable(error) => error.fmt(f),
            Self::Late => f.write_str("it does not respond"),
        }
    }
}

impl StdError for MetadataError {}

/// Returns the identity of this machine, if a metadata server exists. For tokens the server only
/// has to exist. Its project is requested only if it is wanted.
pub(super) async fn machine(
    around: Surroundings,
    wants_project: bool,
) -> Result<MachineIdentity, BoxError> {
    let host = &host();
    let deadline = Instant::now() + around.patience();
    let email = email(around, host, around.patience()).await?;
    let value = |path| async move {
        let value = persist(around, deadline, || get(host, path)).await;
        value.unwrap_or_else(|why| {
            tracing::warn!(host, path, %why, "the metadata server returned no value");
            None
        })
    };
    let project_id = if wants_project { value("project/project-id").await } else { None };
    let universe_domain = value("universe/universe-domain").await;
    let universe_domain = universe_domain.filter(|domain| domain != "googleapis.com");
    Ok(MachineIdentity { email, project_id, universe_domain })
}

/// Returns the e-mail address of this machine's service account, if the metadata server exists and
/// has it.
async fn email(
    around: Surroundings,
    host: &str,
    patience: Duration,
) -> Result<Option<String>, BoxError> {
    let ask = || async {
        match get(host, "instance/service-accounts/default/email").await {
            // The metadata server exists.
            Err(MetadataError::Busy(_)) => Ok(None),
            answered => answered,
        }
    };
    let email = persist(around, Instant::now() + patience, ask).await;
    email.map_err(|why| {
        match around.is_transient(&why) {
            true => format!("{host} did not respond within {patience:?}: {why}"),
            false => format!("{host}: {why}"),
        }
        .into()
    })
}

/// Retries until there is a response, a failure that is not transient, or no time left.
async fn persist<T, F: Future<Output = Result<T, MetadataError>>>(
    around: Surroundings,
    deadline: Instant,
    ask: impl Fn() -> F,
) -> Result<T, MetadataError> {
    let mut pause = PAUSE.0;
    let mut tries = 0_u32;
    loop {
        let end = deadline.min(Instant::now() + TRY);
        let why = match timeout_at(end, ask()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(why)) => why,
            Err(_elapsed) => MetadataError::Late,
        };
        if !around.is_transient(&why) || Instant::now() + pause >= deadline {
            return Err(why);
        }
        if tries == 0 && around != Surroundings::Elsewhere {
            tracing::info!(%why, "waiting for the metadata server");
        }
        sleep(pause).await;
        (tries, pause) = (tries + 1, (pause * 2).min(PAUSE.1));
    }
}

/// Returns `None` if the server has no such value.
async fn get(host: &str, path: &str) -> Result<Option<String>, MetadataError> {
    let request = Request::get(format!("http://{host}/computeMetadata/v1/{path}"))
        .header("metadata-flavor", "Google")
        .body(Full::<Bytes>::default())
        .map_err(|_| MetadataError::NoHost)?;
    let answer = send_directly(request, TRY).await.map_err(|why| match why.cause {
        RequestErrorKind::Unresolved => MetadataError::NoName(why.into()),
        _ => MetadataError::Unreachable(why.into()),
    })?;
    let value = answer.text().trim();
    match answer.status {
        status if !is_its_own(&answer) => Err(MetadataError::Stranger(status)),
        status if status.is_success() => Ok(is_name(value).then(|| value.to_owned())),
        StatusCode::NOT_FOUND => Ok(None),
        status => Err(MetadataError::Busy(status)),
    }
}

/// Whether the response says that it is from a metadata server.
pub(super) fn is_its_own(answer: &Answer) -> bool {
    answer.headers.get("metadata-flavor").is_some_and(|flavor| flavor == "Google")
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, io};

    use Surroundings::{Elsewhere, GoogleCloud, Kubernetes};

    use super::*;

    #[test]
    fn a_server_is_expected_where_the_platform_or_the_environment_says_so() {
        for (firmware, variables, around) in [
            ("", &[][..], Elsewhere),
            ("Google Compute Engine", &[], GoogleCloud),
            ("Standard PC", &["KUBERNETES_SERVICE_HOST"], Kubernetes),
            ("Google", &["KUBERNETES_SERVICE_HOST"], GoogleCloud),
            ("", &["K_SERVICE"], GoogleCloud),
            ("", &["K_SERVICE", "KUBERNETES_SERVICE_HOST"], Kubernetes),
            ("", &["CLOUD_RUN_JOB"], GoogleCloud),
            ("", &["GAE_SERVICE"], GoogleCloud),
            ("", &["FUNCTION_TARGET"], GoogleCloud),
            ("", &["GCE_METADATA_HOST"], GoogleCloud),
            ("", &["GCE_METADATA_HOST", "KUBERNETES_SERVICE_HOST"], GoogleCloud),
        ] {
            let found = Surroundings::of(firmware, |name| variables.contains(&name));
            assert_eq!(found, around, "{firmware:?} {variables:?}");
        }
    }

    fn refused() -> MetadataError {
        MetadataError::Unreachable(io::Error::from(io::ErrorKind::ConnectionRefused).into())
    }

    fn stranger(status: u16) -> MetadataError {
        MetadataError::Stranger(StatusCode::from_u16(status).unwrap())
    }

    fn no_name() -> MetadataError {
        MetadataError::NoName(io::Error::other("not found").into())
    }

    /// Whether `persist` returns a response that comes after `late` seconds of failures, and the
    /// seconds that it took.
    async fn waits(
        around: Surroundings,
        late: u64,
        why: impl Fn() -> MetadataError,
    ) -> (bool, u64) {
        let began = Instant::now();
        let there = began + Duration::from_secs(late);
        let ask = || {
            std::future::ready(match Instant::now() >= there {
                true => Ok(()),
                false => Err(why()),
            })
        };
        let found = persist(around, began + around.patience(), ask).await.is_ok();
        (found, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn transient_failures_are_waited_for_where_a_server_is_expected() {
        let busy = || MetadataError::Busy(StatusCode::SERVICE_UNAVAILABLE);
        let all: [&dyn Fn() -> MetadataError; 6] = [
            &refused,
            &|| stranger(403),
            &|| stranger(404),
            &|| stranger(500),
            &|| stranger(503),
            &busy,
        ];
        for around in [GoogleCloud, Kubernetes] {
            for why in all {
                let (found, time) = waits(around, 25, why).await;
                assert!(found && (25..=26).contains(&time), "{:?}: {time}", why());
                let (found, time) = waits(around, 60, why).await;
                assert!(!found && (28..=30).contains(&time), "{:?}: {time}", why());
            }
        }
        assert!(waits(GoogleCloud, 25, no_name).await.0);
        assert_eq!(waits(Kubernetes, 25, no_name).await, (false, 0), "not Google's cluster");
        assert_eq!(waits(GoogleCloud, 25, || stranger(200)).await, (false, 0));
        assert_eq!(waits(GoogleCloud, 25, || MetadataError::NoHost).await, (false, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn elsewhere_the_probe_is_short() {
        assert!(waits(Elsewhere, 1, refused).await.0);
        let (found, time) = waits(Elsewhere, 25, refused).await;
        assert!(!found && time <= 2);
        for why in [&|| stranger(404), &no_name as &dyn Fn() -> MetadataError] {
            assert_eq!(waits(Elsewhere, 1, why).await, (false, 0));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_hangs_is_given_up_and_repeated() {
        let tries = Cell::new(0);
        let ask = || async {
            tries.set(tries.get() + 1);
            if tries.get() < 4 {
                std::future::pending::<()>().await;
            }
            Ok(())
        };
        let began = Instant::now();
        assert!(persist(Kubernetes, began + PATIENCE, ask).await.is_ok());
        assert_eq!(began.elapsed().as_secs(), 9);
    }
}
