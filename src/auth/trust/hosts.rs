//! The host names of Google's APIs.
//!
//! The forms of Vertex AI's own host names are those in Google's documentation and client
//! libraries. Other labels under the same domains belong to other services, and other domains to
//! other owners.

/// The domain of Google's public cloud.
const GOOGLE: &str = "googleapis.com";
/// The maximum length of a domain name: RFC 1035 §2.3.4.
const LONGEST_DOMAIN: usize = 253;

/// Whether it is `aiplatform` or `{region}-aiplatform`, in lower case and without a port. Almost
/// every request has such a host, and this recognizes it without parsing. [`is_vertex`] accepts
/// these too.
pub(super) fn is_usual(authority: &str) -> bool {
    match authority.strip_suffix("aiplatform.googleapis.com") {
        Some("") => true,
        Some(region) => region.strip_suffix('-').is_some_and(is_label),
        None => false,
    }
}

/// Whether the host is one of Vertex AI, in Google's public cloud or in one of these universes.
pub(super) fn is_vertex(host: &str, universes: &[String]) -> bool {
    if let Some(name) = below(host, universes) {
        let (service, place) = name.split_once('.').unwrap_or((name, ""));
        let regional = |service: &str| {
            strip_suffix(service, "-aiplatform").map_or(is(service, "aiplatform"), is_label)
        };
        match place.rsplit_once('.').unwrap_or(("", place)) {
            // {region}-aiplatform, aiplatform; the same under mtls
            ("", "") => regional(service),
            ("", last) if is(last, "mtls") => regional(service),
            // aiplatform.{us,eu}.rep
            (location, last) if is(last, "rep") => is(service, "aiplatform") && is_label(location),
            // Private Service Connect for Google APIs: {region-}aiplatform-{name}.p
            ("", last) if is(last, "p") => is_label(service) && is_private_service(service),
            _ => false,
        }
    } else if let Some(name) = strip_suffix(host, ".prediction.vertexai.goog") {
        // {endpoint}.{region}-{uid}
        name.split_once('.').is_some_and(|(endpoint, place)| is_label(endpoint) && is_label(place))
    } else if let Some(name) = strip_suffix(host, ".prediction.p.vertexai.goog") {
        is_label(name)
    } else {
        false
    }
}

/// Whether the host is one of Google's APIs: `storage`, `us-central1-aiplatform`,
/// `pubsub.us-east1.rep`, `run.mtls`, `iamcredentials-{name}.p` and any other name below the domain,
/// which Google's front ends alone serve. The domain itself serves no API.
pub(super) fn is_google_api(host: &str, universes: &[String]) -> bool {
    host.len() <= LONGEST_DOMAIN
        && (below(host, universes).is_some_and(|name| name.split('.').all(is_label))
            || is_vertex(host, universes))
}

/// Returns the labels of the host below Google's domain or below that of a universe.
fn below<'a>(host: &'a str, universes: &[String]) -> Option<&'a str> {
    let universes = universes.iter().map(String::as_str);
    std::iter::once(GOOGLE)
        .chain(universes)
        .find_map(|domain| strip_suffix(host, domain)?.strip_suffix('.'))
}

/// Whether the text can be the domain of a universe. A domain of one label would trust the hosts of
/// everyone in it, and an address has no hosts.
pub(super) fn is_universe_domain(text: &str) -> bool {
    let is_word = |label: &str| {
        label.len() <= 63 && is_label(label) && !label.starts_with('-') && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= LONGEST_DOMAIN
        && text.contains('.')
        && text.split('.').all(is_word)
        && last.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn is_private_service(service: &str) -> bool {
    let service = service.to_ascii_lowercase();
    let name = service.strip_prefix("aiplatform-");
    name.or_else(|| service.split_once("-aiplatform-").map(|(_, name)| name))
        .is_some_and(|name| !name.is_empty())
}

pub(super) fn is(text: &str, lower: &str) -> bool {
    text.eq_ignore_ascii_case(lower)
}

fn strip_suffix<'a>(text: &'a str, lower: &str) -> Option<&'a str> {
    let (rest, suffix) = text.split_at_checked(text.len().checked_sub(lower.len())?)?;
    is(suffix, lower).then_some(rest)
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| IN_LABEL[usize::from(byte)])
}

/// The bytes that a label may have. The label of a region is looked at for each request: by callgrind,
/// [`is_usual`] takes 101 instructions with this table and 151 with comparisons.
const IN_LABEL: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric() || matches!(byte as u8, b'-' | b'_');
        byte += 1;
    }
    table
};
