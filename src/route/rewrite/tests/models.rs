//! Paths that name a model, an endpoint or a publisher.

use super::*;

/// Everything before the path below the location of `at("us-central1")`.
const US: &str =
    "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1";

fn publisher(name: &str) -> UpstreamBuilder {
    endpoint(Endpoint::Publisher { name: name.into() })
}

#[test]
fn every_form_of_a_path_has_its_url() {
    let us = |rest: &str| format!("{US}{rest}");
    let beta = |rest: &str| us(rest).replacen("/v1/", "/v1beta1/", 1);
    let own = "/endpoints/123";
    let cases: Vec<(UpstreamBuilder, &str, String)> = vec![
        // Vertex AI's own form, with any project and location.
        (at("us-central1"), "/v1/projects/q/locations/eu/publishers/google/models/m:generateContent", us("/publishers/google/models/m:generateContent")),
        (at("us-central1"), "/v1beta1/projects/p/locations/us-central1/publishers/meta/models/llama-4-maas:predict", beta("/publishers/meta/models/llama-4-maas:predict")),
        (at("us-central1"), "/projects/-/locations/-/publishers/google/models/m:countTokens", us("/publishers/google/models/m:countTokens")),
        (at("us-central1"), "/v1/publishers/anthropic/models/claude-opus-4@20250514:streamRawPredict", us("/publishers/anthropic/models/claude-opus-4@20250514:streamRawPredict")),
        (at("us-central1"), "/v1beta1/publishers/anthropic/models/count-tokens:rawPredict", beta("/publishers/anthropic/models/count-tokens:rawPredict")),
        (at("us-central1"), "/publishers/google/models/text-embedding-005:embedContent", us("/publishers/google/models/text-embedding-005:embedContent")),
        (at("us-central1"), "/v1/publishers/zai-org/models/glm_4.6:rawPredict", us("/publishers/zai-org/models/glm_4.6:rawPredict")),
        // Percent escapes of a name are decoded once.
        (at("us-central1"), "/v1/publishers/anthropic/models/claude-opus-4%4020250514:rawPredict", us("/publishers/anthropic/models/claude-opus-4@20250514:rawPredict")),
        (at("us-central1"), "/v1/publishers/google/models/%67emini:generateContent", us("/publishers/google/models/gemini:generateContent")),
        // The Gemini Developer API's form.
        (at("us-central1"), "/v1beta/models/gemini-2.5-flash:generateContent", beta("/publishers/google/models/gemini-2.5-flash:generateContent")),
        (at("us-central1"), "/v1alpha/models/m:computeTokens", beta("/publishers/google/models/m:computeTokens")),
        (at("us-central1"), "/v1/models/m:generateContent", us("/publishers/google/models/m:generateContent")),
        (at("us-central1"), "/models/m:generateContent", us("/publishers/google/models/m:generateContent")),
        (at("us-central1"), "/v1beta/models/meta/llama:predict", beta("/publishers/meta/models/llama:predict")),
        (at("us-central1"), "https://generativelanguage.googleapis.com/v1beta/models/m:streamGenerateContent?key=SECRET&alt=sse&$alt=x", beta("/publishers/google/models/m:streamGenerateContent?alt=sse")),
        (at("us-central1"), "/v1beta/models/m:generateContent?alt=json&prettyPrint=false", beta("/publishers/google/models/m:generateContent?alt=json")),
        // OpenAI's Responses at a publisher.
        (at("us-central1"), "/v1/projects/q/locations/x/publishers/openai/v1/responses", us("/publishers/openai/v1/responses")),
        (at("us-central1"), "/v1beta1/publishers/openai/v1/responses/", beta("/publishers/openai/v1/responses")),
        (at("us-central1"), "/v1/publishers/openai/v1/responses/compact", us("/publishers/openai/v1/responses/compact")),
        (at("us-central1"), "/v1/publishers/openai/v1/responses/resp_1?include[]=a&key=SECRET", us("/publishers/openai/v1/responses/resp_1?include[]=a")),
        // The upstream's version, if the client names none.
        (at("us-central1").api_version(ApiVersion::V1Beta1), "/models/m:predict", beta("/publishers/google/models/m:predict")),
        (at("us-central1").api_version(ApiVersion::V1Beta1), "/v1/models/m:predict", us("/publishers/google/models/m:predict")),
        // Prefixes.
        (at("us-central1").path_prefix("/gemini"), "/gemini/v1beta/models/m:predict", beta("/publishers/google/models/m:predict")),
        (at("us-central1").path_prefix("/gemini"), "/gemini/models/m:predict", us("/publishers/google/models/m:predict")),
        (at("us-central1").path_prefix(""), "/v1beta/models/m:predict", beta("/publishers/google/models/m:predict")),
        // Other hosts.
        (at("global"), "/v1/models/m:predict", "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google/models/m:predict".into()),
        (at("eu"), "/v1/models/m:predict", "https://aiplatform.eu.rep.googleapis.com/v1/projects/p/locations/eu/publishers/google/models/m:predict".into()),
        (at("eu").origin("http://127.0.0.1:9000"), "/v1/models/m:predict", "http://127.0.0.1:9000/v1/projects/p/locations/eu/publishers/google/models/m:predict".into()),
        // A publisher's own upstream.
        (publisher("google"), "/v1/models/m:predict", us("/publishers/google/models/m:predict")),
        (publisher("anthropic"), "/models/claude:rawPredict", us("/publishers/anthropic/models/claude:rawPredict")),
        (publisher("anthropic"), "/v1/projects/q/locations/eu/publishers/anthropic/models/claude:rawPredict", us("/publishers/anthropic/models/claude:rawPredict")),
        (publisher("openai"), "/v1/responses", us("/publishers/openai/v1/responses")),
        (publisher("openai"), "/responses/?alt=sse", us("/publishers/openai/v1/responses?alt=sse")),
        (publisher("openai"), "/v1/responses/resp_1?stream=true", us("/publishers/openai/v1/responses/resp_1?stream=true")),
        (publisher("openai"), "/v1/responses/compact", us("/publishers/openai/v1/responses/compact")),
        // An endpoint of one's own ignores the name, but the models of publishers are beside it.
        (deployed(), "/v1/models/anything:predict", us("/endpoints/123:predict")),
        (deployed(), "/v1beta/models/x:generateContent", beta("/endpoints/123:generateContent")),
        (deployed(), "/v1/endpoints/123:rawPredict", us("/endpoints/123:rawPredict")),
        (deployed(), "/v1beta1/projects/q/locations/x/endpoints/123:streamRawPredict?alt=sse", beta("/endpoints/123:streamRawPredict?alt=sse")),
        (deployed(), "/v1/publishers/google/models/m:predict", us("/publishers/google/models/m:predict")),
        (dedicated("a.b"), "/v1/endpoints/123:predict", format!("https://a.b/v1/projects/p/locations/us-central1{own}:predict")),
        (private("http://10.0.0.7"), "/models/m:predict", format!("http://10.0.0.7/v1/projects/p/locations/us-central1{own}:predict")),
        // Base URLs.
        (base_url("http://h/v1/projects/p/locations/l/endpoints/openapi"), "/v1beta/models/m:predict", "http://h/v1beta1/projects/p/locations/l/publishers/google/models/m:predict".into()),
        (base_url("http://h/a/v1beta1/projects/p/locations/l"), "/models/m:predict", "http://h/a/v1beta1/projects/p/locations/l/publishers/google/models/m:predict".into()),
        (base_url("http://h/projects/p/locations/l/publishers/meta"), "/v1beta/models/m:predict", "http://h/projects/p/locations/l/publishers/meta/models/m:predict".into()),
        (base_url("http://h/v1/projects/p/locations/l/endpoints/7"), "/v1beta/models/m:predict", "http://h/v1beta1/projects/p/locations/l/endpoints/7:predict".into()),
        (base_url("http://h/x").pass_through(true), "/v1beta/models/m:predict", "http://h/x/v1beta/models/m:predict".into()),
        // A longer list.
        (at("us-central1").model_methods(["predictLongRunning"]), "/v1/models/veo:predictLongRunning", us("/publishers/google/models/veo:predictLongRunning")),
    ];
    for (builder, input, expected) in cases {
        assert_eq!(run(&builder, input).as_deref(), Ok(&*expected), "{input}, {builder:?}");
    }
}

