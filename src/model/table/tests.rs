use super::*;
use crate::route::{ApiVersion, Endpoint};

fn base() -> Upstream {
    Upstream::new("p", "global").unwrap()
}

fn deployed() -> Upstream {
    let endpoint = Endpoint::Deployed { id: "1".into() };
    Upstream::builder().project("p").location("eu").endpoint(endpoint).build().unwrap()
}

fn at(url: &str) -> Upstream {
    let endpoint = Endpoint::BaseUrl { url: url.into() };
    Upstream::builder().endpoint(endpoint).build().unwrap()
}

/// The upstream and the name to which a request for `asked` is sent.
fn sent(table: &ModelTable, asked: &str) -> (Upstream, String) {
    let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
    let name = table.apply(asked, &mut extensions, &mut headers);
    (extensions.get::<Upstream>().unwrap().clone(), name.unwrap_or_else(|| asked.to_owned()))
}

#[test]
fn a_bare_name_gets_the_default_publisher_and_any_other_stays() {
    let table = ModelTable::new(base());
    for (asked, name) in [
        ("gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("google/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("meta/llama", "meta/llama"),
        ("/", "/"),
        ("a/", "a/"),
        ("/a", "/a"),
        (
            "projects/p/locations/l/publishers/google/models/m",
            "projects/p/locations/l/publishers/google/models/m",
        ),
        ("", ""),
        ("é", "google/é"),
    ] {
        assert_eq!(sent(&table, asked), (base(), name.to_owned()));
    }
    let meta = ModelTable::builder(base()).default_publisher("meta").build().unwrap();
    assert_eq!(sent(&meta, "llama").1, "meta/llama");
    let none = ModelTable::builder(base()).without_default_publisher().build().unwrap();
    assert_eq!(sent(&none, "llama").1, "llama");
}

#[test]
fn only_an_endpoint_named_openapi_has_publishers() {
    let url = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/";
    for (upstream, publisher) in [
        (base(), true),
        (at(&format!("{url}openapi")), true),
        (at(&format!("{url}openapi/")), true),
        (deployed(), false),
        (at(&format!("{url}123/invoke/v1")), false),
        (at("http://127.0.0.1:9000/v1"), false),
    ] {
        let name = if publisher { "google/a" } else { "a" };
        assert_eq!(sent(&ModelTable::new(upstream.clone()), "a").1, name, "{upstream}");
    }
}

#[test]
fn an_exact_entry_precedes_the_longest_prefix_which_precedes_the_order() {
    let to = |name: &str| ModelRoute::new().model(format!("to/{name}"));
    let table = ModelTable::builder(base())
        .route("*", to("any"))
        .route("llama-*", to("first"))
        .route("llama-*-lite", to("second"))
        .route("llama-3*", to("longest"))
        .route("llama-3", to("exact"))
        .route("*-lite", to("suffix"))
        .build()
        .unwrap();
    for (asked, name) in [
        ("llama-3", "to/exact"),
        ("llama-3.1", "to/longest"),
        ("llama-3-lite", "to/longest"),
        ("llama-2-lite", "to/first"),
        ("llama-", "to/first"),
        ("llama", "to/any"),
        ("x-lite", "to/any"),
        ("meta/llama-3", "to/any"),
        ("", "to/any"),
    ] {
        assert_eq!(sent(&table, asked).1, name, "{asked}");
    }
    let patterns: Vec<_> = table.entries().map(ModelEntry::pattern).collect();
    assert_eq!(patterns, ["*", "llama-*", "llama-*-lite", "llama-3*", "llama-3", "*-lite"]);
    assert_eq!(table.entries().filter(|entry| entry.is_wildcard()).count(), 5);
}

#[test]
fn an_entry_changes_only_the_settings_that_the_entry_names() {
    let url = |location: &str, version: &str, endpoint: &str| {
        let host = if location == "global" { "" } else { &format!("{location}-") };
        format!(
            "https://{host}aiplatform.googleapis.com/{version}/projects/p/locations/{location}/endpoints/{endpoint}"
        )
    };
    let route = ModelRoute::new;
    let private = Upstream::builder()
        .project("q")
        .location("us-east1")
        .endpoint(Endpoint::Private { id: "7".into(), address: "http://10.0.0.7".into() });
    for (route, upstream, name) in [
        (route(), url("global", "v1", "openapi"), "google/alias"),
        (route().model("m"), url("global", "v1", "openapi"), "google/m"),
        (route().model("x/m"), url("global", "v1", "openapi"), "x/m"),
        (route().publisher("meta"), url("global", "v1", "openapi"), "meta/alias"),
        (route().publisher("meta").model("m"), url("global", "v1", "openapi"), "meta/m"),
        (route().location("us-west1"), url("us-west1", "v1", "openapi"), "google/alias"),
        (route().api_version(ApiVersion::V1Beta1), url("global", "v1beta1", "openapi"), "google/alias"),
        (route().location("us-west1").endpoint_id("5"), url("us-west1", "v1", "5"), "alias"),
        (route().endpoint_id("5").model("m"), url("global", "v1", "5"), "m"),
        (route().endpoint_id("5").model("x/m"), url("global", "v1", "5"), "x/m"),
        (
            route().endpoint_id("5").dedicated_host("5.us-west1-9.prediction.vertexai.goog"),
            "https://5.us-west1-9.prediction.vertexai.goog/v1/projects/p/locations/global/endpoints/5".into(),
            "alias",
        ),
        (
            route().upstream(private.build().unwrap()),
            "http://10.0.0.7/v1/projects/q/locations/us-east1/endpoints/7".into(),
            "alias",
        ),
        (route().upstream(at("http://127.0.0.1:9000/v1")), "http://127.0.0.1:9000/v1".into(), "alias"),
        (
            route().upstream(deployed()).endpoint_id("openapi").location("us-west1"),
            url("us-west1", "v1", "openapi"),
            "google/alias",
        ),
    ] {
        let table = ModelTable::builder(base()).route("alias", route.clone()).build().unwrap();
        let (there, sent) = sent(&table, "alias");
        // A base URL without a path has a slash at its end.
        assert_eq!((there.to_string().as_str(), sent.as_str()), (upstream.as_str(), name), "{route:?}");
    }
}

#[test]
fn an_upstream_of_the_request_stays_unless_the_entry_leads_elsewhere() {
    let table = ModelTable::builder(base())
        .route("renamed", ModelRoute::new().model("m"))
        .route("moved", ModelRoute::new().location("us-west1"))
        .build()
        .unwrap();
    for (asked, stays, name) in [
        ("renamed", true, Some("m")),
        // A name without a rule, at an endpoint that has no publishers.
        ("other", true, None),
        ("moved", false, Some("google/moved")),
    ] {
        let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
        extensions.insert(deployed());
        let sent = table.apply(asked, &mut extensions, &mut headers);
        assert_eq!(sent.as_deref(), name, "{asked}");
        assert_eq!(extensions.get() == Some(&deployed()), stays, "{asked}");
    }
}

#[test]
fn a_list_of_locations_goes_into_the_extensions_and_its_first_one_is_the_upstream() {
    let list = ["us-central1", "us-east4"];
    let table = ModelTable::builder(base())
        .route("listed", ModelRoute::new().locations(list).api_version(ApiVersion::V1Beta1))
        .route("deployed", ModelRoute::new().endpoint_id("5").locations(list))
        .route("moved", ModelRoute::new().location("us-west1"))
        .route("renamed", ModelRoute::new().model("m"))
        .build()
        .unwrap();
    let names = |locations: &Locations| {
        let locations = locations.upstreams().map(|upstream| upstream.location().unwrap().as_str());
        locations.map(str::to_owned).collect::<Vec<_>>()
    };
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let listed = table.find("listed").unwrap();
    assert_eq!(names(listed.locations().unwrap()), list);
    assert!(listed.locations().unwrap().upstreams().all(|upstream| {
        upstream.uri().path().starts_with("/v1beta1/") && upstream.project() == Some("p")
    }));
    assert_eq!(listed.upstream(), Some(listed.locations().unwrap().first()));
    assert!(table.find("moved").unwrap().locations().is_none());

    let given = Locations::for_locations(&deployed(), ["eu", "us"]).unwrap();
    for (asked, locations, upstream, name) in [
        ("listed", Some(&list[..]), "us-central1", Some("google/listed")),
        ("deployed", Some(&list[..]), "us-central1", None),
        // Locations of the request would take precedence over the entry's upstream.
        ("moved", None, "us-west1", Some("google/moved")),
        // These keep the upstream of the request, an endpoint without publishers.
        ("renamed", Some(&["eu", "us"][..]), "eu", Some("m")),
        ("other", Some(&["eu", "us"][..]), "eu", None),
    ] {
        let (mut extensions, mut headers) = (Extensions::new(), HeaderMap::new());
        extensions.insert(given.clone());
        extensions.insert(base());
        let sent = table.apply(asked, &mut extensions, &mut headers);
        assert_eq!(sent.as_deref(), name, "{asked}");
        assert_eq!(extensions.get().map(names), locations.map(owned), "{asked}");
        let there = extensions.get::<Upstream>().unwrap();
        assert_eq!(there.location().unwrap().as_str(), upstream, "{asked}");
    }
}

#[test]
fn every_mistake_is_reported_with_its_entry() {
    let route = ModelRoute::new;
    let long = "x".repeat(2000);
    let cases = [
        ("", route(), "pattern"),
        ("a*b*", route(), "pattern"),
        ("**", route(), "pattern"),
        ("a\nb", route(), "pattern"),
        (long.as_str(), route(), "pattern"),
        ("a", route().model(""), "model"),
        ("a", route().model("meta/*"), "model"),
        ("a", route().model("a\u{7f}"), "model"),
        ("a", route().model(&long), "model"),
        ("a", route().publisher(""), "publisher"),
        ("a", route().publisher("google/"), "publisher"),
        ("a", route().publisher("meta").model("x/y"), "publisher"),
        ("a", route().publisher("meta").endpoint_id("1"), "publisher"),
        ("a", route().location("evil.com/"), "location"),
        ("a", route().endpoint_id("a/b"), "endpoint id"),
        ("a", route().endpoint_id(""), "endpoint id"),
        ("a", route().dedicated_host("a.b"), "endpoint id"),
        ("a", route().endpoint_id("1").dedicated_host("http://a.b"), "endpoint dns"),
        ("a", route().upstream(at("http://h/v1")).location("eu"), "location"),
        ("a", route().upstream(at("http://h/v1")).api_version(ApiVersion::V1), "API version"),
        ("a", route().upstream(at("http://h/v1")).endpoint_id("1"), "project"),
        ("a", route().locations([""; 0]), "locations"),
        ("a", route().locations(["us", "us"]), "locations"),
        ("a", route().locations(["us", "evil.com/"]), "location"),
        ("a", route().locations(["us"]).location("eu"), "location"),
        ("a", route().locations(["us"]).upstream(at("http://h/v1")), "locations"),
        (
            "a",
            route().locations(["us"]).endpoint_id("1").dedicated_host("1.prediction.vertexai.goog"),
            "locations",
        ),
        ("a", route().header("a b", "c"), "header"),
        ("a", route().header("", "c"), "header"),
        ("a", route().header("a", "secret\n"), "header"),
        ("a", route().header("Authorization", "secret"), "header"),
        ("a", route().header("content-length", "1"), "header"),
        ("a", route().header("Host", "evil.com"), "header"),
    ];
    for (pattern, route, setting) in cases {
        let builder = ModelTable::builder(base()).route("good-*", ModelRoute::new());
        let builder = builder.route(pattern, route);
        assert!(!format!("{builder:?}").contains("secret"));
        let error = builder.build().unwrap_err();
        assert_eq!(error.setting(), setting, "{error}");
        // The error does not repeat a pattern that is too long.
        let named = error.entry();
        assert_eq!(named, Some(pattern).filter(|pattern| *pattern != long), "{error}");
        let named = named.map(|named| format!("model {named:?}: ")).unwrap_or_default();
        assert!(error.to_string().starts_with(&named) && error.to_string().len() < 400, "{error}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }
    for twice in ["a", "a*"] {
        let builder = ModelTable::builder(base()).route(twice, route()).route(twice, route());
        let error = builder.build().unwrap_err();
        assert_eq!((error.setting(), error.entry()), ("pattern", Some(twice)));
    }
    let error = ModelTable::builder(base()).default_publisher("a/b").build().unwrap_err();
    assert_eq!((error.setting(), error.entry()), ("publisher", None));
}

#[test]
fn the_headers_of_an_entry_replace_those_of_the_request() {
    let route = ModelRoute::new()
        .header("X-Vertex-AI-LLM-Request-Type", "dedicated")
        .header("x-two", "1")
        .header("x-two", "2");
    let table = ModelTable::builder(base()).route("a", route).build().unwrap();
    let mut headers = HeaderMap::new();
    for name in ["x-vertex-ai-llm-request-type", "x-two", "x-other"] {
        headers.append(name, "old".parse().unwrap());
        headers.append(name, "old".parse().unwrap());
    }
    table.apply("a", &mut Extensions::new(), &mut headers);
    let all = |name| headers.get_all(name).iter().collect::<Vec<_>>();
    assert_eq!(all("x-vertex-ai-llm-request-type"), ["dedicated"]);
    assert_eq!(all("x-two"), ["1", "2"]);
    assert_eq!(all("x-other"), ["old", "old"]);
}

#[test]
fn a_table_without_rules_has_no_rules_for_any_request() {
    let mut extensions = Extensions::new();
    let none = || ModelTable::builder(base()).without_default_publisher();
    assert!(ModelTable::new(base()).has_rules_for(&extensions));
    assert!(!none().build().unwrap().has_rules_for(&extensions));
    assert!(none().route("a", ModelRoute::new()).build().unwrap().has_rules_for(&extensions));
    assert!(!ModelTable::new(deployed()).has_rules_for(&extensions));
    extensions.insert(base());
    assert!(ModelTable::new(deployed()).has_rules_for(&extensions));
}

#[test]
fn a_model_with_a_publisher_has_the_most_specific_entry_for_either_spelling() {
    let headers = |name: &str| ModelRoute::new().header("x-entry", name);
    let table = |names: &[&str]| {
        let add = |table: ModelTableBuilder, name: &&str| table.route(*name, headers(name));
        names.iter().fold(ModelTable::builder(base()), add).build().unwrap()
    };
    for (names, expected) in [
        (&["gemini", "google/gemini"][..], Some("google/gemini")),
        (&["gemini", "google/*"], Some("gemini")),
        (&["*", "gemini"], Some("gemini")),
        (&["*", "gem*"], Some("gem*")),
        (&["google/*", "gem*"], Some("google/*")),
        (&["google/gemini", "gem*"], Some("google/gemini")),
        (&["*"], Some("*")),
        (&["meta/gemini", "other"], None),
        (&[], None),
    ] {
        let table = table(names);
        let found = table.find_published("google", "gemini");
        assert_eq!(found.map(ModelEntry::pattern), expected, "{names:?}");
    }
}
