//! Tables of hosts for each policy.

use super::*;

fn trusted(trust: &Trust, uri: &str) -> bool {
    trust.check(&uri.parse().unwrap()).is_ok()
}

#[test]
fn vertex_hosts_are_trusted_over_https_alone() {
    for host in [
        "us-central1-aiplatform.googleapis.com",
        "europe-west4-aiplatform.googleapis.com",
        "US-Central1-AIplatform.GoogleAPIs.com",
        "aiplatform.googleapis.com",
        "aiplatform.us.rep.googleapis.com",
        "aiplatform.eu.rep.googleapis.com",
        "us-central1-aiplatform.mtls.googleapis.com",
        "aiplatform.mtls.googleapis.com",
        "aiplatform-mypsc.p.googleapis.com",
        "us-central1-aiplatform-mypsc.p.googleapis.com",
        "1234567890.us-central1-12345.prediction.vertexai.goog",
        "mg-endpoint-0a1b.us-central1-fasttryout.prediction.vertexai.goog",
        "1234-us-central1-5678.prediction.p.vertexai.goog",
    ] {
        let trust = Trust::default();
        assert!(trusted(&trust, &format!("https://{host}/v1/x")), "{host}");
        assert!(trusted(&trust, &format!("https://{host}:443/v1/x")), "{host}");
        assert!(!trusted(&trust, &format!("http://{host}/v1/x")), "{host} over http");
        assert!(!trusted(&trust, &format!("https://{host}:8443/v1/x")), "{host} port");
        assert!(!trusted(&trust, &format!("https://{host}.evil.com/v1/x")), "{host}.evil.com");
        assert!(!trusted(&trust, &format!("https://{host}@evil.com/v1/x")), "{host}@evil.com");
        assert!(!trusted(&trust, &format!("https://evil.com@{host}/v1/x")), "evil.com@{host}");
        assert!(!trusted(&trust, &format!("https://evil.com.{host}/v1/x")), "evil.com.{host}");
    }
}

#[test]
fn an_error_names_the_origin_that_is_not_trusted() {
    let refused = |uri: &str| Trust::default().check(&uri.parse().unwrap()).unwrap_err();
    assert_eq!(refused("http://evil.com:8080/x").origin(), Some("http://evil.com:8080"));
    assert_eq!(refused("/v1/chat/completions").origin(), None);
}

#[test]
fn hosts_of_other_services_are_not_trusted() {
    for uri in [
        "https://evil.com/",
        "https://storage.googleapis.com/",
        "https://generativelanguage.googleapis.com/",
        "https://googleapis.com/",
        "https://.googleapis.com/",
        "https://-aiplatform.googleapis.com/",
        "https://evilaiplatform.googleapis.com/",
        "https://aiplatform.googleapis.com.evil.com/",
        "https://aiplatform.googleapis.evil.com/",
        "https://aiplatformxgoogleapis.com/",
        "https://aiplatform.evil.googleapis.com/",
        "https://aiplatform.rep.googleapis.com/",
        "https://aiplatform-.p.googleapis.com/",
        "https://storage-mypsc.p.googleapis.com/",
        "https://aiplatform-mypsc.q.googleapis.com/",
        "https://prediction.vertexai.goog/",
        "https://x.prediction.vertexai.goog/",
        "https://a.b.c.prediction.vertexai.goog/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "/v1/chat/completions",
        "ftp://aiplatform.googleapis.com/",
    ] {
        assert!(!trusted(&Trust::default(), uri), "{uri}");
    }
}