#[test]
fn one_system_parameter_is_forwarded_in_its_documented_form() {
    for (query, expected) in [
        ("?$alt=json;enum-encoding=int", "?$alt=json;enum-encoding=int"),
        ("?%24alt=json%3Benum-encoding%3Dint&key=S", "?%24alt=json%3Benum-encoding%3Dint"),
        ("?$alt=json", ""),
        ("?$alt=media", ""),
        ("?$alt=json;enum-encoding=int;key=S", ""),
        ("?$ALT=json;enum-encoding=int", ""),
        ("?%24alt=json%3benum-encoding%3dint", ""),
    ] {
        let found = run(&at("us-central1"), &format!("/v1/models/m:predict{query}"));
        let expected = format!("{US}/publishers/google/models/m:predict{expected}");
        assert_eq!(found, Ok(expected), "{query}");
        let chat = run(&at("eu"), &format!("/v1/chat/completions{query}")).unwrap();
        assert!(!chat.contains('?'), "{chat}");
    }
}

#[test]
fn host_and_path_follow_a_project_and_a_location_that_are_allowed() {
    let builder = at("us-central1")
        .allow_location("us-east5")
        .allow_location("global")
        .allow_location("us-central1")
        .allow_project("q");
    let east = "https://us-east5-aiplatform.googleapis.com/v1/projects";
    for (place, expected) in [
        ("projects/p/locations/us-east5", format!("{east}/p/locations/us-east5")),
        ("projects/q/locations/us-east5", format!("{east}/q/locations/us-east5")),
        ("projects/r/locations/us-east5", format!("{east}/p/locations/us-east5")),
        ("projects/q/locations/eu", US.replace("/p/", "/q/")),
        (
            "projects/q/locations/global",
            "https://aiplatform.googleapis.com/v1/projects/q/locations/global".into(),
        ),
        ("projects/p/locations/us-central1", US.into()),
        ("projects/p/locations/US-EAST5", US.into()),
        ("projects/p/locations/us%2Deast5", US.into()),
        ("projects/-/locations/-", US.into()),
    ] {
        let sub = "publishers/google/models/m:predict";
        let found = run(&builder, &format!("/v1/{place}/{sub}")).unwrap();
        assert_eq!(found, format!("{expected}/{sub}"), "{place}");
    }
    // One origin for all, such as an emulator's, and a host of one endpoint.
    let found = run(
        &builder.clone().origin("http://h"),
        "/v1/projects/q/locations/us-east5/publishers/google/models/m:predict",
    );
    let expected = "http://h/v1/projects/q/locations/us-east5/publishers/google/models/m:predict";
    assert_eq!(found.as_deref(), Ok(expected));
    let dedicated = dedicated("a.b").allow_location("us-east5");
    let found = run(&dedicated, "/v1/projects/p/locations/us-east5/endpoints/123:predict");
    let expected = "https://a.b/v1/projects/p/locations/us-central1/endpoints/123:predict";
    assert_eq!(found.as_deref(), Ok(expected));
}

