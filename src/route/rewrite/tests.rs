//! The tables of cases.

mod models;
mod properties;

use super::*;
use crate::route::{ApiVersion, Endpoint, UpstreamBuilder};

fn at(location: &str) -> UpstreamBuilder {
    Upstream::builder().project("p").location(location)
}

fn endpoint(endpoint: Endpoint) -> UpstreamBuilder {
    at("us-central1").endpoint(endpoint)
}

fn deployed() -> UpstreamBuilder {
    endpoint(Endpoint::Deployed { id: "123".into() })
}

fn base_url(url: &str) -> UpstreamBuilder {
    Upstream::builder().endpoint(Endpoint::BaseUrl { url: url.into() })
}

fn dedicated(dns: &str) -> UpstreamBuilder {
    endpoint(Endpoint::Dedicated { id: "123".into(), dns: dns.into() })
}

fn private(address: &str) -> UpstreamBuilder {
    endpoint(Endpoint::Private { id: "123".into(), address: address.into() })
}

fn run(builder: &UpstreamBuilder, input: &str) -> Result<String, RouteError> {
    let upstream = builder.clone().build().unwrap();
    let uri = input.parse().unwrap_or_else(|error| panic!("{input:?}: {error}"));
    rewrite(&upstream, &uri).map(|uri| uri.to_string())
}

