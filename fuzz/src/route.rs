//! `route::rewrite`: no URI leaves the origin, the project or the endpoint of its upstream.

use std::sync::LazyLock;

use http::{Method, Uri};
use tower_vertex::route::{
    Endpoint, ModelPath, Upstream, UpstreamBuilder, check_method_for_path, rewrite, sub_path,
};

use crate::input::Input;

/// An upstream, and whether the URIs that it makes are paths that it accepts itself. The URIs of a base URL
/// are not: its path is that of another server.
static UPSTREAMS: LazyLock<Vec<(Upstream, bool)>> = LazyLock::new(|| {
    let at = |location: &str| Upstream::builder().project("p").location(location);
    let of = |endpoint| at("us-central1").endpoint(endpoint);
    let base = |url: &str| Upstream::builder().endpoint(Endpoint::BaseUrl { url: url.into() });
    let id = || "123".to_owned();
    let dns = "1.us-central1-2.prediction.vertexai.goog".to_owned();
    let builders: [(UpstreamBuilder, bool); 13] = [
        (at("us-central1"), true),
        (at("global").path_prefix("/openai/v1"), true),
        (at("eu").path_prefix(""), true),
        (of(Endpoint::Deployed { id: id() }), true),
        (of(Endpoint::Dedicated { id: id(), dns }), true),
        (of(Endpoint::Private { id: id(), address: "http://10.0.0.7:8080".into() }), true),
        (at("us-central1").allow_location("us-east5").allow_project("q"), true),
        (of(Endpoint::Publisher { name: "google".into() }), true),
        (of(Endpoint::Publisher { name: "openai".into() }).allow_project("q"), true),
        (base("https://host/a/v1/projects/p/locations/l/endpoints/openapi"), false),
        (base("http://127.0.0.1:9000"), false),
        (base("https://host/a/b"), false),
        (at("us-central1").forward_query("mine").path_prefix("/v1beta1"), true),
    ];
    let both = |(builder, is_own): (UpstreamBuilder, bool)| {
        [false, true].map(|pass| (builder.clone().pass_through(pass).build().unwrap(), is_own))
    };
    builders.into_iter().flat_map(both).collect()
});

/// Controls: the upstream. Text: a URI.
pub fn run(data: &[u8]) {
    let Some(mut input) = Input::of(data) else { return };
    let (upstream, is_own) = &UPSTREAMS[input.choose(UPSTREAMS.len())];
    let Ok(uri) = Uri::try_from(input.text) else { return };
    let path = uri.path();
    let _ = sub_path(upstream, path);
    for method in [Method::GET, Method::POST] {
        let _ = check_method_for_path(&method, path, "/v1");
    }
    let Ok(found) = rewrite(upstream, &uri) else { return };
    check(upstream, &uri, &found);
    if *is_own {
        let again = rewrite(upstream, &found);
        assert!(again.as_ref().is_ok_and(|again| *again == found), "{found}: {again:?}");
    }
}

fn check(upstream: &Upstream, uri: &Uri, found: &Uri) {
    let named = ModelPath::parse(uri.path(), "/v1");
    let at = named.map_or(upstream, |named| upstream.at_place_of(&named));
    // The place that a path names counts only for the path of a model.
    let is_at = |at: &Upstream| {
        found.scheme() == at.uri().scheme()
            && found.authority() == at.uri().authority()
            && is_below(at, found.path())
    };
    assert!(is_at(at) || is_at(upstream), "{found} leaves {at}");

    // No server reads another number of segments, however it decodes them.
    let read = as_the_worst_server_reads(found.path());
    let plain = found.path().split('/').filter(|segment| !segment.is_empty()).count();
    assert!(read.is_some_and(|read| read.len() == plain), "{found} can be read as another path");
    assert!(!found.path().contains("//"), "{found}");

    let mut came = uri.query().unwrap_or_default().split('&');
    for pair in found.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        assert!(came.any(|came| came == pair), "{pair} is not in {uri}");
        check_pair(pair);
    }
    assert_eq!(&found.to_string().parse::<Uri>().unwrap(), found);
}

/// Whether the path is one below the base of the upstream, or one of a model or of the own endpoint in its
/// project and location. `path` may have either version.
fn is_below(upstream: &Upstream, path: &str) -> bool {
    let Some(read) = as_the_worst_server_reads(path) else { return false };
    let base = as_the_worst_server_reads(upstream.uri().path()).unwrap_or_default();
    if read.len() > base.len() && read.starts_with(&base) {
        return true;
    }
    let is_version = |segment: &str| matches!(segment, "v1" | "v1beta1");
    let without_version = |segments: &[String]| -> Vec<String> {
        let place = segments.iter().position(|segment| segment == "projects");
        let version = place.and_then(|place| place.checked_sub(1));
        let version = version.filter(|at| is_version(&segments[*at]));
        let kept = segments.iter().enumerate().filter(|(at, _)| Some(*at) != version);
        kept.map(|(_, segment)| segment.clone()).collect()
    };
    let (read, base) = (without_version(&read), without_version(&base));
    let Some(place) = base.iter().position(|segment| segment == "projects") else { return false };
    let (Some(place), Some(rest)) = (base.get(..place + 4), read.get(place + 4..)) else {
        return false;
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let method = |call: &str| {
        let (name, method) = call.split_once(':')?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        let fits = !name.is_empty() && name.chars().all(is_name);
        let is_known = tower_vertex::route::DEFAULT_MODEL_METHODS.contains(&method);
        (fits && is_known).then(|| name.to_owned())
    };
    let is_own = match rest[..] {
        ["publishers", _, "models", call] => method(call).is_some(),
        ["publishers", _, "v1", "responses"] | ["publishers", _, "v1", "responses", _] => true,
        ["endpoints", call] => {
            method(call).is_some_and(|id| base.last().is_some_and(|own| *own == id))
        }
        _ => false,
    };
    read.starts_with(place) && is_own
}

/// Names of query parameters that are credentials, or that change what Google's front end does.
const OF_GOOGLE: [&str; 8] = [
    "key",
    "access_token",
    "oauth_token",
    "bearer_token",
    "callback",
    "fields",
    "userproject",
    "trace",
];

/// A server may split a pair at a semicolon, and may decode a name before it reads it.
fn check_pair(pair: &str) {
    if pair.contains("alt=json") && pair.contains("enum-encoding") {
        return;
    }
    for pair in pair.split(';') {
        let name = decoded(pair.split('=').next().unwrap_or_default().as_bytes());
        for name in name.split(|byte| matches!(byte, b'&' | b';' | b'=')) {
            let name = String::from_utf8_lossy(name).to_lowercase();
            let name = name.trim_matches(|c: char| c <= ' ' || c == '+' || c == '\u{7f}');
            assert!(!OF_GOOGLE.contains(&name) && !name.starts_with('$'), "{pair:?}");
        }
    }
}

/// Reads a path like the most lenient server: it decodes until nothing changes, takes backslashes for
/// slashes, ignores parameters of segments, and resolves empty and dot segments. `None` if that climbs
/// above the root.
fn as_the_worst_server_reads(path: &str) -> Option<Vec<String>> {
    let bytes: Vec<u8> = decoded(path.as_bytes());
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments = Vec::new();
    for segment in text.split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            segment => segments.push(segment.to_owned()),
        }
    }
    Some(segments)
}

/// The text, decoded again and again until nothing changes.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    for byte in text {
        decoded.push(*byte);
        while let [.., b'%', high, low] = decoded[..]
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            decoded.truncate(decoded.len() - 3);
            decoded.push(u8::try_from(high * 16 + low).unwrap_or_default());
        }
    }
    decoded
}