/// The variant of an error.
fn kind(error: &RouteError) -> &'static str {
    match error {
        RouteError::InvalidPath { .. } => "invalid",
        RouteError::UnsupportedPath { .. } => "unsupported",
        RouteError::OtherResource { .. } => "other",
        RouteError::ModelMethodNotAllowed { .. } => "method",
        _ => "another",
    }
}

/// Paths that try to call another method, model, publisher or resource, and what refuses them at an
/// upstream for all models.
const HOSTILE: [(&str, &str); 87] = [
    // Methods that are not let through.
    ("/v1/publishers/google/models/m:predictLongRunning", "method"),
    ("/v1/publishers/google/models/m:delete", "method"),
    ("/v1/publishers/google/models/m:GenerateContent", "method"),
    ("/v1/publishers/google/models/m:PREDICT", "method"),
    ("/v1/publishers/google/models/m:predict%20", "method"),
    ("/v1/publishers/google/models/m:%70redict", "method"),
    ("/v1/publishers/google/models/m:predict;x=1", "method"),
    ("/v1/publishers/google/models/m:predict.", "method"),
    ("/v1/publishers/google/models/m:predict,delete", "method"),
    ("/v1/publishers/google/models/m:", "method"),
    ("/v1/publishers/google/models/m:responses2", "method"),
    ("/v1beta/models/m:batchGenerateContent", "method"),
    ("/v1beta/models/m:predict@x", "method"),
    ("/v1/endpoints/123:undeployModel", "method"),
    ("/v1/endpoints/123:deployModel", "method"),
    ("/v1/projects/p/locations/us-central1/endpoints/123:explain", "method"),
    // Two methods: the last one counts, and the model has no colon.
    ("/v1/publishers/google/models/m:generateContent:predict", "invalid"),
    ("/v1/publishers/google/models/m:predict:generateContent", "invalid"),
    ("/v1/publishers/google/models/m%3Adelete:predict", "invalid"),
    ("/v1/publishers/google/models/m%3adelete:predict", "invalid"),
    ("/v1beta/models/m::predict", "invalid"),
    ("/v1beta/models/m:predict:", "method"),
    ("/v1beta/models/m:predict%3Adelete", "method"),
    ("/v1beta/models/m%3Apredict", "unsupported"),
    ("/v1/publishers/google/models/m%3Apredict", "unsupported"),
    // Names of models.
    ("/v1beta/models/:predict", "invalid"),
    ("/v1beta/models/.:predict", "invalid"),
    ("/v1beta/models/..:predict", "invalid"),
    ("/v1beta/models/%2e%2e:predict", "invalid"),
    ("/v1beta/models/.hidden:predict", "invalid"),
    ("/v1beta/models/m;x:predict", "invalid"),
    ("/v1beta/models/;x:predict", "invalid"),
    ("/v1beta/models/m%3Bx:predict", "invalid"),
    ("/v1beta/models/m%20n:predict", "invalid"),
    ("/v1beta/models/m+n:predict", "invalid"),
    ("/v1beta/models/m*:predict", "invalid"),
    ("/v1beta/models/*:predict", "invalid"),
    ("/v1beta/models/m(1):predict", "invalid"),
    ("/v1beta/models/m~1:predict", "invalid"),
    ("/v1beta/models/m=1:predict", "invalid"),
    ("/v1beta/models/m$:predict", "invalid"),
    ("/v1beta/models/m%3F:predict", "invalid"),
    ("/v1beta/models/m%23:predict", "invalid"),
    ("/v1beta/models/a%2Fb:predict", "invalid"),
    ("/v1beta/models/a%5cb:predict", "invalid"),
    ("/v1beta/models/a%252fb:predict", "invalid"),
    ("/v1beta/models/a%00b:predict", "invalid"),
    ("/v1beta/models/a%0d%0ab:predict", "invalid"),
    ("/v1beta/models/\u{fc}:predict", "invalid"),
    ("/v1beta/models/%c3%bc:predict", "invalid"),
    ("/v1beta/models/%:predict", "invalid"),
    ("/v1beta/models/%zz:predict", "invalid"),
    // Publishers.
    ("/v1/publishers/Google/models/m:predict", "invalid"),
    ("/v1/publishers/%67oogle/models/m:predict", "invalid"),
    ("/v1/publishers/goo:gle/models/m:predict", "invalid"),
    ("/v1/publishers/g@o/models/m:predict", "invalid"),
    ("/v1/publishers/google;x/models/m:predict", "invalid"),
    ("/v1/publishers/-/../google/models/m:predict", "invalid"),
    ("/v1/publishers/../models/m:predict", "invalid"),
    ("/v1/publishers//models/m:predict", "invalid"),
    ("/v1/publishers/.../models/m:predict", "invalid"),
    ("/v1beta/models/m:generateContent/x:predict", "invalid"),
    ("/v1beta/models/../x:predict", "invalid"),
    // Other resources and other forms.
    ("/v1beta/models/m:generateContent/x", "unsupported"),
    ("/v1beta/models/m:generateContent/", "unsupported"),
    ("/v1beta/models/a/b/c:predict", "unsupported"),
    ("/v1/publishers/google/models/a/b:predict", "unsupported"),
    ("/v1beta/Models/m:predict", "unsupported"),
    ("/V1beta/models/m:predict", "unsupported"),
    ("/v1beta2/models/m:predict", "unsupported"),
    ("/v1/v1beta/models/m:predict", "unsupported"),
    ("/v1beta/tunedModels/m:predict", "unsupported"),
    ("/v1beta/cachedContents/m:predict", "unsupported"),
    ("/v1/Publishers/google/models/m:predict", "unsupported"),
    ("/v1/publishers/google/Models/m:predict", "unsupported"),
    ("/v1/publishers/google/models/m", "unsupported"),
    ("/v1/publishers/google/models", "unsupported"),
    ("/v1/projects/p/locations/l/models/m:predict", "other"),
    ("/v1/projects/p/locations/l/publishers/google/models/m", "other"),
    ("/v1/projects/p/publishers/google/models/m:predict", "other"),
    ("/v1/projects/p/locations/l/publishers/openai/v1/responses/r/cancel", "other"),
    ("/v1/publishers/openai/v1/responses/r/input_items", "unsupported"),
    ("/v1/publishers/openai/v1/chat/completions", "unsupported"),
    ("/v1/publishers/openai/v2/responses", "unsupported"),
    ("/v1/publishers/OpenAI/v1/responses", "invalid"),
    ("/v1/endpoints/123:predict", "other"),
    ("/v1/endpoints/openapi:predict", "other"),
];

