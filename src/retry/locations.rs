use std::{fmt, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::circuit_breaker::{Circuit, CircuitState};
use crate::{error::ConfigError, route::Upstream};

/// The longest ejection that a location can request with `Retry-After`: ten minutes.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// The upstreams of a request, in order: the first location that is not ejected, and after a
/// failure there, the next one. Cheap to clone; clones share the state of the locations.
///
/// No location outside the list is used, not even `global`. [`VertexRetry`](super::VertexRetry)
/// follows the list in the extensions of a request; [`ModelRoute::locations`] puts it there.
///
/// The [module's docs](super#locations) describe how a location is chosen.
///
/// ```
/// use tower_vertex::{retry::Locations, route::Upstream};
///
/// let base = Upstream::new("my-project", "us-central1")?;
/// let locations = Locations::for_locations(&base, ["us-central1", "us-east4"])?;
/// assert_eq!(locations.upstreams().count(), 2);
/// assert!(Locations::for_locations(&base, ["us-east4", "us-east4"]).is_err());
/// # Ok::<_, tower_vertex::error::ConfigError>(())
/// ```
///
/// [`ModelRoute::locations`]: crate::model::ModelRoute::locations
#[doc(alias = "failover")]
#[doc(alias = "regions")]
#[doc(alias = "fallback")]
#[derive(Clone)]
pub struct Locations {
    inner: Arc<LocationList>,
}

struct LocationList {
    /// Never empty.
    candidates: Box<[Candidate]>,
    /// The start of the circuits' clock.
    epoch: Instant,
}

/// The circuit of a location. The [module's docs](super#locations) have its rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LocationCircuit {
    /// Requests go to the location; so many have failed there in a row.
    Closed {
        /// The failures since the last success.
        failures: u32,
    },
    /// The location is ejected.
    Open {
        /// Time until a request may probe the location; zero if the next request does.
        probe_in: Duration,
    },
    /// A request is probing the location.
    HalfOpen,
}

struct Candidate {
    upstream: Upstream,
    circuit: Circuit,
}

/// When a location is ejected, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ejection {
    pub(super) failure_threshold: u32,
    pub(super) time: Duration,
}

impl Locations {
    /// A list of these upstreams, the preferred one first. All must use the same names for models.
    ///
    /// # Errors
    /// The list is empty, or two of them send to the same URLs.
    pub fn new(upstreams: impl IntoIterator<Item = Upstream>) -> Result<Self, ConfigError> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for upstream in upstreams {
            if candidates.iter().any(|candidate| candidate.upstream == upstream) {
                let advice = "it is in the list already; leave one of the two out";
                return Err(ConfigError::invalid("locations", name(&upstream), advice));
            }
            candidates.push(Candidate { upstream, circuit: Circuit::closed() });
        }
        if candidates.is_empty() {
            let advice = "name at least one, such as us-central1";
            return Err(ConfigError::missing("locations", advice));
        }
        let candidates = candidates.into();
        Ok(Self { inner: Arc::new(LocationList { candidates, epoch: Instant::now() }) })
    }

    /// A list of `base` at each of these locations, the preferred one first. The location of `base`
    /// itself is used only if it is among them.
    ///
    /// # Errors
    /// The errors of [`new`](Self::new); a text that is not a location; a `base` whose URL does not
    /// depend on its location: an [`Endpoint`](crate::route::Endpoint) with a host of its own, or a
    /// base URL.
    pub fn for_locations<I>(base: &Upstream, locations: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        use crate::route::Endpoint::{BaseUrl, Dedicated, Private};
        let mut upstreams = Vec::new();
        for location in locations {
            let location = location.into();
            if matches!(base.endpoint(), BaseUrl { .. } | Dedicated { .. } | Private { .. }) {
                let advice = "leave them out: the host of this endpoint is at one location";
                return Err(ConfigError::invalid("locations", &location, advice));
            }
            upstreams.push(base.to_builder().location(location).build()?);
        }
        Self::new(upstreams)
    }

    /// The upstreams, the preferred one first.
    pub fn upstreams(&self) -> impl ExactSizeIterator<Item = &Upstream> {
        self.inner.candidates.iter().map(|candidate| &candidate.upstream)
    }

    /// The circuits of the [`upstreams`](Self::upstreams), in the same order, for metrics.
    #[doc(alias = "circuit breaker")]
    pub fn circuits(&self) -> impl ExactSizeIterator<Item = (&Upstream, LocationCircuit)> {
        let now = self.now();
        self.inner.candidates.iter().map(move |candidate| {
            let circuit = match candidate.circuit.state() {
                CircuitState::Closed(failures) => LocationCircuit::Closed { failures },
                CircuitState::Open(until) => {
                    let probe_in = Duration::from_millis(until.saturating_sub(now));
                    LocationCircuit::Open { probe_in }
                }
                CircuitState::Probing => LocationCircuit::HalfOpen,
            };
            (&candidate.upstream, circuit)
        })
    }

    /// The preferred upstream.
    pub fn first(&self) -> &Upstream {
        // `new` refuses an empty list.
        &self.inner.candidates[0].upstream
    }

    /// Chooses a candidate that was not `tried` yet: the first one that is not ejected, or, if all
    /// are, the one whose ejection ends first. `None` if a candidate that is not ejected was tried.
    pub(super) fn choose(&self, tried: &[Tried]) -> Option<Permit> {
        let permit = |index, kind| Some(Permit { locations: self.clone(), index, kind });
        let (mut open_elsewhere, mut soonest) = (true, None);
        for (index, Candidate { circuit, .. }) in self.inner.candidates.iter().enumerate() {
            let tried = tried.iter().any(|tried| tried.index == index);
            let until = match circuit.state() {
                CircuitState::Closed(_) if !tried => return permit(index, PermitKind::Usual),
                CircuitState::Closed(_) => {
                    open_elsewhere = false;
                    continue;
                }
                _ if tried => continue,
                CircuitState::Open(until)
                    if until <= self.now() && circuit.start_probe(self.now()) =>
                {
                    return permit(index, PermitKind::Probe);
                }
                CircuitState::Open(until) => until,
                CircuitState::Probing => u64::MAX,
            };
            if soonest.is_none_or(|(earliest, _)| until < earliest) {
                soonest = Some((until, index));
            }
        }
        let (_, index) = soonest.filter(|_| open_elsewhere)?;
        permit(index, PermitKind::Anyway)
    }

    /// Chooses which of the `tried` to try again, and returns the rest of the wait that it named:
    /// one that is not ejected, with the shortest wait, whose turn was the longest ago.
    pub(super) fn choose_again(&self, tried: &[Tried]) -> Option<(usize, Duration)> {
        let now = Instant::now();
        let key = |tried: &&Tried| {
            let candidate = self.inner.candidates.get(tried.index);
            let closed =
                candidate.is_some_and(|p| matches!(p.circuit.state(), CircuitState::Closed(_)));
            (!closed, tried.not_before.saturating_duration_since(now))
        };
        let tried = tried.iter().min_by_key(key)?;
        Some((tried.index, tried.not_before.saturating_duration_since(now)))
    }

    /// A permit for the candidate at `index`, which [`choose_again`](Self::choose_again) returned.
    pub(super) fn enter(&self, index: usize) -> Permit {
        let circuit = &self.inner.candidates[index].circuit;
        let kind = match circuit.state() {
            CircuitState::Closed(_) => PermitKind::Usual,
            _ if circuit.start_probe(self.now()) => PermitKind::Probe,
            _ => PermitKind::Anyway,
        };
        Permit { locations: self.clone(), index, kind }
    }

    fn now(&self) -> u64 {
        millis(self.inner.epoch.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The name of an upstream in the log.
pub(super) fn name(upstream: &Upstream) -> &str {
    upstream.location().map_or(upstream.origin(), |location| location.as_str())
}

impl fmt::Debug for Locations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let candidates = self.inner.candidates.iter();
        f.debug_list()
            .entries(
                candidates.map(|candidate| (name(&candidate.upstream), candidate.circuit.state())),
            )
            .finish()
    }
}

