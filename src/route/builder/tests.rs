use super::*;

fn with(endpoint: Endpoint) -> UpstreamBuilder {
    Upstream::builder().project("p").location("us-central1").endpoint(endpoint)
}

#[test]
fn a_setting_that_cannot_be_part_of_a_url_is_refused_and_named() {
    let id = || "123".to_owned();
    let mut cases: Vec<(UpstreamBuilder, &str, String)> = Vec::new();
    for bad in [
        "evil.com/",
        "us-central1.evil.com",
        "US-CENTRAL1",
        &"a".repeat(31),
        "..",
        "us/../eu",
        "a@b",
    ] {
        let builder = Upstream::builder().project("p").location(bad);
        cases.push((builder, "location", redact::value(bad).to_string()));
    }
    for bad in
        [".", "..", "a/b", "p?x", "p#x", "p%2f", "p\\", "p p", ".p", ":p", "p\n", "\u{fc}", "../x"]
    {
        let builder = Upstream::builder().project(bad).location("eu");
        cases.push((builder, "project", bad.to_owned()));
    }
    for bad in [
        "",
        "a/b",
        "..",
        "a.b",
        "1?x",
        "1#x",
        "1:predict",
        "1 ",
        "%31",
        "projects/p/locations/l/endpoints/1",
    ] {
        for endpoint in [
            Endpoint::Deployed { id: bad.into() },
            Endpoint::Dedicated { id: bad.into(), dns: "a.b".into() },
            Endpoint::Private { id: bad.into(), address: "a.b".into() },
        ] {
            cases.push((with(endpoint), "endpoint id", bad.to_owned()));
        }
    }
    for bad in ["", "Google", "goo/gle", "google:predict", "..", ".x", "a b"] {
        let endpoint = Endpoint::Publisher { name: bad.into() };
        cases.push((with(endpoint), "publisher", bad.to_owned()));
    }
    for bad in ["", "a:b", "a b", "predict,delete", "rawPredict ", "*", "\u{fc}"] {
        let builder = with(Endpoint::OpenApi).model_methods(["predict", bad]);
        cases.push((builder, "model method", bad.to_owned()));
    }
    for bad in ["evil.com/", "EU", "*", "-"] {
        let builder = with(Endpoint::OpenApi).allow_location("eu").allow_location(bad);
        cases.push((builder, "location", redact::value(bad).to_string()));
    }
    for bad in ["a/b", ".", "*", "p?x"] {
        let builder = with(Endpoint::OpenApi).allow_project("q").allow_project(bad);
        cases.push((builder, "project", bad.to_owned()));
    }
    let whole = with(Endpoint::BaseUrl { url: "http://h".into() });
    let setting = "projects and locations of clients";
    cases.push((whole.clone().allow_location("eu"), setting, "eu".to_owned()));
    cases.push((whole.allow_project("q"), setting, "q".to_owned()));
    for bad in [
        "",
        " ",
        "a.b/c",
        "https://a.b/c",
        "http://a.b",
        "a.b:443",
        "a..b",
        "a b",
        "a.b?x",
        "a.b#x",
        "\u{fc}.b",
    ] {
        let endpoint = Endpoint::Dedicated { id: id(), dns: bad.into() };
        cases.push((with(endpoint), "endpoint dns", bad.to_owned()));
    }
    for bad in
        ["", "ftp://a", "http://", "10.0.0.7/x", "10.0.0.7:0", "10.0.0.7:99999", "[::1", "a b"]
    {
        let endpoint = Endpoint::Private { id: id(), address: bad.into() };
        cases.push((with(endpoint), "endpoint address", bad.to_owned()));
        if !bad.is_empty() {
            let builder = with(Endpoint::OpenApi).origin(bad);
            cases.push((builder, "origin", bad.to_owned()));
        }
    }
    for bad in [
        "127.0.0.1:9000",
        "ftp://h/x",
        "file:///etc",
        "http://",
        "http:///x",
        "http://h/a/../b",
        "http://h/%2e%2e",
        "http://h/a//b",
        "http://h/a%2fb",
        "http://h/a\\b",
        "http://h\\x",
        "http://h/\u{fc}",
        "http://h:x/",
        "http://h/a b",
    ] {
        let endpoint = Endpoint::BaseUrl { url: bad.into() };
        cases.push((Upstream::builder().endpoint(endpoint), "endpoint url", bad.to_owned()));
    }
    for bad in ["", "evil.com/", "Googleapis.com", "a..b", "a.b:443", "a@b"] {
        let builder = with(Endpoint::OpenApi).universe_domain(bad);
        cases.push((builder, "universe domain", redact::value(bad).to_string()));
    }
    for bad in ["v1", "/v1/..", "//v1", "/v1?x", "/a%2fb", "*"] {
        let builder = with(Endpoint::OpenApi).path_prefix(bad);
        cases.push((builder, "path prefix", bad.to_owned()));
    }
    for bad in ["", "a b", "Host", "connection", "TE", "x-goog-api-key", "X-HTTP-Method-Override"] {
        let builder = with(Endpoint::OpenApi).forward_header(bad);
        cases.push((builder, "header to forward", bad.to_owned()));
    }
    for bad in
        ["", "a b", "a=b", "a&b", "%24a", "key", "$Key", "access_token", "$ct", "$httpMethod"]
    {
        let builder = with(Endpoint::OpenApi).forward_query(bad);
        cases.push((builder, "query parameter to forward", bad.to_owned()));
    }
    for (builder, setting, named) in cases {
        let error = builder.clone().build().expect_err(&format!("{builder:?}"));
        assert_eq!(error.setting(), setting, "{error}");
        assert!(!error.is_missing(), "{error}");
        assert!(error.to_string().contains(&format!("{named:?}")), "{error} has no {named:?}");
    }
}

