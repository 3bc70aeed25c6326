//! The wait before a request is sent again.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};

/// Exponential back-off, with full jitter on top of a floor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    pub(super) base: Duration,
    pub(super) max: Duration,
}

impl Backoff {
    /// The wait before the retry after `waits` others: at least `asked`, the wait that the service
    /// named. `None` if that is longer than `max`. `random` is from 0 to 1.
    pub(super) fn wait(&self, waits: u32, asked: Duration, random: f64) -> Option<Duration> {
        if asked > self.max {
            return None;
        }
        let span = self.base.saturating_mul(2u32.saturating_pow(waits)).min(self.max);
        // On top, so that clients that were given the same wait do not return at the same moment.
        Some(asked.max(self.base).saturating_add(span.mul_f64(random)).min(self.max))
    }
}

/// The wait in `Retry-After`; `None` if the header is missing or invalid.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(text.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let then = httpdate::parse_http_date(text).ok()?;
    // The service gave the date, so its clock is the reference; ours may differ.
    let date = |value: &HeaderValue| httpdate::parse_http_date(value.to_str().ok()?).ok();
    let now = headers.get(header::DATE).and_then(date).unwrap_or_else(SystemTime::now);
    Some(then.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn backoff() -> Backoff {
        Backoff { base: SECOND, max: 30 * SECOND }
    }

    #[test]
    fn a_wait_is_the_floor_and_a_doubled_jitter_up_to_the_maximum() {
        for (waits, asked, shortest, longest) in [
            (0, 0, 1, 2),
            (1, 0, 1, 3),
            (2, 0, 1, 5),
            (4, 0, 1, 17),
            (5, 0, 1, 30),
            (u32::MAX, 0, 1, 30),
            (0, 7, 7, 8),
            (1, 7, 7, 9),
            (0, 30, 30, 30),
        ] {
            let wait = |random| backoff().wait(waits, asked * SECOND, random).unwrap();
            assert_eq!((wait(0.0), wait(1.0)), (shortest * SECOND, longest * SECOND));
            assert!((0..=100).all(|n| wait(f64::from(n) / 100.0) >= asked.max(1) * SECOND));
        }
    }

    #[test]
    fn a_wait_is_never_longer_than_the_maximum_or_shorter_than_retry_after() {
        for asked in [31 * SECOND, Duration::MAX, Duration::from_millis(30_001)] {
            assert_eq!(backoff().wait(0, asked, 0.5), None);
        }
        let odd = Backoff { base: Duration::MAX, max: Duration::MAX };
        assert_eq!(odd.wait(9, Duration::MAX, 0.0), Some(Duration::MAX));
        let none = Backoff { base: Duration::ZERO, max: Duration::ZERO };
        assert_eq!(none.wait(9, Duration::ZERO, 1.0), Some(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let read = |headers: &[(&'static str, &'static str)]| {
            let headers = headers
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
            retry_after(&headers.collect())
        };
        let after = |value| read(&[("retry-after", value)]);
        assert_eq!(after("7"), Some(7 * SECOND));
        assert_eq!(after(" 0 "), Some(Duration::ZERO));
        assert_eq!(after("99999999999999999999999"), Some(Duration::MAX));
        for bad in ["", "-1", "+1", "1.5", "soon", "1s", "Wed, 99 Oct 2015 07:28:00 GMT"] {
            assert_eq!(after(bad), None, "{bad:?}");
        }
        assert_eq!(read(&[]), None);

        let date = ("date", "Wed, 21 Oct 2015 07:28:00 GMT");
        for then in [
            "Wed, 21 Oct 2015 07:28:39 GMT",
            "Wednesday, 21-Oct-15 07:28:39 GMT",
            "Wed Oct 21 07:28:39 2015",
        ] {
            assert_eq!(read(&[date, ("retry-after", then)]), Some(39 * SECOND), "{then}");
        }
        // A date in the past.
        assert_eq!(after(date.1), Some(Duration::ZERO));
    }
}
