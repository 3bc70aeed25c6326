//! The two formats of the metrics, and the choice between them.
//!
//! prometheus-client writes only OpenMetrics. The older text format 0.0.4, which every scraper
//! knows and a browser shows, differs in the lines about a family. It has no units, no end marker
//! and no `info`, and the family of a counter has the name of its samples.

use std::{collections::HashMap, fmt::Write as _};

use http::{HeaderMap, HeaderValue, header};

/// A format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Version 0.0.4.
    Text,
    OpenMetrics,
}

impl Form {
    /// The format that `Accept` prefers. The older one is used if the header states no preference
    /// or accepts neither.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).filter_map(Self::of_range);
        // The first of equal preferences wins.
        let best = ranges.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map_or(Self::Text, |(form, _)| form)
    }

    /// The format for a range of media types, and its quality.
    fn of_range(range: &str) -> Option<(Self, f32)> {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next()?.to_ascii_lowercase();
        let (mut quality, mut version) = (1.0, None);
        for parameter in parts {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "q" => {
                    quality =
                        value.trim().parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q))?
                }
                "version" => version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        let form = match (kind.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) => Self::OpenMetrics,
            ("text/plain", None | Some("0.0.4")) | ("text/*" | "*/*", _) => Self::Text,
            _ => return None,
        };
        (quality > 0.0).then_some((form, quality))
    }

    pub(crate) const fn content_type(self) -> HeaderValue {
        match self {
            Self::Text => HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            Self::OpenMetrics => HeaderValue::from_static(
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            ),
        }
    }

    /// Converts the OpenMetrics text of prometheus-client to this format.
    pub(super) fn of(self, open_metrics: String) -> String {
        match self {
            Self::OpenMetrics => open_metrics,
            Self::Text => text(&open_metrics),
        }
    }
}

fn text(open_metrics: &str) -> String {
    let kinds: HashMap<&str, &str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut text = String::with_capacity(open_metrics.len() + 1024);
    for line in open_metrics.lines() {
        let Some(about) = line.strip_prefix("# ") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let Some((what @ ("HELP" | "TYPE"), rest)) = about.split_once(' ') else { continue };
        let Some((name, said)) = rest.split_once(' ') else { continue };
        let (suffix, kind) = match kinds.get(name).copied() {
            Some("counter") => ("_total", "counter"),
            Some("info") => ("_info", "gauge"),
            Some("unknown") => ("", "untyped"),
            kind => ("", kind.unwrap_or("untyped")),
        };
        let said = if what == "TYPE" { kind } else { said };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "# {what} {name}{suffix} {said}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scraper_gets_its_preferred_format_and_a_browser_gets_text() {
        use Form::{OpenMetrics, Text};
        for (accept, form) in [
            (None, Text),
            (Some(""), Text),
            (Some("*/*"), Text),
            (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Text),
            (Some("text/plain;version=0.0.4"), Text),
            (Some("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4"), Text),
            (Some("application/openmetrics-text;q=0"), Text),
            (Some("application/openmetrics-text;version=2.0.0,*/*;q=0.1"), Text),
            (Some("application/openmetrics-text;q=nonsense"), Text),
            (Some("application/json"), Text),
            (Some("application/openmetrics-text"), OpenMetrics),
            (
                Some("Application/OpenMetrics-Text; Version=\"1.0.0\"; Q=0.2, */*; q=0.1"),
                OpenMetrics,
            ),
            (Some("application/openmetrics-text,text/plain"), OpenMetrics),
            (Some("text/plain,application/openmetrics-text"), Text),
            (
                // Prometheus 3.
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                     application/openmetrics-text;version=0.0.1;q=0.5,\
                     text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                OpenMetrics,
            ),
            (
                // Protobuf, which is not supported, has the highest quality.
                Some(
                    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
                     encoding=delimited;q=0.7,application/openmetrics-text;version=1.0.0;q=0.6,\
                     text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ),
                OpenMetrics,
            ),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(Form::accepted(&headers), form, "{accept:?}");
        }
    }

    #[test]
    fn the_older_format_names_families_after_their_samples_and_has_no_info() {
        let open_metrics = "\
# HELP a_build What runs.
# TYPE a_build info
a_build_info{version=\"1\"} 1
# HELP a_requests Requests.
# TYPE a_requests counter
a_requests_total{path=\"# TYPE x counter\"} 1
# HELP a_seconds Time.
# TYPE a_seconds histogram
# UNIT a_seconds seconds
a_seconds_sum 1.5
a_seconds_count 1
a_seconds_bucket{le=\"+Inf\"} 1
# EOF
";
        let text = "\
# HELP a_build_info What runs.
# TYPE a_build_info gauge
a_build_info{version=\"1\"} 1
# HELP a_requests_total Requests.
# TYPE a_requests_total counter
a_requests_total{path=\"# TYPE x counter\"} 1
# HELP a_seconds Time.
# TYPE a_seconds histogram
a_seconds_sum 1.5
a_seconds_count 1
a_seconds_bucket{le=\"+Inf\"} 1
";
        assert_eq!(Form::Text.of(open_metrics.to_owned()), text);
        assert_eq!(Form::OpenMetrics.of(open_metrics.to_owned()), open_metrics);
    }
}