#[test]
fn a_secret_in_the_place_of_a_setting_is_never_printed() {
    for secret in ["{\"private_key\": \"SECRET\"}", "sk-SECRET", "https://u:SECRET@host/?SECRET"] {
        let text = || secret.to_owned();
        let builders = [
            Upstream::builder().project(secret).location("eu"),
            Upstream::builder().project("p").location(secret),
            with(Endpoint::Deployed { id: text() }),
            with(Endpoint::Dedicated { id: text(), dns: text() }),
            with(Endpoint::Private { id: text(), address: text() }),
            with(Endpoint::BaseUrl { url: text() }),
            with(Endpoint::OpenApi).universe_domain(secret),
            with(Endpoint::OpenApi).origin(secret),
            with(Endpoint::OpenApi).path_prefix(secret),
            with(Endpoint::OpenApi).forward_header(format!("{secret}\n")),
            with(Endpoint::OpenApi).forward_query(format!("{secret}&")),
        ];
        for builder in builders {
            let debug = format!("{builder:?}");
            assert!(debug.starts_with("UpstreamBuilder { project: "), "{debug}");
            // Some of them can be names, too.
            let error = builder.build().err();
            let text = format!("{debug} {error:?}");
            assert!(!text.contains("SECRET") && !text.contains("private_key"), "{text}");
        }
    }
}

#[test]
fn a_missing_setting_is_named_with_the_remedy() {
    for (builder, advice) in [
        (
            Upstream::builder().location("eu"),
            "no project set: pass a project or set GOOGLE_CLOUD_PROJECT",
        ),
        (
            Upstream::builder().location("eu").project(""),
            "no project set: pass a project or set GOOGLE_CLOUD_PROJECT",
        ),
        (
            Upstream::builder().project("p"),
            "no location set: pass a location or set GOOGLE_CLOUD_LOCATION",
        ),
        (
            Upstream::builder().project("p").location(""),
            "no location set: pass a location or set GOOGLE_CLOUD_LOCATION",
        ),
        (
            Upstream::builder().endpoint(Endpoint::BaseUrl { url: " ".into() }),
            "no endpoint url set: pass a URL such as http://127.0.0.1:9000/v1",
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.is_missing());
        assert_eq!(error.to_string(), advice);
    }
}

#[test]
fn no_error_and_no_debug_text_holds_a_password_or_a_key() {
    for secret in [
        "https://user:hunter2@host/",
        "http://user:hunter2@host",
        "user:hunter2@host",
        "https://hunter2@host",
        "https://host/?key=hunter2",
        "https://host/x#hunter2",
        "https://user:a/hunter2@host",
    ] {
        let id = || "1".to_owned();
        for builder in [
            with(Endpoint::BaseUrl { url: secret.into() }),
            with(Endpoint::Private { id: id(), address: secret.into() }),
            with(Endpoint::Dedicated { id: id(), dns: secret.into() }),
            with(Endpoint::Deployed { id: secret.into() }),
            with(Endpoint::OpenApi).origin(secret),
            with(Endpoint::OpenApi).project(secret),
            with(Endpoint::OpenApi).location(secret),
            with(Endpoint::OpenApi).universe_domain(secret),
            with(Endpoint::OpenApi).path_prefix(secret),
        ] {
            assert!(!format!("{builder:?}").contains("hunter2"), "{builder:?}");
            let error = builder.build().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
        }
    }
}

