//! The origins of upstreams: the scheme, the host and the port of a setting.

use http::uri::Scheme;

use super::{host, path::check_path};
use crate::error::ConfigError;

/// A scheme and an authority that have been checked.
pub(super) struct Origin {
    pub(super) scheme: Scheme,
    pub(super) authority: String,
}

impl Origin {
    pub(super) fn https(host: String) -> Self {
        Self { scheme: Scheme::HTTPS, authority: host }
    }

    fn new(parsed: host::Parsed<'_>) -> Self {
        let scheme = if parsed.https { Scheme::HTTPS } else { Scheme::HTTP };
        Self { scheme, authority: parsed.authority }
    }

    /// Parses an origin and nothing else; a slash at its end is accepted.
    pub(super) fn parse(setting: &'static str, value: &str) -> Result<Self, ConfigError> {
        let parsed = host::parse(setting, value)?;
        if !parsed.rest.trim_end_matches('/').is_empty() {
            return Err(ConfigError::invalid(
                setting,
                value,
                "leave the path out: it follows from the endpoint",
            ));
        }
        Ok(Self::new(parsed))
    }
}

pub(super) fn dedicated(dns: &str) -> Result<Origin, ConfigError> {
    let refuse = |advice| Err(ConfigError::invalid("endpoint dns", dns, advice));
    let parsed = host::parse("endpoint dns", dns)?;
    if !parsed.https {
        return refuse("a dedicated endpoint is reached by https only; leave the scheme out");
    }
    if parsed.has_port || !parsed.rest.trim_end_matches('/').is_empty() {
        return refuse("set only the host, as in dedicatedEndpointDns");
    }
    Ok(Origin::new(parsed))
}

/// Returns the origin of a base URL, and its path without a slash at the end.
pub(super) fn base_url(url: &str) -> Result<(Origin, String), ConfigError> {
    if url.trim().is_empty() {
        return Err(ConfigError::missing(
            "endpoint url",
            "pass a URL such as http://127.0.0.1:9000/v1",
        ));
    }
    if !url.contains("://") {
        return Err(ConfigError::invalid("endpoint url", url, "start it with https:// or http://"));
    }
    let parsed = host::parse("endpoint url", url)?;
    let path = parsed.rest.trim_end_matches('/').to_owned();
    if !path.is_empty() && check_path(&path).is_err() {
        let advice = "give a path without empty segments, dot segments and encoded slashes";
        return Err(ConfigError::invalid("endpoint url", url, advice));
    }
    Ok((Origin::new(parsed), path))
}