#[test]
fn every_location_mode_and_method_has_its_url() {
    const US: &str = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints";
    let us = |rest: &str| format!("{US}/{rest}");
    let chat = "/v1/chat/completions";
    let cases: Vec<(UpstreamBuilder, &str, String)> = vec![
        // Locations.
        (at("us-central1"), chat, us("openapi/chat/completions")),
        (at("europe-west4"), chat, "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/endpoints/openapi/chat/completions".into()),
        (at("global"), chat, "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi/chat/completions".into()),
        (at("us"), chat, "https://aiplatform.us.rep.googleapis.com/v1/projects/p/locations/us/endpoints/openapi/chat/completions".into()),
        (at("eu"), chat, "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/endpoints/openapi/chat/completions".into()),
        // Versions.
        (at("global").api_version(ApiVersion::V1Beta1), chat, "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/endpoints/openapi/chat/completions".into()),
        (at("eu").api_version(ApiVersion::V1Beta1), "/embeddings", "https://aiplatform.eu.rep.googleapis.com/v1beta1/projects/p/locations/eu/endpoints/openapi/embeddings".into()),
        (deployed().api_version(ApiVersion::V1Beta1), chat, "https://us-central1-aiplatform.googleapis.com/v1beta1/projects/p/locations/us-central1/endpoints/123/chat/completions".into()),
        // Universes.
        (at("u-north1").universe_domain("apis.example.cloud"), chat, "https://u-north1-aiplatform.apis.example.cloud/v1/projects/p/locations/u-north1/endpoints/openapi/chat/completions".into()),
        (at("global").universe_domain("apis.example.cloud"), chat, "https://aiplatform.apis.example.cloud/v1/projects/p/locations/global/endpoints/openapi/chat/completions".into()),
        (at("eu").universe_domain("apis.example.cloud"), chat, "https://aiplatform.eu.rep.apis.example.cloud/v1/projects/p/locations/eu/endpoints/openapi/chat/completions".into()),
        // The project of a domain.
        (at("global").project("example.com:proj"), chat, "https://aiplatform.googleapis.com/v1/projects/example.com:proj/locations/global/endpoints/openapi/chat/completions".into()),
        // Methods of `openapi`, with the prefix and without it.
        (at("us-central1"), "/chat/completions", us("openapi/chat/completions")),
        (at("us-central1"), "/v1/completions", us("openapi/completions")),
        (at("us-central1"), "/completions", us("openapi/completions")),
        (at("us-central1"), "/v1/embeddings", us("openapi/embeddings")),
        (at("us-central1"), "/embeddings", us("openapi/embeddings")),
        (at("us-central1"), "/v1/responses", us("openapi/responses")),
        (at("us-central1"), "/responses", us("openapi/responses")),
        (at("us-central1"), "/v1/responses/resp_1-2.3~4", us("openapi/responses/resp_1-2.3~4")),
        (at("us-central1"), "/responses/a%20b", us("openapi/responses/a%20b")),
        (at("us-central1"), "/responses/...", us("openapi/responses/...")),
        // Absolute URIs, whose host is ignored.
        (at("us-central1"), "https://api.openai.com/v1/chat/completions", us("openapi/chat/completions")),
        (at("us-central1"), "http://127.0.0.1:8080/chat/completions?alt=sse", us("openapi/chat/completions?alt=sse")),
        (at("us-central1"), "http://user:pw@evil.com:1/v1/embeddings", us("openapi/embeddings")),
        // Other prefixes.
        (at("us-central1").path_prefix("/openai/v1/"), "/openai/v1/embeddings", us("openapi/embeddings")),
        (at("us-central1").path_prefix("/openai/v1"), "/embeddings", us("openapi/embeddings")),
        (at("us-central1").path_prefix(""), "/embeddings", us("openapi/embeddings")),
        (at("us-central1").path_prefix("/"), "/embeddings", us("openapi/embeddings")),
        // Endpoint ids.
        (deployed(), chat, us("123/chat/completions")),
        (deployed(), "/v1/responses/r1", us("123/responses/r1")),
        (deployed(), "/v1/invoke/v1/chat/completions", us("123/invoke/v1/chat/completions")),
        (deployed(), "/invoke/predict", us("123/invoke/predict")),
        (deployed(), "/invoke/v1/models/m:generateContent?alt=sse", us("123/invoke/v1/models/m:generateContent?alt=sse")),
        (endpoint(Endpoint::Deployed { id: "mg-endpoint-0a1b_2".into() }), chat, us("mg-endpoint-0a1b_2/chat/completions")),
        (endpoint(Endpoint::Deployed { id: "openapi".into() }), "/embeddings", us("openapi/embeddings")),
        // Dedicated and private hosts.
        (dedicated("123.us-central1-9.prediction.vertexai.goog"), chat, "https://123.us-central1-9.prediction.vertexai.goog/v1/projects/p/locations/us-central1/endpoints/123/chat/completions".into()),
        (dedicated(" https://123.us-central1-9.prediction.vertexai.goog/\n"), chat, "https://123.us-central1-9.prediction.vertexai.goog/v1/projects/p/locations/us-central1/endpoints/123/chat/completions".into()),
        (dedicated("123.us-central1-9.prediction.vertexai.goog").api_version(ApiVersion::V1Beta1), "/invoke/x", "https://123.us-central1-9.prediction.vertexai.goog/v1beta1/projects/p/locations/us-central1/endpoints/123/invoke/x".into()),
        (private("http://10.0.0.7"), chat, "http://10.0.0.7/v1/projects/p/locations/us-central1/endpoints/123/chat/completions".into()),
        (private("10.0.0.7:8443"), chat, "https://10.0.0.7:8443/v1/projects/p/locations/us-central1/endpoints/123/chat/completions".into()),
        (private("https://[fd00::7]:8443/"), chat, "https://[fd00::7]:8443/v1/projects/p/locations/us-central1/endpoints/123/chat/completions".into()),
        (private("123-us-central1-456.prediction.p.vertexai.goog"), "/responses/r", "https://123-us-central1-456.prediction.p.vertexai.goog/v1/projects/p/locations/us-central1/endpoints/123/responses/r".into()),
        // Private Service Connect for Google APIs, mutual TLS, an emulator.
        (at("us-central1").origin("https://us-central1-aiplatform-psc.p.googleapis.com"), chat, "https://us-central1-aiplatform-psc.p.googleapis.com/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions".into()),
        (at("global").origin("aiplatform-psc.p.googleapis.com"), chat, "https://aiplatform-psc.p.googleapis.com/v1/projects/p/locations/global/endpoints/openapi/chat/completions".into()),
        (at("us-central1").origin("https://us-central1-aiplatform.mtls.googleapis.com/"), chat, "https://us-central1-aiplatform.mtls.googleapis.com/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions".into()),
        (dedicated("123.us-central1-9.prediction.vertexai.goog").origin("http://127.0.0.1:9000"), chat, "http://127.0.0.1:9000/v1/projects/p/locations/us-central1/endpoints/123/chat/completions".into()),
        // Base URLs.
        (base_url("http://127.0.0.1:9000/v1/projects/p/locations/l/endpoints/openapi"), chat, "http://127.0.0.1:9000/v1/projects/p/locations/l/endpoints/openapi/chat/completions".into()),
        (base_url("https://host/v1/projects/p/locations/l/endpoints/1/invoke/v1//"), "/v1/embeddings?alt", "https://host/v1/projects/p/locations/l/endpoints/1/invoke/v1/embeddings?alt".into()),
        (base_url("http://host"), chat, "http://host/chat/completions".into()),
        (base_url("http://host/"), "/invoke/a/b", "http://host/invoke/a/b".into()),
        (base_url("http://host/x"), "/v1/responses/r", "http://host/x/responses/r".into()),
        (base_url("http://host/x").origin("https://other:1"), "/v1/completions", "https://other:1/x/completions".into()),
        // A slash at the end.
        (at("us-central1"), "/v1/chat/completions/", us("openapi/chat/completions")),
        (at("us-central1"), "/embeddings/?alt=sse", us("openapi/embeddings?alt=sse")),
        (at("us-central1"), "/v1/responses/", us("openapi/responses")),
        (at("us-central1"), "/v1/responses/r1/", us("openapi/responses/r1")),
        (at("us-central1").pass_through(true), "/v1/completions/", us("openapi/completions")),
        // The full path of the endpoint.
        (at("us-central1"), "/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions", us("openapi/chat/completions")),
        (at("us-central1"), "/v1/projects/p/locations/us-central1/endpoints/openapi/responses/r1?alt=sse", us("openapi/responses/r1?alt=sse")),
        (at("us-central1"), "/v1/projects/p/locations/us-central1/endpoints/openapi/embeddings/", us("openapi/embeddings")),
        (at("us-central1"), "/v1beta1/projects/p/locations/us-central1/endpoints/openapi/embeddings", us("openapi/embeddings")),
        (at("us-central1"), "/projects/p/locations/us-central1/endpoints/openapi/embeddings", us("openapi/embeddings")),
        (at("us-central1").path_prefix("/openai"), "/v1/projects/p/locations/us-central1/endpoints/openapi/embeddings", us("openapi/embeddings")),
        (deployed(), "/v1/projects/p/locations/us-central1/endpoints/123/invoke/x", us("123/invoke/x")),
        (base_url("https://host/v1/projects/p/locations/l/endpoints/1/invoke/v1"), "/v1/projects/p/locations/l/endpoints/1/invoke/v1/chat/completions", "https://host/v1/projects/p/locations/l/endpoints/1/invoke/v1/chat/completions".into()),
        // Pass-through.
        (at("us-central1").pass_through(true), "/v1/models?a=b", us("openapi/models?a=b")),
        (at("us-central1").pass_through(true), "/images/generations", us("openapi/images/generations")),
        (at("us-central1").pass_through(true), "/v1chat/completions", us("openapi/v1chat/completions")),
        (deployed().pass_through(true), "/v1/embeddings", us("123/embeddings")),
        (deployed().pass_through(true), "/v1/responses/r/cancel?key=k&$key=k", us("123/responses/r/cancel")),
    ];
    for (builder, input, expected) in cases {
        assert_eq!(run(&builder, input).as_deref(), Ok(&*expected), "{input}, {builder:?}");
    }
}

