//! The time of a refresh: the settings of a cache, and the pure arithmetic over them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{TokenCache, TokenSource, clock::Schedule};

/// Sets up a [`TokenCache`]. Every default suits Vertex AI; the methods give the reasons.
///
/// Any duration is accepted. A duration of more than a year is treated as a year.
#[derive(Debug)]
#[must_use]
pub struct TokenCacheBuilder {
    pub(super) settings: CacheSettings,
}

#[derive(Clone, Debug)]
pub(super) struct CacheSettings {
    pub(super) refresh_before: Duration,
    pub(super) refresh_jitter: Duration,
    pub(super) expiry_margin: Duration,
    pub(super) fetch_timeout: Duration,
    pub(super) backoff: (Duration, Duration),
    pub(super) same_token_pause: (Duration, Duration),
    pub(super) forced: (u32, Duration),
    pub(super) unknown_lifetime: Duration,
    pub(super) max_lifetime: Duration,
    /// `None` for the system's.
    pub(super) wall_clock: Option<fn() -> SystemTime>,
    /// Uniform in `0.0..1.0`; a test puts a constant here.
    pub(super) random: fn() -> f64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            refresh_before: Duration::from_secs(225),
            refresh_jitter: Duration::from_secs(30),
            expiry_margin: Duration::from_secs(10),
            fetch_timeout: Duration::from_secs(10),
            backoff: (Duration::from_secs(1), Duration::from_secs(60)),
            same_token_pause: (Duration::from_secs(2), Duration::from_secs(15)),
            forced: (3, Duration::from_secs(30)),
            unknown_lifetime: Duration::from_secs(240),
            max_lifetime: Duration::from_secs(24 * 3600),
            wall_clock: None,
            random: fastrand::f64,
        }
    }
}

/// The maximum of every setting, a year, so that no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

fn sane(duration: Duration) -> Duration {
    duration.min(LONGEST)
}

impl TokenCacheBuilder {
    pub(super) fn new() -> Self {
        Self { settings: CacheSettings::default() }
    }

    /// How long before a token expires the next one is fetched, while requests still use the
    /// current one. It is never more than half of the token's lifetime. Default 225 s: Google's
    /// metadata server returns the same token until four to five minutes before its expiry, so an
    /// earlier request would be in vain.
    #[doc(alias = "refresh_threshold")]
    pub fn refresh_before(mut self, margin: Duration) -> Self {
        self.settings.refresh_before = sane(margin);
        self
    }

    /// The refresh starts up to this much later, at random, so that many processes that were
    /// started together do not send their requests at the same time. Default 30 s.
    pub fn refresh_jitter(mut self, jitter: Duration) -> Self {
        self.settings.refresh_jitter = sane(jitter);
        self
    }

    /// How long before a token expires new requests wait for the next one, because this token might
    /// expire in transit. Default 10 s, and at most a quarter of a short lifetime. Requests use the
    /// current token if the next one has not arrived a second before the expiry.
    #[doc(alias = "leeway")]
    #[doc(alias = "clock_skew")]
    pub fn expiry_margin(mut self, margin: Duration) -> Self {
        self.settings.expiry_margin = sane(margin);
        self
    }

    /// How long one fetch may take. Default 10 s.
    pub fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.settings.fetch_timeout = sane(timeout);
        self
    }

    /// The pause after a failed fetch: `min`, doubled by each failure up to `max`, ±20 %. Default 1
    /// s to 60 s. Nothing is fetched during a pause. The first request after the pause starts a
    /// fetch.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.settings.backoff = (sane(min), sane(max));
        self
    }

    /// The pause after a source returned the token that was due for replacement. Default 2 s,
    /// doubled up to 15 s.
    pub fn same_token_pause(mut self, min: Duration, max: Duration) -> Self {
        self.settings.same_token_pause = (sane(min), sane(max));
        self
    }

    /// How many refreshes 401s may force at once, and the time after which they may force another.
    /// Default 3, and another every 30 s. A revoked token is replaced at once even if it is new,
    /// and a permanent 401 costs two tokens a minute.
    pub fn forced_refreshes(mut self, burst: u32, every: Duration) -> Self {
        self.settings.forced = (burst, sane(every));
        self
    }

    /// The lifetime of a token whose source does not know it. Default 240 s, because
    /// `google-cloud-auth`, which does not report the lifetime, replaces a token that long before
    /// it expires.
    pub fn unknown_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.unknown_lifetime = sane(lifetime);
        self
    }

    /// The longest lifetime that is believed. Default 24 h, twice the longest that Google grants.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.max_lifetime = sane(lifetime);
        self
    }

    /// The wall clock, which shows that a token has expired while the machine was suspended. Default:
    /// the system's. A program that simulates time gives its own, which each request reads; the
    /// monotonic clock is Tokio's, which a test can pause.
    pub fn wall_clock(mut self, clock: fn() -> SystemTime) -> Self {
        self.settings.wall_clock = Some(clock);
        self
    }

    /// Builds the cache. Nothing is fetched before the first request or
    /// [`warm_up`](TokenCache::warm_up).
    pub fn build(self, source: impl TokenSource) -> TokenCache {
        TokenCache::from_parts(Arc::new(source), self.settings)
    }
}

