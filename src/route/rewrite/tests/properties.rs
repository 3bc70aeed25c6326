//! The properties of any URI.

use proptest::prelude::*;

use super::*;
use crate::route::{path::hex, query::fully_decoded};

/// Reads a path like the most lenient server: decodes it until nothing changes, treats backslashes
/// as slashes, and resolves empty and dot segments. Returns `None` if it climbs above the root.
fn as_the_worst_server_reads(path: &str) -> Option<Vec<String>> {
    let mut bytes = path.as_bytes().to_vec();
    loop {
        let mut decoded = Vec::new();
        let mut rest = &bytes[..];
        while let [byte, after @ ..] = rest {
            (rest, decoded) = match rest {
                [b'%', high, low, after @ ..] if hex(*high, *low).is_some() => {
                    decoded.extend(hex(*high, *low));
                    (after, decoded)
                }
                _ => {
                    decoded.push(if *byte == b'\\' { b'/' } else { *byte });
                    (after, decoded)
                }
            };
        }
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let mut segments = Vec::new();
    for segment in String::from_utf8_lossy(&bytes).split('/') {
        match segment.split(';').next().unwrap_or_default() {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            _ => segments.push(segment.to_owned()),
        }
    }
    Some(segments)
}

fn hostile_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "//",
        "v1",
        "/v1",
        "chat",
        "completions",
        "/chat/completions",
        "/embeddings",
        "responses",
        "/responses/",
        "/invoke/",
        "invoke",
        "r1",
        ".",
        "..",
        "...",
        "%2e",
        "%2E",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "%25",
        "%252e",
        "%00",
        "%0a",
        "%7f",
        "%",
        "%2",
        "%zz",
        ";",
        "..;",
        "@",
        ":",
        "*",
        "~",
        "\u{fc}",
        "%c0%ae",
        "projects",
        "endpoints",
        "openapi",
        "/projects/q/locations/us-east5",
        "/publishers/",
        "/publishers/google/models/",
        "/publishers/openai/v1/responses",
        "/models/",
        "/v1beta/models/",
        "/endpoints/",
        "/messages",
        "google",
        "m",
        "123",
        "claude@1",
        ":predict",
        ":rawPredict",
        ":generateContent",
        ":delete",
        "%3A",
        "%3apredict",
        "%40",
        "evil.com",
        "https://evil.com",
        "{",
        "\"",
        " ",
    ]);
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

fn hostile_query() -> impl Strategy<Value = Option<String>> {
    let piece = prop::sample::select(vec![
        "key=SECRET",
        "KEY=SECRET",
        "%6bey=SECRET",
        "$key=SECRET",
        "%2524key=SECRET",
        "a=1;key=SECRET",
        "+userProject=SECRET",
        "access_token=SECRET",
        "oauth_token=SECRET",
        "o%61uth_token=SECRET",
        "a=b",
        "alt=sse",
        "",
        "monkey=1",
        "x=%2e%2e/",
        "?",
        "k",
        "keys=1",
        "%",
        "=",
    ]);
    prop::option::of(prop::collection::vec(piece, 0..6).prop_map(|pairs| pairs.join("&")))
}

fn some_upstream() -> impl Strategy<Value = Upstream> {
    let builders = vec![
        at("us-central1"),
        at("global").path_prefix("/openai/v1"),
        at("eu").path_prefix(""),
        deployed(),
        dedicated("1.us-central1-2.prediction.vertexai.goog"),
        private("http://10.0.0.7:8080"),
        base_url("http://127.0.0.1:9000"),
        base_url("https://host/a/b"),
        at("us-central1").allow_location("us-east5").allow_project("q"),
        endpoint(Endpoint::Publisher { name: "google".into() }),
        endpoint(Endpoint::Publisher { name: "openai".into() }).allow_project("q"),
        base_url("https://host/a/v1/projects/p/locations/l/endpoints/openapi"),
    ];
    (prop::sample::select(builders), any::<bool>())
        .prop_map(|(builder, pass)| builder.pass_through(pass).build().unwrap())
}

/// Whether `path` is exactly one call of a model, of the own endpoint or of a publisher's Responses
/// below this location, however a server reads it.
fn is_a_call(upstream: &Upstream, before: &str, location: &str, path: &str) -> bool {
    let versions = ["/v1", "/v1beta1", ""].map(|version| [before, version, location].concat());
    let Some(rest) = versions.iter().find_map(|base| path.strip_prefix(base)) else { return false };
    let segments: Vec<&str> = rest.split('/').collect();
    let letters = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let allowed = |method: &str| crate::route::DEFAULT_MODEL_METHODS.contains(&method);
    match segments[..] {
        ["", "publishers", publisher, "models", call] => {
            let Some((model, method)) = call.split_once(':') else { return false };
            letters(publisher, "-_.") && letters(model, "-_.@") && allowed(method)
        }
        ["", "publishers", publisher, "v1", "responses"] => letters(publisher, "-_."),
        ["", "publishers", publisher, "v1", "responses", _] => {
            let base = [before, "/v1", location].concat();
            let parts = as_the_worst_server_reads(path).unwrap_or_default();
            letters(publisher, "-_.")
                && parts.len() >= as_the_worst_server_reads(&base).unwrap().len() + 5
        }
        ["", "endpoints", call] => {
            let Some((id, method)) = call.split_once(':') else { return false };
            upstream.own_endpoint() == Some(id) && allowed(method)
        }
        _ => false,
    }
}