#[test]
fn an_added_origin_is_trusted_as_it_was_added() {
    let mut trust = Trust::default();
    trust.add("http://127.0.0.1:8080").unwrap();
    trust.add("https://vertex.example.com/").unwrap();
    trust.add("http://[::1]:9").unwrap();
    for uri in [
        "http://127.0.0.1:8080/x",
        "https://Vertex.example.com/x",
        "https://vertex.example.com:443/x",
        "http://[::1]:9/",
    ] {
        assert!(trusted(&trust, uri), "{uri}");
    }
    for uri in [
        "https://127.0.0.1:8080/x",
        "http://127.0.0.1/x",
        "http://127.0.0.1:8081/x",
        "http://vertex.example.com/x",
        "https://vertex.example.com:8443/x",
        "https://user@vertex.example.com/x",
    ] {
        assert!(!trusted(&trust, uri), "{uri}");
    }
}

#[test]
fn a_text_that_is_no_origin_is_refused_by_name() {
    for origin in [
        "",
        "example.com",
        "https://",
        "ftp://example.com",
        "https://example.com/v1",
        "https://a b",
        "https://example.com:99999",
    ] {
        let error = Trust::default().add(origin).unwrap_err().to_string();
        assert!(error.contains(&format!("{origin:?}")), "{error}");
    }
    let error = Trust::default().add("https://user:hunter2@example.com").unwrap_err();
    assert!(!error.to_string().contains("hunter2"));
}

#[test]
fn the_refusal_names_the_origin_and_no_more() {
    let uri = "https://user:hunter2@evil.com:99/secret?key=1".parse().unwrap();
    let text = Trust::default().check(&uri).unwrap_err().to_string();
    assert!(text.contains("https://evil.com:99"), "{text}");
    assert!(!text.contains("hunter2") && !text.contains("secret"), "{text}");
}

/// The parts of an attack on a trusted host: each text is a URI with `HOST` in it.
const TRICKS: [&str; 22] = [
    "http://HOST/",
    "http://HOST:443/",
    "https://HOST:444/",
    "https://HOST:80/",
    "https://HOST./",
    "https://HOST.:443/",
    "https://HOST../",
    "https://.HOST/",
    "https://a..HOST/",
    "https://HOST.evil.example/",
    "https://HOST.evil.example:443/",
    "https://evil.example/HOST",
    "https://evil.example/?https://HOST",
    "https://HOST@evil.example/",
    "https://HOST:443@evil.example/",
    "https://user@HOST/",
    "https://user:word@HOST/",
    "https://@HOST/",
    "https://evil.example:443@HOST/",
    "wss://HOST/",
    "grpc://HOST/",
    "HOST:443",
];

/// Whether the policy trusts the URI. A text that is no URI reaches no host.
fn may_reach(trust: &Trust, uri: &str) -> bool {
    uri.parse().is_ok_and(|uri| trust.check(&uri).is_ok())
}

#[test]
fn all_hosts_of_google_apis_are_trusted_over_https_alone() {
    let trust = Trust::google_apis();
    for host in [
        "storage.googleapis.com",
        "my-bucket.storage.googleapis.com",
        "my_bucket.with.dots.storage.googleapis.com",
        "www.googleapis.com",
        "Pubsub.GoogleAPIs.com",
        "iamcredentials.googleapis.com",
        "generativelanguage.googleapis.com",
        "us-central1-aiplatform.googleapis.com",
        "aiplatform.googleapis.com",
        "aiplatform.eu.rep.googleapis.com",
        "pubsub.us-east1.rep.googleapis.com",
        "storage.mtls.googleapis.com",
        "us-east1-run.mtls.googleapis.com",
        "storage-mypsc.p.googleapis.com",
        "autopush-aiplatform.sandbox.googleapis.com",
        "1234567890.us-central1-12345.prediction.vertexai.goog",
        "1234-us-central1-5678.prediction.p.vertexai.goog",
    ] {
        assert!(may_reach(&trust, &format!("https://{host}/v1/x")), "{host}");
        assert!(may_reach(&trust, &format!("https://{host}:443/v1/x")), "{host}");
        for trick in TRICKS {
            let uri = trick.replace("HOST", host);
            assert!(!may_reach(&trust, &uri), "{uri}");
        }
    }
}