#[test]
fn only_listed_query_parameters_are_forwarded() {
    for (query, expected) in [
        ("", ""),
        ("?", ""),
        ("?&&", ""),
        ("?alt=sse", "?alt=sse"),
        ("?alt", "?alt"),
        ("?a=b", ""),
        ("?a=b&alt=sse&c", "?alt=sse"),
        ("?alt=json&alt=sse", "?alt=json&alt=sse"),
        ("?alt=%73se", "?alt=%73se"),
        // Names must match exactly, and a pair that a server could read as two is dropped.
        ("?ALT=sse", ""),
        ("?%61lt=sse", ""),
        ("?+alt=sse", ""),
        ("?alt=sse;key=SECRET", ""),
        ("?;alt=sse", ""),
        ("?key=SECRET&alt=sse&access_token=SECRET", "?alt=sse"),
        ("?$alt=sse&%24alt=sse&$ct=text/plain&$httpMethod=DELETE&userProject=p&quotaUser=q", ""),
        ("?fields=x&callback=f&prettyPrint=true&upload_protocol=raw&$.xgafv=1", ""),
        ("?mine=1&Mine=2&m%69ne=3&mine=4;key=S", "?mine=1"),
    ] {
        for path in ["/v1/chat/completions", "/v1/responses/r"] {
            let found = run(&at("eu").forward_query("mine"), &format!("{path}{query}")).unwrap();
            let found = found.split_once(path.trim_start_matches("/v1")).unwrap().1;
            assert_eq!(found, expected, "{path}{query}");
        }
    }
}