#[test]
fn no_path_gets_around_the_list_of_methods_and_the_names_of_models() {
    let usual = at("us-central1");
    for (path, expected) in HOSTILE {
        let error = run(&usual, path).expect_err(path);
        assert_eq!(kind(&error), expected, "{path}: {error}");
    }
    // The same at upstreams of other kinds, which may refuse them for another reason.
    for builder in [
        at("us-central1").pass_through(true),
        at("us-central1").allow_location("l").allow_project("q"),
        at("us-central1").path_prefix("/v1beta"),
        publisher("google"),
        publisher("google").pass_through(true),
        publisher("openai"),
        base_url("http://h/v1/projects/p/locations/l/endpoints/openapi"),
    ] {
        let upstream = builder.build().unwrap();
        for (path, _) in HOSTILE {
            let uri: Uri = path.parse().unwrap();
            if let Ok(found) = rewrite(&upstream, &uri) {
                let below = found.path().strip_prefix(upstream.base_path());
                // A path that is passed through stays below the endpoint, with a method of the list.
                let method = below.and_then(|sub| sub.rsplit_once(':'));
                let goes = |method: &str| upstream.model_methods().have(method);
                let passed = upstream.pass_through()
                    && below.is_some()
                    && method.is_none_or(|(_, method)| goes(method));
                let is_prefixed = upstream.prefix() == "/v1beta" && path.starts_with("/v1beta/");
                assert!(passed || is_prefixed, "{path} is {found} at {upstream:?}");
            }
        }
    }
}