#[test]
fn hosts_of_others_are_no_google_apis() {
    let trust = Trust::google_apis();
    for uri in [
        "https://googleapis.com/",
        "https://www.google.com/",
        "https://accounts.google.com/",
        "https://service-abc.a.run.app/",
        "https://project.appspot.com/",
        "https://us-central1-project.cloudfunctions.net/",
        "https://name.gateway.dev/",
        "https://api.endpoints.project.cloud.goog/",
        "https://vertexai.goog/",
        "https://x.vertexai.goog/",
        "https://evilgoogleapis.com/",
        "https://storage.evilgoogleapis.com/",
        "https://storage-googleapis.com/",
        "https://storage.googleapis.com.evil.example/",
        "https://storage.googleapis.co/",
        "https://storage.googleapis.org/",
        "https://storage.googleapis-com.example/",
        "https://storage.googleapis.evil.com/",
        "https://storage\u{ff0e}googleapis.com/",
        "https://stor%61ge.googleapis.com/",
        "https://evil.example%2egoogleapis.com/",
        "https://evil.example%23.googleapis.com/",
        "https://evil.example\\.googleapis.com/",
        "https://evil.example#.googleapis.com/",
        "https://evil.example?.googleapis.com/",
        "https://evil.example/.googleapis.com/",
        "https://evil.example;.googleapis.com/",
        "https://a b.googleapis.com/",
        "https://sto~rage.googleapis.com/",
        "https://[::1].googleapis.com/",
        "https://storage.googleapis.com:0443x/",
        "https://storage.googleapis.com:/",
        "https://storage.googleapis.com:65979/",
        "https://142.250.1.95/",
        "https://[2607:f8b0::5f]/",
        "/storage.googleapis.com",
        "*",
    ] {
        assert!(!may_reach(&trust, uri), "{uri}");
    }
    let long = format!("https://{}.googleapis.com/", "a.".repeat(120) + "a");
    assert!(!may_reach(&trust, &long), "no name is that long");
}

#[test]
fn a_universe_has_the_same_hosts_and_no_other_policy_has_one() {
    let vertex = Trust::vertex().universe_domain(" Apis.Example.cloud ").unwrap();
    let all = Trust::google_apis().universe_domain("apis.example.cloud").unwrap();
    for (uri, of_vertex, of_all) in [
        ("https://u-north1-aiplatform.apis.example.cloud/", true, true),
        ("https://aiplatform.eu.rep.apis.example.cloud/", true, true),
        ("https://u-north1-aiplatform.googleapis.com/", true, true),
        ("https://storage.apis.example.cloud/", false, true),
        ("https://storage.googleapis.com/", false, true),
        ("https://apis.example.cloud/", false, false),
        ("https://storage.example.cloud/", false, false),
        ("https://storage.evilapis.example.cloud/", false, false),
        ("http://storage.apis.example.cloud/", false, false),
        ("https://aiplatform.apis.example.cloud.evil.example/", false, false),
        ("https://aiplatform.apis.example.cloud:8443/", false, false),
        ("https://aiplatform.apis.example.cloud./", false, false),
    ] {
        assert_eq!(may_reach(&vertex, uri), of_vertex, "{uri}");
        assert_eq!(may_reach(&all, uri), of_all, "{uri}");
        assert!(!of_vertex || uri.contains("googleapis") || !may_reach(&Trust::vertex(), uri));
    }
    for domain in [
        "",
        ".",
        "com",
        "localhost",
        ".googleapis.com",
        "googleapis.com.",
        "a..b",
        "-a.b",
        "a-.b",
        "a.b:443",
        "https://a.b",
        "a.b/c",
        "user@a.b",
        "10.0.0.1",
        "[::1]",
        "a b.c",
        "*.a.b",
    ] {
        assert!(Trust::google_apis().universe_domain(domain).is_err(), "{domain:?}");
    }
    let error = Trust::from_fn(|_| true).universe_domain("apis.example.cloud").unwrap_err();
    assert!(error.to_string().contains("add an origin"), "{error}");
    assert!(Trust::origin("https://a.b").unwrap().universe_domain("apis.example.cloud").is_err());
}