/// A candidate at which a request failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    index: usize,
    /// The candidate named this as the earliest time of a retry.
    not_before: Instant,
}

impl Tried {
    pub(super) fn is_at(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

/// A permit to send one request to one candidate. Its holder reports the outcome. If it is dropped
/// instead, the outcome is unknown, and another request may probe.
#[derive(Debug)]
pub(super) struct Permit {
    locations: Locations,
    index: usize,
    kind: PermitKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PermitKind {
    /// The circuit is closed.
    Usual,
    /// The circuit is half-open, and this request probes it.
    Probe,
    /// The circuit is open, and so are all others.
    Anyway,
}

impl Permit {
    pub(super) fn upstream(&self) -> &Upstream {
        &self.candidate().upstream
    }

    /// Records a success here, after failures at the `tried`, which are ejected from now on.
    pub(super) fn succeeded(mut self, tried: &[Tried], ejection: Ejection) {
        let kind = std::mem::replace(&mut self.kind, PermitKind::Usual);
        let circuit = &self.candidate().circuit;
        if kind == PermitKind::Usual {
            circuit.succeeded();
        } else if circuit.close() {
            tracing::info!(location = name(self.upstream()), "location recovered");
        }
        for tried in tried.iter().filter(|tried| tried.index != self.index) {
            let Some(left) = self.locations.inner.candidates.get(tried.index) else { continue };
            let asked = tried.not_before.saturating_duration_since(Instant::now());
            if left.circuit.open_if_closed(self.until(asked, ejection)) {
                let (from, to) = (name(&left.upstream), name(self.upstream()));
                tracing::warn!(from, to, "another location is the first choice now");
            }
        }
    }

    /// Records a failure here; `asked` is the wait that the service named.
    pub(super) fn failed(mut self, asked: Duration, ejection: Ejection) -> Tried {
        let kind = std::mem::replace(&mut self.kind, PermitKind::Usual);
        let circuit = &self.candidate().circuit;
        let until = self.until(asked, ejection);
        let opened = match kind {
            PermitKind::Usual => circuit.failed(ejection.failure_threshold, until),
            PermitKind::Probe | PermitKind::Anyway => circuit.open(until),
        };
        if opened {
            let location = name(self.upstream());
            tracing::warn!(location, failures = ejection.failure_threshold, "location ejected");
        }
        // A time that an `Instant` cannot represent is replaced by one far in the future.
        let now = Instant::now();
        let not_before = now.checked_add(asked).unwrap_or(now + 10 * LONGEST_ASKED);
        Tried { index: self.index, not_before }
    }

    fn until(&self, asked: Duration, ejection: Ejection) -> u64 {
        let pause = ejection.time.max(asked.min(LONGEST_ASKED));
        self.locations.now().saturating_add(millis(pause))
    }

    fn candidate(&self) -> &Candidate {
        &self.locations.inner.candidates[self.index]
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.kind == PermitKind::Probe {
            self.candidate().circuit.give_up_probe();
        }
    }
}

#[cfg(test)]
mod tests;