fn holds(upstream: &Upstream, uri: &Uri) -> Result<(), TestCaseError> {
    let Ok(found) = rewrite(upstream, uri) else { return Ok(()) };
    if let Some(named) = ModelPath::parse(uri.path(), upstream.prefix())
        && let upstream = upstream.at_place_of(&named)
        && let Some(place) = upstream.place()
    {
        prop_assert_eq!(found.authority(), upstream.uri().authority());
        let is_one = is_a_call(upstream, &place.before, &place.location, found.path());
        prop_assert!(is_one, "{} of {} at {:?}", found, uri, upstream);
        prop_assert!(!found.to_string().contains("SECRET"), "{}", found);
        return Ok(());
    }
    prop_assert_eq!(found.scheme(), upstream.uri().scheme());
    prop_assert_eq!(found.authority(), upstream.uri().authority());
    // No path that is passed through calls a method that is not let through.
    if !found.path().contains("/invoke/")
        && let Some((_, method)) = found.path().rsplit_once(':')
        && !found.path().contains("/responses/")
    {
        prop_assert!(upstream.model_methods().have(method), "{}", found);
    }
    prop_assert!(found.path().starts_with(&format!("{}/", upstream.base_path())), "{}", found);

    let base = as_the_worst_server_reads(upstream.base_path()).unwrap();
    let path = as_the_worst_server_reads(found.path());
    prop_assert!(
        path.as_ref().is_some_and(|path| path.starts_with(&base) && path.len() > base.len()),
        "{} leaves {:?}",
        found,
        base
    );

    let came: Vec<&str> = uri.query().unwrap_or_default().split('&').collect();
    let mut left = came.iter();
    for pair in found.query().unwrap_or_default().split('&') {
        prop_assert!(pair.is_empty() || left.any(|came| *came == pair), "{} of {}", pair, uri);
    }
    prop_assert!(!found.to_string().contains("SECRET"), "{}", found);
    prop_assert_eq!(&found.to_string().parse::<Uri>().unwrap(), &found);
    Ok(())
}

/// The expected result of [`fully_decoded`], by pass after pass until nothing changes. That takes
/// quadratic time for a text that is encoded again and again.
fn decoded_pass_by_pass(text: &[u8]) -> Vec<u8> {
    let (mut next, mut rest) = (Vec::new(), text);
    while let [byte, after @ ..] = rest {
        (rest, _) = match rest {
            [b'%', high, low, after @ ..] if let Some(byte) = hex(*high, *low) => {
                (after, next.push(byte))
            }
            _ => (after, next.push(*byte)),
        };
    }
    if next.len() == text.len() { next } else { decoded_pass_by_pass(&next) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_name_is_decoded_until_nothing_changes(text in "[%2356bB5z]{0,40}") {
        prop_assert_eq!(fully_decoded(&text), decoded_pass_by_pass(text.as_bytes()));
    }

    #[test]
    fn no_path_leaves_the_base_and_no_query_gains_anything_or_keeps_a_secret(
        upstream in some_upstream(),
        origin in prop::sample::select(vec!["", "https://evil.com", "http://u:p@h:1"]),
        method in prop::sample::select(vec![
            "", "/v1/responses/", "/invoke/", "/chat/completions", "/", "/v1beta/models/",
            "/v1/publishers/google/models/", "/v1/projects/q/locations/us-east5", "/v1/endpoints/",
            "/v1/publishers/openai/v1/responses/",
        ]),
        path in hostile_path(),
        query in hostile_query(),
    ) {
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        if let Ok(uri) = format!("{origin}{method}{path}{query}").parse::<Uri>() {
            holds(&upstream, &uri)?;
        }
    }

    #[test]
    fn no_bytes_that_make_a_uri_panic_or_leave_the_base(
        upstream in some_upstream(),
        method in prop::sample::select(vec!["", "/", "/v1/", "/responses/"]),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        if let Ok(uri) = Uri::from_maybe_shared([method.as_bytes(), &bytes].concat()) {
            holds(&upstream, &uri)?;
        }
    }

    #[test]
    fn no_printable_text_that_makes_a_uri_leaves_the_base(
        upstream in some_upstream(),
        text in "(/v1)?/(responses/|invoke/|models/|publishers/google/models/|endpoints/123)?[!-~]{0,30}(:predict)?",
    ) {
        if let Ok(uri) = text.parse::<Uri>() {
            holds(&upstream, &uri)?;
        }
    }
}
