//! The variables `OTEL_…`, which OpenTelemetry's
//! [specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/)
//! defines. The SDK uses a default for a value that it does not understand. Here such a value is an
//! error.

use std::{ops::RangeInclusive, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use opentelemetry_sdk::trace::Sampler;
use percent_encoding::percent_decode_str;

use crate::{error::Error, values::MOST};
use tower_vertex::redact;

/// The settings of traces.
#[derive(Debug)]
pub(super) struct OtelSettings {
    /// The URL to which traces are sent.
    pub(super) endpoint: String,
    /// Headers that authenticate to the collector. They may be secrets.
    pub(super) headers: HeaderMap,
    /// Time limit of one attempt to export. When it has passed since the first attempt, there is no
    /// other one.
    pub(super) timeout: Duration,
    pub(super) sampler: Sampler,
    /// Largest number of attributes of a span.
    pub(super) attributes: u32,
    /// Largest number of spans in one export, and the longest wait of a span for others.
    pub(super) batch: usize,
    pub(super) delay: Duration,
    /// Largest number of spans that wait to be exported.
    pub(super) queue: usize,
    /// Whether `traceparent` is read and sent.
    pub(super) propagate: bool,
    /// A file of the root certificates for the collector's certificate. `None` for the system's
    /// roots.
    pub(super) certificate: Option<String>,
}

impl OtelSettings {
    /// `None` if nothing is to be traced, because there is no endpoint or a variable turns traces
    /// off.
    pub(super) fn read(env: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, Error> {
        let given = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let says = |name: &str, value: &str| {
            given(name).is_some_and(|given| given.trim().eq_ignore_ascii_case(value))
        };
        let is_off = says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none");
        let Some(endpoint) = endpoint(&given).filter(|_| !is_off) else { return Ok(None) };
        one_of(&given, "OTEL_TRACES_EXPORTER", &["otlp", "none"])?;
        // If traces have their own variable, the general one may be for logs and metrics of other
        // programs.
        let in_force = |part| of_traces(part).into_iter().find(|name| given(name).is_some());
        if let Some(name) = in_force("PROTOCOL") {
            one_of(&given, &name, &["http/protobuf"])?;
        }
        if let Some(name) = in_force("COMPRESSION") {
            one_of(&given, &name, &["none"])?;
        }
        let unknown = [of_traces("CLIENT_CERTIFICATE"), of_traces("CLIENT_KEY")];
        if let Some(name) = unknown.iter().flatten().find(|name| given(name).is_some()) {
            return Err(Error::new(format!(
                "{name} is not supported: authenticate to the collector with \
                     OTEL_EXPORTER_OTLP_HEADERS"
            )));
        }
        let mut headers = HeaderMap::new();
        if let Some(name) = in_force("HEADERS") {
            pairs(&given, &name, |key, value| {
                let value = percent_decode_str(value).collect::<Vec<_>>();
                let (Ok(key), Ok(mut value)) =
                    (HeaderName::try_from(key), HeaderValue::try_from(value))
                else {
                    return false;
                };
                value.set_sensitive(true);
                headers.try_insert(key, value).is_ok()
            })?;
        }
        // The SDK reads these attributes itself. They are only checked here.
        pairs(&given, "OTEL_RESOURCE_ATTRIBUTES", |key, _| !key.is_empty())?;
        let timeout = in_force("TIMEOUT").map(|name| number(&given, &name, 1..=DAY)).transpose()?;
        let timeout = timeout.flatten().unwrap_or(10_000);
        let of_queue = |name: &str, most| number(&given, &format!("OTEL_BSP_{name}"), 1..=most);
        let spans = |number: Option<u64>, otherwise| {
            number.map_or(otherwise, |number| usize::try_from(number).unwrap_or(usize::MAX))
        };
        let attributes =
            number(&given, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", 0..=MOST)?.unwrap_or(128);
        Ok(Some(Self {
            endpoint: endpoint?,
            headers,
            timeout: Duration::from_millis(timeout),
            sampler: sampler(&given)?,
            attributes: u32::try_from(attributes).unwrap_or(u32::MAX),
            batch: spans(of_queue("MAX_EXPORT_BATCH_SIZE", MOST)?, 512),
            delay: Duration::from_millis(of_queue("SCHEDULE_DELAY", DAY)?.unwrap_or(5000)),
            queue: spans(of_queue("MAX_QUEUE_SIZE", u64::MAX)?, 2048).min(LONGEST_QUEUE),
            propagate: propagates(&given)?,
            certificate: of_traces("CERTIFICATE").iter().find_map(|name| given(name)),
        }))
    }
}

/// The queue allocates memory for its full length at the start.
const LONGEST_QUEUE: usize = 1 << 16;

/// A day in milliseconds, the unit of the variables.
const DAY: u64 = 24 * 3600 * 1000;

/// The names of a variable of the exporter. The one for traces takes precedence.
fn of_traces(part: &str) -> [String; 2] {
    ["OTEL_EXPORTER_OTLP_TRACES_", "OTEL_EXPORTER_OTLP_"].map(|prefix| format!("{prefix}{part}"))
}

/// The variable for traces is a whole URL, and the general one is a base.
fn endpoint(given: &impl Fn(&str) -> Option<String>) -> Option<Result<String, Error>> {
    let [of_traces, of_all] = of_traces("ENDPOINT");
    let (name, url) = match (given(&of_traces), given(&of_all)) {
        (Some(url), _) => (of_traces, url.trim().to_owned()),
        (None, Some(base)) => (of_all, format!("{}/v1/traces", base.trim().trim_end_matches('/'))),
        (None, None) => return None,
    };
    // The value is not repeated, because it may contain a password.
    Some(match url.parse::<Uri>() {
        Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            Err(Error::new(format!(
                "{name} has a user name or a password: set OTEL_EXPORTER_OTLP_HEADERS instead"
            )))
        }
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => Ok(url),
        _ => Err(Error::new(format!(
            "{name} is not a URL of http or https: set one such as http://127.0.0.1:4318"
        ))),
    })
}

fn sampler(given: &impl Fn(&str) -> Option<String>) -> Result<Sampler, Error> {
    const NAMES: [&str; 6] = [
        "parentbased_always_on",
        "parentbased_always_off",
        "parentbased_traceidratio",
        "always_on",
        "always_off",
        "traceidratio",
    ];
    let name = one_of(given, "OTEL_TRACES_SAMPLER", &NAMES)?.unwrap_or(NAMES[0]);
    let (is_child, own) = match name.strip_prefix("parentbased_") {
        Some(own) => (true, own),
        None => (false, name),
    };
    let own = match own {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        _ => {
            let text = given("OTEL_TRACES_SAMPLER_ARG").unwrap_or_else(|| "1".to_owned());
            let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            let ratio = ratio.ok_or_else(|| {
                Error::new(format!(
                    "invalid OTEL_TRACES_SAMPLER_ARG {:?}: give a number from 0 to 1, the part of \
                     the traces that are sampled",
                    redact::value(&text)
                ))
            })?;
            Sampler::TraceIdRatioBased(ratio)
        }
    };
    Ok(if is_child { Sampler::ParentBased(Box::new(own)) } else { own })
}

/// Reads whether `tracecontext` is on. The gateway never reads baggage, even if this variable names
/// it. The header is not forwarded, unless `--forward-header` names it.
fn propagates(given: &impl Fn(&str) -> Option<String>) -> Result<bool, Error> {
    const NAME: &str = "OTEL_PROPAGATORS";
    let Some(list) = given(NAME) else { return Ok(true) };
    let mut propagates = false;
    for name in list.split(',') {
        match name.trim() {
            "tracecontext" => propagates = true,
            "baggage" | "none" => {}
            _ => return Err(not_one_of(NAME, &list, &["tracecontext", "baggage", "none"])),
        }
    }
    Ok(propagates)
}

/// The value of the variable, if it is set, which must be one of `values`.
fn one_of<'a>(
    given: &impl Fn(&str) -> Option<String>,
    name: &str,
    values: &[&'a str],
) -> Result<Option<&'a str>, Error> {
    let Some(text) = given(name) else { return Ok(None) };
    let value = values.iter().find(|value| text.trim().eq_ignore_ascii_case(value));
    value.map(|value| Some(*value)).ok_or_else(|| not_one_of(name, &text, values))
}

fn not_one_of(name: &str, text: &str, values: &[&str]) -> Error {
    let (shown, known) = (redact::value(text), values.join(", "));
    Error::new(format!("invalid {name} {shown:?}: use one of {known}"))
}

fn number(
    given: &impl Fn(&str) -> Option<String>,
    name: &str,
    range: RangeInclusive<u64>,
) -> Result<Option<u64>, Error> {
    let Some(text) = given(name) else { return Ok(None) };
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    number.map(Some).ok_or_else(|| {
        let (least, most) = range.into_inner();
        Error::new(format!("invalid {name}: give a whole number from {least} to {most}"))
    })
}

/// Reads `key=value,key=value` with percent-encoded values, which may be secrets.
fn pairs(
    given: &impl Fn(&str) -> Option<String>,
    name: &str,
    mut fit: impl FnMut(&str, &str) -> bool,
) -> Result<(), Error> {
    let text = given(name).unwrap_or_default();
    let is_fit = |pair: &str| {
        pair.trim().is_empty()
            || pair.split_once('=').is_some_and(|(key, value)| fit(key.trim(), value.trim()))
    };
    if text.split(',').all(is_fit) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{name} is not a list: give key=value,key=value, with all other characters \
         percent-encoded"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");

    fn read(variables: &[(&str, &str)]) -> Result<Option<OtelSettings>, Error> {
        OtelSettings::read(|name| {
            let variable = variables.iter().rev().find(|(set, _)| *set == name);
            variable.map(|(_, value)| (*value).to_owned())
        })
    }

    fn on(variables: &[(&str, &str)]) -> OtelSettings {
        read(&[&[HERE], variables].concat()).unwrap().unwrap()
    }

    #[test]
    fn nothing_is_traced_without_an_endpoint() {
        for variables in [
            &[][..],
            &[(HERE.0, "")],
            &[(HERE.0, " ")],
            &[("OTEL_TRACES_SAMPLER", "nonsense")],
            &[HERE, ("OTEL_SDK_DISABLED", "TRUE")],
            &[HERE, ("OTEL_TRACES_EXPORTER", "none")],
            &[(HERE.0, "nonsense"), ("OTEL_SDK_DISABLED", "true")],
        ] {
            assert!(read(variables).unwrap().is_none(), "{variables:?}");
        }
        let settings = on(&[("OTEL_SDK_DISABLED", "no"), ("OTEL_TRACES_EXPORTER", "otlp")]);
        assert_eq!(settings.timeout, Duration::from_secs(10));
        assert_eq!((settings.queue, settings.batch, settings.attributes), (2048, 512, 128));
        assert_eq!(settings.delay, Duration::from_secs(5));
        assert!(settings.propagate);
        assert_eq!(settings.certificate, None);
    }

    #[test]
    fn the_endpoint_for_traces_is_a_whole_url_and_the_general_one_a_base() {
        const TRACES: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        for (variables, expected) in [
            (&[][..], "http://127.0.0.1:4318/v1/traces"),
            (&[(HERE.0, "https://a.b/otlp/")], "https://a.b/otlp/v1/traces"),
            (&[(TRACES, "http://c.d:1/e")], "http://c.d:1/e"),
            (&[(TRACES, "http://c.d")], "http://c.d"),
            (&[(TRACES, "")], "http://127.0.0.1:4318/v1/traces"),
        ] {
            assert_eq!(on(variables).endpoint, expected);
        }
    }

    #[test]
    fn the_sampler_is_the_one_that_is_named() {
        let ratio = ("OTEL_TRACES_SAMPLER_ARG", "0.25");
        for (name, expected) in [
            ("", "ParentBased(AlwaysOn)"),
            ("parentbased_always_on", "ParentBased(AlwaysOn)"),
            ("parentbased_always_off", "ParentBased(AlwaysOff)"),
            ("parentbased_traceidratio", "ParentBased(TraceIdRatioBased(0.25))"),
            ("always_on", "AlwaysOn"),
            ("always_off", "AlwaysOff"),
            ("TraceIdRatio", "TraceIdRatioBased(0.25)"),
        ] {
            let sampler = on(&[("OTEL_TRACES_SAMPLER", name), ratio]).sampler;
            assert_eq!(format!("{sampler:?}"), expected);
        }
        let sampler = on(&[("OTEL_TRACES_SAMPLER", "traceidratio")]).sampler;
        assert_eq!(format!("{sampler:?}"), "TraceIdRatioBased(1.0)");
    }

    #[test]
    fn a_value_that_is_not_understood_is_an_error_without_secrets() {
        for (name, value, expected) in [
            (HERE.0, "127.0.0.1:4318", "is not a URL"),
            (HERE.0, "grpc://127.0.0.1:4317", "is not a URL"),
            (HERE.0, "http://me:SECRET@127.0.0.1", "set OTEL_EXPORTER_OTLP_HEADERS instead"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "SECRET://", "is not a URL"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "use one of http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "use one of http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip", "use one of none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "SECRET", "is not a list"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a b=SECRET", "is not a list"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=SECRET%0d%0Ab: c", "is not a list"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many", "a whole number from 0 to 1000000"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "a whole number from 1 to "),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "SECRET", "is not supported"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "a whole number from 1 to 86400000"),
            ("OTEL_TRACES_EXPORTER", "zipkin", "use one of otlp, none"),
            ("OTEL_TRACES_SAMPLER", "jaeger_remote", "use one of parentbased_always_on, "),
            ("OTEL_PROPAGATORS", "b3", "use one of tracecontext, baggage, none"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,SECRET", "is not a list"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "a whole number from 1 to "),
            ("OTEL_BSP_SCHEDULE_DELAY", "9223372036854775808", "1 to 86400000"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "18446744073709551615", "1 to 86400000"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1", "a whole number from 1 to 86400000"),
        ] {
            let failure = read(&[HERE, (name, value)]).unwrap_err();
            let text = failure.to_string();
            assert!(text.contains(name) && text.contains(expected), "{text}");
            assert!(!text.contains("SECRET"), "{text}");
            assert_eq!(failure.exit_code(), 2);
        }
        for ratio in ["2", "-0.1", "NaN", "half"] {
            let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
            let failure = read(&[HERE, sampler, ("OTEL_TRACES_SAMPLER_ARG", ratio)]).unwrap_err();
            assert!(failure.to_string().contains("a number from 0 to 1"), "{failure}");
        }
    }

    #[test]
    fn valid_values_are_accepted() {
        let settings = on(&[
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x, a=b,"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,k8s.pod.name=p"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", ""),
            ("OTEL_BSP_SCHEDULE_DELAY", " 20 "),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "64\n"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "7"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "ca.pem"),
            ("OTEL_PROPAGATORS", "baggage, none"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "18446744073709551615"),
        ]);
        assert_eq!(settings.timeout, Duration::from_secs(2));
        assert_eq!(settings.headers["authorization"], "Bearer x");
        assert_eq!((&settings.headers["a"], settings.headers.len()), (&"b".parse().unwrap(), 2));
        assert!(!format!("{settings:?}").contains("Bearer"));
        assert_eq!((settings.batch, settings.attributes), (64, 7));
        assert_eq!(settings.delay, Duration::from_millis(20));
        assert_eq!(settings.certificate.as_deref(), Some("ca.pem"));
        assert_eq!(settings.queue, LONGEST_QUEUE);
        assert!(!settings.propagate);
        assert!(on(&[("OTEL_PROPAGATORS", "tracecontext,baggage")]).propagate);
    }
}