impl CacheSettings {
    /// The ages at which a token with this lifetime is refreshed, blocks requests and expires.
    pub(super) fn schedule(&self, lifetime: Duration) -> Schedule {
        let margin = self.refresh_before.min(lifetime / 2);
        let block = self.expiry_margin.min(margin / 2);
        // The refresh is delayed, but never so long that requests have to wait.
        let jitter = self.refresh_jitter.min((margin - block) / 2).mul_f64((self.random)());
        Schedule { refresh: lifetime - margin + jitter, block: lifetime - block, death: lifetime }
    }

    /// Like [`schedule`](Self::schedule), for a token that the source returned again instead of a
    /// new one. A token within its refresh window stays in it.
    pub(super) fn schedule_again(&self, lifetime: Duration) -> Schedule {
        let schedule = self.schedule(lifetime);
        if lifetime <= self.refresh_before + self.refresh_jitter {
            Schedule { refresh: Duration::ZERO, ..schedule }
        } else {
            schedule
        }
    }

    pub(super) fn lifetime(&self, expires_in: Option<Duration>) -> Duration {
        expires_in.unwrap_or(self.unknown_lifetime).min(self.max_lifetime)
    }

    /// The pause after the `failures`th failure in a row, ±20 %.
    pub(super) fn backoff(&self, failures: u32) -> Duration {
        doubled(self.backoff, failures).mul_f64(0.8 + 0.4 * (self.random)())
    }

    pub(super) fn same_token_pause(&self, repeats: u32) -> Duration {
        doubled(self.same_token_pause, repeats)
    }
}

/// `min`, doubled `times - 1` times, at most `max`.
fn doubled((min, max): (Duration, Duration), times: u32) -> Duration {
    min.saturating_mul(1_u32.checked_shl(times.saturating_sub(1)).unwrap_or(u32::MAX)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> CacheSettings {
        CacheSettings { random: || 0.5, ..CacheSettings::default() }
    }

    #[test]
    fn the_schedule_fits_every_lifetime() {
        let secs = Duration::from_secs_f64;
        for (lifetime, refresh, block) in [
            (3600.0, 3375.0 + 15.0, 3590.0),
            (43200.0, 43200.0 - 225.0 + 15.0, 43190.0),
            (300.0, 150.0 + 15.0, 290.0),
            (20.0, 10.0 + 1.25, 15.0),
            (4.0, 2.0 + 0.25, 3.0),
        ] {
            let schedule = settings().schedule(secs(lifetime));
            assert_eq!(
                schedule,
                Schedule { refresh: secs(refresh), block: secs(block), death: secs(lifetime) },
                "{lifetime}"
            );
        }
    }

    #[test]
    fn a_request_that_waited_has_time_to_show_its_token() {
        let secs = Duration::from_secs_f64;
        for (lifetime, last_use) in [(3600.0, 3599.0), (16.0, 15.0), (4.0, 3.5), (0.0, 0.0)] {
            assert_eq!(
                settings().schedule(secs(lifetime)).last_use(),
                secs(last_use),
                "{lifetime}"
            );
        }
        let settings = CacheSettings { expiry_margin: Duration::ZERO, ..settings() };
        assert_eq!(settings.schedule(secs(3600.0)).last_use(), secs(3600.0), "none waits");
    }

    #[test]
    fn any_settings_give_an_ordered_schedule() {
        let lifetimes = [0, 1, 2, 999, 3_600_000, u64::MAX / 2].map(Duration::from_millis);
        let margins = [0, 1, 10_000, 225_000, u64::MAX / 4].map(Duration::from_millis);
        for lifetime in lifetimes {
            for refresh_before in margins {
                for expiry_margin in margins {
                    for refresh_jitter in margins {
                        let settings = CacheSettings {
                            refresh_before,
                            expiry_margin,
                            refresh_jitter,
                            random: || 0.999,
                            ..CacheSettings::default()
                        };
                        let s = settings.schedule(lifetime);
                        assert!(s.refresh <= s.block && s.block <= s.death, "{settings:?} {s:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn pauses_double_and_end() {
        let seconds = |n| settings().backoff(n).as_secs_f64();
        assert_eq!([1, 2, 3, 6, 7, 40].map(seconds), [1.0, 2.0, 4.0, 32.0, 60.0, 60.0]);
        let seconds = |n| settings().same_token_pause(n).as_secs();
        assert_eq!([1, 2, 3, 4, 99].map(seconds), [2, 4, 8, 15, 15]);
    }

    #[test]
    fn a_token_that_comes_again_within_its_refresh_window_stays_in_it() {
        let window = Duration::from_secs(225 + 30);
        let again = |lifetime| settings().schedule_again(lifetime);
        let expected = settings().schedule(window);
        assert_eq!(again(window), Schedule { refresh: Duration::ZERO, ..expected });
        let longer = window + Duration::from_nanos(1);
        assert_eq!(again(longer), settings().schedule(longer));
        assert!(again(longer).refresh > Duration::ZERO);
    }
}