#[test]
fn a_stored_response_has_the_query_parameters_of_openai() {
    let query = "?include[]=a&include%5B%5D=b&include=c&stream=true&starting_after=3&include_obfuscation=false";
    let found = run(&at("eu"), &format!("/v1/responses/r{query}&limit=1")).unwrap();
    assert!(found.ends_with(&format!("/responses/r{query}")), "{found}");
    let found = run(&at("eu"), &format!("/v1/responses{query}")).unwrap();
    assert!(found.ends_with("/responses"), "{found}");
}

#[test]
fn a_container_gets_its_query_without_googles_parameters() {
    let builder = deployed().forward_query("fields");
    for query in ["?a=b&a=b&&c", "?a=%2F..%2f&b=//../x", "?a=?b?", "?a=\u{fc}&b=%c3%bc", "?a;b=c"] {
        assert!(run(&builder, &format!("/invoke/x{query}")).unwrap().ends_with(query), "{query}");
    }
    for (query, expected) in [
        ("?alt=sse&fields=a", "?alt=sse&fields=a"),
        ("?monkey=1&keys=2&key2=3&a.key=4&api_key=5", "?monkey=1&keys=2&key2=3&a.key=4&api_key=5"),
        ("?a=key&b=access_token", "?a=key&b=access_token"),
        ("?k%zzey=1&ke%7=2&%=3", "?k%zzey=1&ke%7=2&%=3"),
        ("?key=S", ""),
        ("?key", ""),
        ("?KEY=S&Access_Token=S&a", "?a"),
        ("?%6bey=S&k%65%79=S&a=1", "?a=1"),
        ("?%256bey=S&%25252bkey=S&a=1", "?a=1"),
        ("?+key=S&%20key=S&key%00=S&%09key=S&a", "?a"),
        ("?a=1;key=S&b", "?b"),
        ("?a=1;%6bey=S&b", "?b"),
        ("?a%26key=S&a%3bkey=S&a%3dkey=S&b", "?b"),
        ("?$key=S&%24key=S&%2524key=S&$anything=S&+$key=S&b", "?b"),
        ("?userProject=S&quotauser=S&callback=S&prettyPrint=S&FIELDS=S&b", "?b"),
        ("?upload_protocol=S&uploadType=S&userIp=S&trace=S&b", "?b"),
    ] {
        let found = run(&builder, &format!("/v1/invoke/x{query}")).unwrap();
        assert_eq!(found.split_once("/invoke/x").unwrap().1, expected, "{query}");
    }
}

