//! [W3C Trace Context](https://www.w3.org/TR/trace-context/): reads the parent span of the client
//! from a request, and writes the gateway's span into it.

use std::str::FromStr;

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// A longer state is dropped. The specification requires support only for this length.
const LONGEST_STATE: usize = 512;

/// The span of the client. It is `None` if there is none, or if the header is invalid, and a new
/// trace begins.
///
/// This is stricter than `TraceContextPropagator` of the SDK 0.33, which accepts an id of one
/// digit.
pub(super) fn extract(headers: &HeaderMap) -> Option<SpanContext> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let (parent, None) = (parents.next()?, parents.next()) else { return None };
    let (trace, span, flags) = parse(parent.as_bytes())?;
    // Version 00 defines only the flag `sampled`.
    let flags = TraceFlags::new(flags) & TraceFlags::SAMPLED;
    Some(SpanContext::new(trace, span, flags, true, state(headers)))
}

/// Parses `VERSION-TRACE-SPAN-FLAGS`. If the version is not 00, more may follow after another `-`.
fn parse(text: &[u8]) -> Option<(TraceId, SpanId, u8)> {
    let (known, rest) = text.split_at_checked(55)?;
    if [known[2], known[35], known[52]] != [b'-'; 3] {
        return None;
    }
    let version = hex(&known[..2])?;
    if version == 0xff || !(rest.is_empty() || (version > 0 && rest[0] == b'-')) {
        return None;
    }
    let trace = TraceId::from(hex(&known[3..35])?);
    let span = SpanId::from(u64::try_from(hex(&known[36..52])?).ok()?);
    let flags = u8::try_from(hex(&known[53..])?).ok()?;
    (trace != TraceId::INVALID && span != SpanId::INVALID).then_some((trace, span, flags))
}

/// Parses lower-case digits only.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

/// The state for the span. The header itself is forwarded unchanged.
fn state(headers: &HeaderMap) -> TraceState {
    let values: Result<Vec<_>, _> =
        headers.get_all(TRACESTATE).iter().map(|v| v.to_str()).collect();
    let list = values.unwrap_or_default().join(",");
    let fit = list.len() <= LONGEST_STATE;
    fit.then(|| TraceState::from_str(&list).ok()).flatten().unwrap_or_default()
}

/// Makes a span of the gateway the parent of a request.
pub(super) fn inject(headers: &mut HeaderMap, span: &SpanContext, is_child: bool) {
    if !is_child {
        // The header belongs to a `traceparent` that was not accepted.
        headers.remove(TRACESTATE);
    }
    let flags = span.trace_flags() & TraceFlags::SAMPLED;
    let parent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    // Hexadecimal digits are valid in a header.
    if let Ok(parent) = HeaderValue::try_from(parent) {
        headers.insert(TRACEPARENT, parent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(parents: &[&str], states: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for parent in parents {
            headers.append(TRACEPARENT, HeaderValue::from_bytes(parent.as_bytes()).unwrap());
        }
        for state in states {
            headers.append(TRACESTATE, HeaderValue::from_bytes(state.as_bytes()).unwrap());
        }
        headers
    }

    fn extracted(parent: &str) -> Option<(String, String, u8)> {
        let context = extract(&headers(&[parent], &[]))?;
        let flags = context.trace_flags().to_u8();
        assert!(context.is_remote() && context.is_valid());
        Some((context.trace_id().to_string(), context.span_id().to_string(), flags))
    }

    #[test]
    fn a_valid_traceparent_is_accepted() {
        let with = |flags| {
            let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
            Some((trace.to_owned(), span.to_owned(), flags))
        };
        for (parent, flags) in [
            (VALID.to_owned(), 1),
            (VALID.replace("-01", "-00"), 0),
            // Flags of future versions.
            (VALID.replace("-01", "-03"), 1),
            (VALID.replace("-01", "-fe"), 0),
            // Future versions.
            (VALID.replace("00-0a", "cc-0a"), 1),
            (VALID.replace("00-0a", "01-0a") + "-what-the-future-brings", 1),
            (VALID.replace("00-0a", "01-0a") + "-", 1),
        ] {
            assert_eq!(extracted(&parent), with(flags), "{parent}");
        }
    }

    #[test]
    fn an_invalid_traceparent_is_rejected() {
        let zeros = |count| "0".repeat(count);
        for parent in [
            String::new(),
            "00".to_owned(),
            VALID[..54].to_owned(),
            VALID.to_uppercase(),
            VALID.replace("-01", "-0g"),
            VALID.replace("-01", "-+1"),
            VALID.replace("00-0a", "ff-0a"),
            VALID.replace("00-0a", "0x-0a"),
            VALID.replace('-', "_"),
            VALID.to_owned() + "-more",
            VALID.to_owned() + "0",
            VALID.replace("00-0a", "01-0a") + "0",
            VALID.replace("0af7651916cd43dd8448eb211c80319c", &zeros(32)),
            VALID.replace("b7ad6b7169203331", &zeros(16)),
            format!(" {VALID}"),
            "ü".repeat(28),
        ] {
            assert_eq!(extracted(&parent), None, "{parent}");
        }
        assert!(extract(&HeaderMap::new()).is_none());
        assert!(extract(&headers(&[VALID, VALID], &[])).is_none(), "one of two");
    }

    #[test]
    fn a_tracestate_is_recorded_and_forwarded_unchanged() {
        let long = format!("a={}", "b".repeat(LONGEST_STATE));
        for (states, expected) in [
            (&[][..], ""),
            (&["a=1, b=2"], "a=1,b=2"),
            (&["a=1", "b=2"], "a=1,b=2"),
            (&["no state"], ""),
            (&["ü=1"], ""),
            (&[&long], ""),
        ] {
            let mut sent = headers(&[VALID], states);
            let context = extract(&sent).unwrap();
            assert_eq!(context.trace_state().header(), expected, "{states:?}");
            inject(&mut sent, &context, true);
            assert_eq!(sent, headers(&[VALID], states));
        }
    }

    #[test]
    fn a_new_trace_replaces_an_invalid_one() {
        let mut sent = headers(&["broken", "twice"], &["a=1"]);
        let ours = extract(&headers(&[VALID], &[])).unwrap();
        inject(&mut sent, &ours, false);
        assert_eq!(sent, headers(&[VALID], &[]));
    }
}