#[test]
fn a_deployed_endpoint_has_its_own_methods_and_those_of_no_other() {
    for (path, expected) in [
        ("/v1/endpoints/124:predict", "other"),
        ("/v1/endpoints/12%33:predict", "other"),
        ("/v1/endpoints/123%3Apredict:predict", "other"),
        ("/v1/endpoints/123:predict:predict", "other"),
        ("/v1/endpoints/:predict", "other"),
        ("/v1/endpoints/123;x:predict", "other"),
        ("/v1/endpoints/123:Predict", "method"),
        ("/v1/models/x:deployModel", "method"),
        ("/v1/endpoints/123/deployedModels/1:predict", "unsupported"),
        (
            "/v1/projects/p/locations/us-central1/endpoints/123/deployedModels/1:predict",
            "unsupported",
        ),
        ("/v1/projects/p/locations/us-central1/endpoints/124:predict", "other"),
        ("/v1/endpoints/../endpoints/123:predict", "invalid"),
    ] {
        let error = run(&deployed(), path).expect_err(path);
        let is_unsupported = kind(&error) == "invalid" && expected == "unsupported";
        assert!(kind(&error) == expected || is_unsupported, "{path}: {error}");
    }
    for builder in [dedicated("a.b"), private("a.b")] {
        for path in [
            "/v1/publishers/google/models/m:predict",
            "/v1/projects/p/locations/us-central1/publishers/google/models/m:predict",
            "/v1/publishers/openai/v1/responses",
        ] {
            let error = run(&builder, path).unwrap_err();
            assert_eq!(kind(&error), "unsupported", "{path}: {error}");
        }
    }
}

#[test]
fn a_publisher_has_no_other_paths() {
    for (path, expected) in [
        ("/v1/chat/completions", "unsupported"),
        ("/v1/embeddings", "unsupported"),
        ("/v1/invoke/x", "unsupported"),
        ("/v1/publishers/google/models/m:predict", "other"),
        ("/v1beta/models/google/m:predict", "other"),
        ("/v1/publishers/google/v1/responses", "other"),
        ("/v1/endpoints/123:predict", "other"),
        ("/v1/endpoints/openai:predict", "other"),
    ] {
        let error = run(&publisher("openai"), path).expect_err(path);
        assert_eq!(kind(&error), expected, "{path}: {error}");
    }
    // Without its method, there are no Responses.
    let builder = publisher("openai").model_methods(["predict"]);
    for path in ["/v1/responses", "/v1/responses/r", "/v1/responses?alt=sse", "/responses/compact"]
    {
        let error = run(&builder, path).expect_err(path);
        assert_eq!(kind(&error), "method", "{path}: {error}");
    }
}