#[test]
fn the_full_path_of_another_endpoint_is_refused_with_the_one_that_is_served() {
    const OWN: &str = "projects/p/locations/us-central1/endpoints/openapi";
    for (builder, path, asked, served) in [
        (
            at("us-central1"),
            "/v1/projects/q/locations/us-central1/endpoints/openapi/embeddings",
            "projects/q/locations/us-central1/endpoints/openapi",
            Some(OWN),
        ),
        (
            at("us-central1"),
            "/v1/projects/p/locations/eu/endpoints/openapi/embeddings",
            "projects/p/locations/eu/endpoints/openapi",
            Some(OWN),
        ),
        (
            at("us-central1"),
            "/v1beta1/projects/p/locations/us-central1/endpoints/1/embeddings",
            "projects/p/locations/us-central1/endpoints/1",
            Some(OWN),
        ),
        (
            at("us-central1"),
            "/v1/projects/p/locations/us-central1/endpoints/openapiX/embeddings",
            "projects/p/locations/us-central1/endpoints/openapiX",
            Some(OWN),
        ),
        (
            at("us-central1"),
            "/v1/projects/p/locations/us-central1/publishers/google/models/m",
            "projects/p/locations/us-central1/publishers/google",
            Some(OWN),
        ),
        (at("us-central1"), "/v1/projects/p", "projects/p", Some(OWN)),
        (
            base_url("http://host/x"),
            "/v1/projects/p/locations/l/endpoints/1/embeddings",
            "projects/p/locations/l/endpoints/1",
            None,
        ),
    ] {
        let error = run(&builder, path).unwrap_err();
        let expected =
            RouteError::OtherResource { asked: asked.into(), served: served.map(Into::into) };
        assert_eq!(error, expected, "{path}");
    }
    // The path after the endpoint is checked as always.
    let own = format!("/v1/{OWN}");
    for sub in ["/models", "", "/", "/v1/chat/completions", "/chat"] {
        let error = run(&at("us-central1"), &format!("{own}{sub}")).unwrap_err();
        assert!(matches!(error, RouteError::UnsupportedPath { .. }), "{sub}: {error}");
    }
    for sub in ["//embeddings", "/../openapi/embeddings", "/%2e%2e/x", "/embeddings//"] {
        let error = run(&at("us-central1"), &format!("{own}{sub}")).unwrap_err();
        assert!(matches!(error, RouteError::InvalidPath { .. }), "{sub}: {error}");
    }
    let error = run(&at("us-central1"), &format!("/v1{own}/embeddings")).unwrap_err();
    assert!(matches!(error, RouteError::UnsupportedPath { .. }), "{error}");
}

#[test]
fn an_encoded_colon_is_not_passed_through_in_either_case() {
    for path in ["/v1/x%3Apredict", "/v1/x%3apredict", "/x%3Apredict%3a"] {
        let error = run(&at("eu").pass_through(true), path).unwrap_err();
        assert!(matches!(error, RouteError::InvalidPath { .. }), "{path}: {error}");
    }
}