#[test]
fn a_list_of_origins_trusts_no_host_of_google() {
    let service = "https://service-abc-uc.a.run.app";
    for (trust, uri, trusted) in [
        (Trust::origin(service), "https://service-abc-uc.a.run.app/path?q", true),
        (Trust::origin(service), "https://SERVICE-abc-uc.a.run.app:443/", true),
        (Trust::origin(service), "https://other-abc-uc.a.run.app/", false),
        (Trust::origin(service), "https://x.service-abc-uc.a.run.app/", false),
        (Trust::origin(service), "https://aiplatform.googleapis.com/", false),
        (Trust::origin(service), "https://us-central1-aiplatform.googleapis.com/", false),
        (Trust::origins([service, "http://127.0.0.1:9"]), "http://127.0.0.1:9/", true),
        (Trust::origins([service, "http://127.0.0.1:9"]), "https://127.0.0.1:9/", false),
        (Trust::origins([""; 0]), "https://aiplatform.googleapis.com/", false),
    ] {
        assert_eq!(may_reach(&trust.unwrap(), uri), trusted, "{uri}");
    }
    let trust = Trust::origin(service).unwrap();
    for trick in TRICKS {
        let uri = trick.replace("HOST", "service-abc-uc.a.run.app");
        assert!(!may_reach(&trust, &uri), "{uri}");
    }
    assert!(Trust::origin("service-abc-uc.a.run.app").is_err());
    let refused = trust.check(&"https://evil.example/".parse().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("only the origins"), "{refused}");
}

#[test]
fn an_own_policy_decides_about_whole_uris_alone() {
    let trust = Trust::from_fn(|uri| uri.host().is_some_and(|host| host.ends_with(".internal")));
    let trust = trust.and_origin("http://127.0.0.1:9").unwrap();
    for (uri, trusted) in [
        ("https://a.internal/", true),
        ("http://a.internal:8080/", true),
        ("http://127.0.0.1:9/", true),
        ("https://aiplatform.googleapis.com/", false),
        ("https://user@a.internal/", false),
        ("ftp://a.internal/", false),
        ("/a.internal", false),
    ] {
        assert_eq!(may_reach(&trust, uri), trusted, "{uri}");
    }
    assert!(!format!("{trust:?}").is_empty());
    let refused = trust.check(&"https://evil.example/".parse().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("the policy of the layer"), "{refused}");
}

#[test]
fn an_audience_is_trusted_with_its_own_token_if_it_is_an_https_url() {
    for (audience, uri, trusted) in [
        ("https://service-abc.a.run.app", "https://service-abc.a.run.app/x", true),
        ("https://service-abc.a.run.app/function?x", "https://service-abc.a.run.app/", true),
        ("https://service.example.com:8443", "https://service.example.com:8443/", true),
        ("https://service.example.com:8443", "https://service.example.com/", false),
        ("https://service-abc.a.run.app", "https://service-abd.a.run.app/x", false),
        ("https://service-abc.a.run.app", "http://service-abc.a.run.app/x", false),
        ("https://service-abc.a.run.app", "https://aiplatform.googleapis.com/", false),
        ("http://service-abc.a.run.app", "http://service-abc.a.run.app/", false),
        ("https://user@service-abc.a.run.app", "https://service-abc.a.run.app/", false),
        ("service-abc.a.run.app", "https://service-abc.a.run.app/", false),
        (
            "1234-abc.apps.googleusercontent.com",
            "https://1234-abc.apps.googleusercontent.com/",
            false,
        ),
        ("/projects/1/global/backendServices/2", "https://aiplatform.googleapis.com/", false),
        ("", "https://aiplatform.googleapis.com/", false),
    ] {
        assert_eq!(may_reach(&Trust::of_audience(audience), uri), trusted, "{audience} {uri}");
    }
}
