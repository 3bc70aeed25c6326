//! The emulator's time of day, and the formats in which Google writes times and durations.
//!
//! This clock is used only for times that are compared with a client's clock or shown to a client.
//! The lifetime of a token is measured by the monotonic clock, which no setting changes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second of the year 9999. RFC 3339 cannot represent later times.
const LAST: i64 = 253_402_300_799;
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time of day in UTC, since 1970 and up to the year 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UtcTime(Duration);

impl UtcTime {
    /// The time of a clock that is this many seconds ahead of this machine's.
    pub(crate) fn now(offset_s: i64) -> Self {
        let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let ahead = Duration::from_secs(offset_s.unsigned_abs());
        let shown =
            if offset_s < 0 { real.saturating_sub(ahead) } else { real.saturating_add(ahead) };
        Self(shown).capped()
    }

    pub(crate) fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time)).capped()
    }

    fn capped(self) -> Self {
        Self(self.0.min(Duration::from_secs(LAST.unsigned_abs())))
    }

    /// Whole seconds since 1970.
    pub(crate) fn seconds(self) -> i64 {
        // The time is capped, so the value fits.
        i64::try_from(self.0.as_secs()).unwrap_or(LAST)
    }

    /// The time as `2026-11-22T19:00:00Z`. Fractions are dropped, so that it is never later than
    /// the real time.
    pub(crate) fn rfc3339(self) -> String {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil();
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// The time as `2026-11-22T19:00:00.123456Z`.
    pub(crate) fn rfc3339_micros(self) -> String {
        let whole = self.rfc3339();
        format!("{}.{:06}Z", whole.trim_end_matches('Z'), self.0.subsec_micros())
    }

    /// The time in the format of a `Date` header: `Sun, 22 Nov 2026 19:00:00 GMT`.
    pub(crate) fn http_date(self) -> String {
        let Civil { weekday, year, month, day, hour, minute, second } = self.civil();
        let month = MONTHS.get(month - 1).unwrap_or(&"");
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }

    /// Howard Hinnant's `civil_from_days`: years begin in March, so that a leap day comes last.
    fn civil(self) -> Civil {
        let seconds = self.seconds();
        let (days, in_day) = (seconds / 86_400, seconds % 86_400);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Civil {
            weekday: DAYS[(days % 7) as usize],
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as usize,
            day: day_of_year - (153 * from_march + 2) / 5 + 1,
            hour: in_day / 3600,
            minute: in_day / 60 % 60,
            second: in_day % 60,
        }
    }
}

struct Civil {
    weekday: &'static str,
    year: i64,
    month: usize,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
}

/// A `google.protobuf.Duration` in JSON that is not negative, such as `3600s` or `1.5s`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str, most| {
        (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if !digits(whole, 12) || !digits(fraction, 9) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(whole.parse().ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_for_rfc3339_and_for_http() {
        for (seconds, rfc3339, http_date) in [
            (0, "1970-01-01T00:00:00Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "2000-02-29T00:00:00Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_799, "2000-02-29T23:59:59Z", "Tue, 29 Feb 2000 23:59:59 GMT"),
            (1_735_689_599, "2024-12-31T23:59:59Z", "Tue, 31 Dec 2024 23:59:59 GMT"),
            (1_795_374_000, "2026-11-22T19:00:00Z", "Sun, 22 Nov 2026 19:00:00 GMT"),
            (4_107_542_400, "2100-03-01T00:00:00Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
            (u64::MAX, "9999-12-31T23:59:59Z", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            let time = UtcTime(Duration::from_secs(seconds)).capped();
            assert_eq!((time.rfc3339(), time.http_date()), (rfc3339.into(), http_date.into()));
        }
    }

    #[test]
    fn a_clock_is_capped_to_the_range_of_its_formats() {
        for (offset, shown) in [(i64::MIN, 0), (i64::MAX, LAST)] {
            assert_eq!(UtcTime::now(offset).seconds(), shown);
        }
    }

    #[test]
    fn durations_are_seconds_with_an_s() {
        for (text, millis) in [("3600s", 3_600_000), ("0.5s", 500), ("1.250s", 1250), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "s", "1", "-1s", "+1s", ".5s", "1.s", "1e3s", "1.0123456789s", "1 s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