#[test]
fn a_path_has_its_methods_and_no_others() {
    let pass = at("eu").pass_through(true);
    for (builder, path, allowed) in [
        (&at("eu"), "/v1/chat/completions", "POST"),
        (&at("eu"), "/v1/chat/completions/", "POST"),
        (&at("eu"), "/v1/chat/completions?alt=sse", "POST"),
        (&at("eu"), "/completions", "POST"),
        (&at("eu"), "/embeddings", "POST"),
        (&at("eu"), "/responses", "POST"),
        (&at("eu"), "/responses/", "POST"),
        (&at("eu"), "/v1/responses/r", "GET, HEAD, DELETE"),
        (&deployed(), "/invoke/x", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        (&pass, "/models", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        (&pass, "/v1/a;x", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        (&pass, "/v1/%61b", "GET, HEAD, POST, PUT, PATCH, DELETE"),
        (&pass, "/responses/r", "GET, HEAD, DELETE"),
    ] {
        let upstream = builder.clone().build().unwrap();
        let uri = path.parse().unwrap();
        for method in [
            "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "OPTIONS", "PRI",
            "LOCK", "post", "Post", "GET,", "QUERY",
        ] {
            let Ok(method) = Method::from_bytes(method.as_bytes()) else { continue };
            let result = resolve(&upstream, Some(&method), &uri);
            if allowed.split(", ").any(|allowed| allowed == method.as_str()) {
                assert!(result.is_ok(), "{method} {path}");
            } else {
                let method = method.to_string();
                assert_eq!(result, Err(RouteError::MethodNotAllowed { method, allowed }), "{path}");
            }
        }
    }
}

#[test]
fn a_path_that_could_be_read_as_another_is_refused() {
    let paths = [
        ("*", "slash"),
        ("api.openai.com:443", "only a host"),
        ("api.openai.com", "only a host"),
        ("//", "empty segment"),
        ("//evil.com/v1/chat/completions", "empty segment"),
        ("/v1//chat/completions", "empty segment"),
        ("/v1/chat//completions", "empty segment"),
        ("/chat/completions//", "empty segment: does the client's base URL end with a slash?"),
        ("/v1/responses//", "empty segment"),
        ("/v1/responses/;x", "empty segment"),
        ("/v1/../..", "dot segment"),
        ("/v1/.", "dot segment"),
        ("/../v1/chat/completions", "dot segment"),
        ("/v1/../chat/completions", "dot segment"),
        ("/v1/./chat/completions", "dot segment"),
        ("/v1/responses/..", "dot segment"),
        ("/v1/responses/..;x=1", "dot segment"),
        ("/v1/responses/.%2e%3bx", "dot segment"),
        ("/v1/responses/%2e%2e", "dot segment"),
        ("/v1/responses/%2e%2E", "dot segment"),
        ("/v1/responses/.%2e", "dot segment"),
        ("/v1/responses/%2E.", "dot segment"),
        ("/v1/responses/%2e", "dot segment"),
        ("/v1/responses/../../../../other", "dot segment"),
        ("/v1/responses/%2e%2e/chat", "dot segment"),
        ("/v1/responses/..%2f..", "encoded slash"),
        ("/v1/responses/a%2Fb", "encoded slash"),
        ("/v1%2fchat/completions", "encoded slash"),
        ("/v1/responses/%252e%252e", "encoded percent"),
        ("/v1/responses/%252F", "encoded percent"),
        ("/v1/responses/a%5Cb", "backslash"),
        ("/v1/responses/..%5c..", "backslash"),
        ("/v1/responses/%00", "control character"),
        ("/v1/responses/a%0d%0aHost:%20evil.com", "control character"),
        ("/v1/responses/%1F", "control character"),
        ("/v1/responses/%7f", "control character"),
        ("/v1/responses/%", "broken percent"),
        ("/v1/responses/%2", "broken percent"),
        ("/v1/responses/%2/e", "broken percent"),
        ("/v1/responses/%zz", "broken percent"),
        ("/v1/responses/%+1", "broken percent"),
        ("/v1/responses/%u002e", "broken percent"),
        ("/v1/responses/\u{fc}", "beyond ASCII"),
        ("/v1/responses/%c0%ae%c0%ae", "beyond ASCII"),
        ("/v1/responses/\u{ff0e}\u{ff0e}", "beyond ASCII"),
        ("/v1/responses/{id}", "unencoded"),
        ("/v1/responses/\"x\"", "unencoded"),
        ("https://evil.com//v1/chat/completions", "empty segment"),
        ("https://evil.com/v1/../chat/completions", "dot segment"),
    ];
    let everything = [
        at("eu"),
        at("eu").pass_through(true),
        deployed(),
        deployed().pass_through(true),
        base_url("http://host/x"),
        base_url("http://host").pass_through(true),
    ];
    for (path, reason) in paths {
        for builder in &everything {
            let error = run(builder, path).unwrap_err();
            assert!(matches!(error, RouteError::InvalidPath { .. }), "{path}: {error}");
            assert!(error.to_string().contains(reason), "{path}: {error}");
        }
    }
    // Below `/invoke/` the path may be anything, and the checks are the same.
    for route in ["..", "a/../../b", "a//b", "a/", "%2e%2e/x", "a%2fb", "a%5cb"] {
        let error = run(&deployed(), &format!("/invoke/{route}")).unwrap_err();
        assert!(matches!(error, RouteError::InvalidPath { .. }), "{route}: {error}");
    }
}

#[test]
fn a_backslash_or_a_control_byte_that_gets_past_the_parser_is_refused() {
    for byte in (0..=0x20_u8).chain([b'\\', 0x7f, b'^', b'<', b'|', b'`']) {
        let path = [b"/v1/responses/a", &[byte][..], b"b"].concat();
        assert!(check_path(std::str::from_utf8(&path).unwrap()).is_err(), "{byte:#x}");
        if let Ok(uri) = Uri::from_maybe_shared(path) {
            let upstream = at("eu").pass_through(true).build().unwrap();
            assert!(rewrite(&upstream, &uri).is_err(), "{byte:#x}");
        }
    }
}

#[test]
fn an_unsupported_path_is_named_with_the_paths_of_the_endpoint() {
    for (builder, path) in [
        (at("eu"), "/"),
        (at("eu"), "https://api.openai.com"),
        (at("eu"), "/?x=1"),
        (at("eu"), "/v1"),
        (at("eu"), "/v1/"),
        (at("eu").pass_through(true), "/v1/"),
        (at("eu"), "/v1/files/"),
        (at("eu").pass_through(true), "/v1"),
        (at("eu").pass_through(true), "/"),
        (at("eu"), "/v1/models"),
        (at("eu"), "/v1/chat"),
        (at("eu"), "/v1chat/completions"),
        (at("eu"), "/v1/v1/chat/completions"),
        (at("eu"), "/v1/chat/completionsX"),
        (at("eu"), "/v1/chat/completions;x"),
        (at("eu"), "/v1/chat/completions%20"),
        (at("eu"), "/v1/chat/completions:x"),
        (at("eu"), "/v1/chat/completions/x"),
        (at("eu"), "/v1/chat/%63ompletions"),
        (at("eu"), "/V1/chat/completions"),
        (at("eu"), "/v1/Chat/Completions"),
        (at("eu"), "/v1beta1/chat/completions"),
        (at("eu"), "/v1/responses/r/cancel"),
        (at("eu"), "/v1/invoke/x"),
        (at("eu").path_prefix(""), "/v1/chat/completions"),
        (deployed(), "/v1/embeddings"),
        (deployed(), "/v1/completions"),
        (deployed(), "/v1/responses"),
        (deployed(), "/v1/invoke"),
        (dedicated("a.b"), "/v1/embeddings"),
        (private("a.b"), "/v1/embeddings"),
        (base_url("http://host/x"), "/v1/models"),
    ] {
        let error = run(&builder, path).unwrap_err();
        let RouteError::UnsupportedPath { path: named, supported } = error else {
            panic!("{path}: {error}");
        };
        assert!(supported.starts_with("/chat/completions, "), "{supported}");
        assert!(path.contains(&*named) || named == "/", "{path}: {named}");
        assert!(!named.contains('?'), "{named}");
    }
}

#[test]
fn sixty_four_kilobytes_are_an_error_and_no_panic() {
    let filler = |length: usize| "a".repeat(length - "/v1/responses/".len());
    let most = LONGEST;
    let long = |length| format!("/v1/responses/{}", filler(length)).parse::<Uri>().unwrap();
    for builder in [at("eu"), at("eu").pass_through(true), base_url("http://h/a")] {
        let upstream = builder.build().unwrap();
        assert_eq!(rewrite(&upstream, &long(most)), Err(RouteError::TooLong));
        // The longest path that fits, and one that is a byte longer.
        let fits = most - upstream.origin().len() - upstream.base_path().len() + "/v1".len();
        let uri = rewrite(&upstream, &long(fits)).unwrap();
        assert_eq!(uri.to_string().len(), most);
        assert_eq!(uri.to_string().parse::<Uri>().unwrap(), uri);
        assert_eq!(rewrite(&upstream, &long(fits + 1)), Err(RouteError::TooLong));
    }

    let upstream = at("eu").build().unwrap();
    let unknown = format!("/{}", "a".repeat(most - 1)).parse().unwrap();
    let error = rewrite(&upstream, &unknown).unwrap_err();
    assert!(error.to_string().len() < 400, "{error}");
    let query = "?".to_owned() + &"alt&".repeat(15_000) + "alt";
    let uri = format!("/v1/chat/completions{query}").parse().unwrap();
    assert!(rewrite(&upstream, &uri).unwrap().to_string().ends_with(&query));
    let query = "?".to_owned() + &"k&".repeat(30_000);
    let uri = format!("/v1/chat/completions{query}").parse().unwrap();
    assert_eq!(rewrite(&upstream, &uri).unwrap().query(), None);
    let query = "alt=".to_owned() + &"a".repeat(most - "/v1/chat/completions?alt=".len());
    let uri = format!("/v1/chat/completions?{query}").parse().unwrap();
    assert_eq!(rewrite(&upstream, &uri), Err(RouteError::TooLong));
    let dirty = format!("/{}", "/".repeat(most - 1)).parse().unwrap();
    assert!(matches!(rewrite(&upstream, &dirty), Err(RouteError::InvalidPath { .. })));
}