#[test]
fn a_base_url_without_a_location_has_no_models() {
    for (url, path) in [
        ("http://h", "/v1/publishers/google/models/m:predict"),
        ("http://h/x", "/v1beta/models/m:predict"),
        ("http://h/projects/p", "/v1beta/models/m:predict"),
        ("http://h/projects/p/places/l/x", "/v1beta/models/m:predict"),
        ("http://h/v1/projects/p/locations/l/endpoints/7/invoke/v1", "/v1beta/models/m:predict"),
    ] {
        let error = run(&base_url(url), path).expect_err(path);
        assert_eq!(kind(&error), "unsupported", "{url} {path}: {error}");
    }
}

#[test]
fn a_message_needs_the_layer_that_reads_its_model() {
    for path in ["/v1/messages", "/messages", "/v1/messages/count_tokens", "/v1/messages/"] {
        let error = run(&at("eu"), path).unwrap_err();
        assert_eq!(kind(&error), "unsupported", "{path}");
        assert!(error.to_string().contains("VertexModelLayer"), "{error}");
    }
    for path in ["/v1/messages/batches", "/v1/messages/x/y", "/v1/message", "/v1/Messages"] {
        let error = run(&at("eu"), path).unwrap_err();
        assert!(error.to_string().contains("/chat/completions"), "{error}");
    }
}

#[test]
fn a_path_of_a_model_has_its_http_methods_and_no_others() {
    let upstream = at("eu").build().unwrap();
    for (path, allowed) in [
        ("/v1/publishers/google/models/m:predict", "POST"),
        ("/v1beta/models/m:generateContent?alt=sse", "POST"),
        ("/v1/publishers/openai/v1/responses", "POST"),
        ("/v1/publishers/openai/v1/responses/compact", "POST"),
        ("/v1/publishers/openai/v1/responses/r", "GET, HEAD, DELETE"),
    ] {
        let uri: Uri = path.parse().unwrap();
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "post"]
        {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let results = [
                resolve(&upstream, Some(&method), &uri).map(drop),
                check_method_for_path(&method, uri.path(), "/v1"),
            ];
            for result in results {
                if allowed.split(", ").any(|allowed| allowed == method.as_str()) {
                    assert_eq!(result, Ok(()), "{method} {path}");
                } else {
                    let method = method.to_string();
                    let refusal = RouteError::MethodNotAllowed { method, allowed };
                    assert_eq!(result, Err(refusal), "{path}");
                }
            }
        }
    }
    let get = |path| check_method_for_path(&Method::GET, path, "/v1");
    assert!(matches!(get("/v1/messages"), Err(RouteError::MethodNotAllowed { .. })));
    assert!(matches!(get("/v1beta/models/a%2fb:predict"), Err(RouteError::InvalidPath { .. })));
    assert_eq!(get("/v1beta/models"), Ok(()));
}

#[test]
fn a_method_that_is_not_let_through_is_named_with_those_that_are() {
    let error = run(&at("eu"), "/v1/models/m:tuneModel").unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with(r#""tuneModel" is not let through: use one of generateContent, "#));
    let error = crate::Error::from(error);
    assert_eq!((error.status().as_u16(), error.code()), (403, "model_method_not_allowed"));
    let none = at("eu").model_methods(Vec::<String>::new());
    let error = run(&none, "/v1/models/m:predict").unwrap_err();
    assert_eq!(error.to_string(), r#""predict" is not let through: no method of models is"#);
    assert!(run(&none, "/v1/chat/completions").is_ok());
}

#[test]
fn the_part_after_the_prefix_of_a_models_path_stays_as_it_is() {
    let upstream = at("eu").build().unwrap();
    for (path, expected) in [
        ("/v1/models/m:predict", "/models/m:predict"),
        ("/v1beta/models/m:predict", "/v1beta/models/m:predict"),
        (
            "/v1/projects/q/locations/l/publishers/google/models/m:predict",
            "/projects/q/locations/l/publishers/google/models/m:predict",
        ),
        ("/v1/messages", "/messages"),
    ] {
        assert_eq!(sub_path(&upstream, path), Ok(expected));
    }
}