#[test]
fn clients_may_name_at_most_a_thousand_combinations() {
    let with = |projects: usize, locations: usize| {
        let mut builder = with(Endpoint::OpenApi);
        for number in 1..projects {
            builder = builder.allow_project(format!("p{number}"));
        }
        for number in 1..locations {
            builder = builder.allow_location(format!("l{number}"));
        }
        builder.build()
    };
    assert!(with(20, 50).is_ok());
    let error = with(20, 51).unwrap_err();
    assert!(error.to_string().contains("20 projects, 51 locations"), "{error}");
}

#[test]
fn values_of_64_kilobytes_are_refused_without_a_panic() {
    let long = "a".repeat(70_000);
    for builder in [
        with(Endpoint::OpenApi).project(&long),
        with(Endpoint::OpenApi).location(&long),
        with(Endpoint::Deployed { id: long.clone() }),
        with(Endpoint::BaseUrl { url: format!("http://h/{long}") }),
        with(Endpoint::BaseUrl { url: format!("http://{long}/") }),
        // The base fits, but not with the path of a method behind it.
        with(Endpoint::BaseUrl { url: format!("http://h/{}", &long[..65_525]) }),
    ] {
        assert!(builder.build().unwrap_err().to_string().len() < 500);
    }
}

#[test]
fn the_first_variable_that_is_not_empty_is_read() {
    let read = |vars: &[(&str, &str)]| {
        let vars: Vec<(String, String)> =
            vars.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        UpstreamBuilder::from_lookup(move |name| {
            vars.iter().find(|var| var.0 == name).map(|var| var.1.clone())
        })
        .build()
    };
    let all = [
        ("GOOGLE_CLOUD_PROJECT", "first"),
        ("GCLOUD_PROJECT", "second"),
        ("PROJECT_ID", "third"),
        ("GOOGLE_CLOUD_LOCATION", "eu"),
        ("LOCATION", "us"),
        ("ENDPOINT", "openapi"),
    ];
    let upstream = read(&all).unwrap();
    assert_eq!(upstream.project(), Some("first"));
    assert_eq!(upstream.location().unwrap().as_str(), "eu");
    assert_eq!(upstream.endpoint(), &Endpoint::OpenApi);
    assert_eq!(upstream.api_version(), ApiVersion::V1);

    let upstream = read(&all[1..3].iter().chain(&all[4..5]).copied().collect::<Vec<_>>()).unwrap();
    assert_eq!(upstream.project(), Some("second"));
    assert_eq!(upstream.location().unwrap().as_str(), "us");

    let upstream = read(&[
        ("GOOGLE_CLOUD_PROJECT", ""),
        ("PROJECT_ID", "third"),
        ("GOOGLE_CLOUD_LOCATION", ""),
        ("LOCATION", "us"),
        ("ENDPOINT", "123"),
    ])
    .unwrap();
    assert_eq!(upstream.project(), Some("third"));
    assert_eq!(upstream.endpoint(), &Endpoint::Deployed { id: "123".into() });

    let upstream = read(&[("PROJECT_ID", "p"), ("LOCATION", "us"), ("ENDPOINT", "")]).unwrap();
    assert_eq!(upstream.endpoint(), &Endpoint::OpenApi);

    assert_eq!(read(&[]).unwrap_err().setting(), "project");
    assert_eq!(read(&all[..1]).unwrap_err().setting(), "location");
    let error = read(&[("PROJECT_ID", "p\u{fffd}"), ("LOCATION", "us")]).unwrap_err();
    assert_eq!(error.setting(), "project");
    let error = read(&[("PROJECT_ID", "p"), ("LOCATION", "us"), ("ENDPOINT", "a/b")]).unwrap_err();
    assert!(error.to_string().starts_with("invalid endpoint id \"a/b\""), "{error}");
}
