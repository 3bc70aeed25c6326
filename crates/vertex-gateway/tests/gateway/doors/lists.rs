//! The models of a key hold for every form of a request.

use tower_vertex_emulator::EndpointInfo;

use super::*;

const ALL: [(Protocol, &str, &str); 3] = [
    (Protocol::Gemini, GEMINI, "google"),
    (Protocol::Anthropic, CLAUDE, "anthropic"),
    (Protocol::OpenAi, GPT, "openai"),
];

fn rules(models: &str) -> String {
    format!("[[client]]\nname = \"alice\"\nmodels = {models}\n")
}

/// Whether a request of Alice was forwarded. A refusal must be that of her list.
async fn is_forwarded(
    place: &Place,
    gateway: &Gateway,
    protocol: Protocol,
    form: &(String, Value),
) -> bool {
    is_forwarded_for(ALICE, place, gateway, protocol, form).await
}

async fn is_forwarded_for(
    key: &str,
    place: &Place,
    gateway: &Gateway,
    protocol: Protocol,
    (path, body): &(String, Value),
) -> bool {
    let before = place.vertex.requests().len();
    let response = gateway.call(of_key(post(path, body), key)).await;
    let went = place.vertex.requests().len() - before;
    if went == 0 {
        let (status, code, message) = refusal(protocol, response).await;
        assert_eq!((status, &*code), (403, "model_not_allowed"), "{path}: {message}");
    } else {
        assert_eq!(went, 1, "{path}");
    }
    went == 1
}

/// The key of a client with this number.
fn numbered(number: usize) -> String {
    format!("sk-{number:02}-SECRET-0123456789")
}

/// Starts a sidecar with a client for each of these rules.
async fn start_for(place: &Place, rules: &[String]) -> Gateway {
    let (mut keys, mut config) = (String::new(), String::new());
    for (number, rule) in rules.iter().enumerate() {
        keys.push_str(&format!("c{number}:{}\n", numbered(number)));
        config.push_str(&format!("[[client]]\nname = \"c{number}\"\n{rule}\n"));
    }
    put(place.files.path(), "keys", &keys);
    place.start(&config, &[]).await
}

#[tokio::test]
async fn a_model_of_a_list_may_have_its_publisher_or_not() {
    let place = Place::new().await;
    let mut lists = Vec::new();
    for (protocol, model, publisher) in ALL {
        let start = model.split('-').next().unwrap();
        for (list, allows) in [
            (format!("[{model:?}]"), true),
            (format!("[\"{publisher}/{model}\"]"), true),
            (format!("[\"{publisher}/*\"]"), true),
            (format!("[\"x\", \"{start}-*\"]"), true),
            ("[]".to_owned(), false),
            ("[\"x/*\"]".to_owned(), false),
            ("[\"other\"]".to_owned(), false),
        ] {
            lists.push((protocol, model, list, allows));
        }
    }
    let rules: Vec<_> = lists.iter().map(|(_, _, list, _)| format!("models = {list}")).collect();
    let gateway = start_for(&place, &rules).await;
    for (number, (protocol, model, list, allows)) in lists.into_iter().enumerate() {
        let key = numbered(number);
        for form in every_form(protocol, model) {
            let forwarded = is_forwarded_for(&key, &place, &gateway, protocol, &form).await;
            assert_eq!(forwarded, allows, "{list} {form:?}");
        }
        if list.contains('*') {
            continue;
        }
        for other in ["gemini-2.5-pro", "claude-haiku-4-5", "gpt-4"] {
            for form in every_form(protocol, other) {
                let forwarded = is_forwarded_for(&key, &place, &gateway, protocol, &form).await;
                assert!(!forwarded, "{list} {form:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_alias_of_a_list_leads_to_its_model_on_every_form() {
    let place = Place::new().await;
    let config = format!(
        "[[model]]\nname = \"fast\"\nmodel = \"{GEMINI}\"\n[[model]]\nname = \"wise\"\nmodel = \
         \"anthropic/{CLAUDE}\"\n{}",
        rules("[\"fast\", \"wise\"]")
    );
    let gateway = place.start(&config, &[]).await;
    for (protocol, alias, model) in
        [(Protocol::Gemini, "fast", GEMINI), (Protocol::Anthropic, "wise", CLAUDE)]
    {
        for form in every_form(protocol, alias) {
            assert!(is_forwarded(&place, &gateway, protocol, &form).await, "{form:?}");
            let path = place.vertex.requests().pop().unwrap().path;
            assert!(!path.contains(alias), "{path}");
            assert!(
                path.contains(&format!("/{model}:")) || path.contains("count-tokens"),
                "{path}"
            );
        }
        for form in every_form(protocol, model) {
            assert!(!is_forwarded(&place, &gateway, protocol, &form).await, "{form:?}");
        }
    }
    place.logged("model=\"fast\"").await;
    place.logged("model=\"wise\"").await;
}

#[tokio::test]
async fn an_alias_for_a_model_of_another_publisher_is_not_one_of_the_publisher_in_its_path() {
    let place = Place::new().await;
    let aliases = format!(
        "[[model]]\nname = \"wise\"\nmodel = \"anthropic/{CLAUDE}\"\n[[model]]\nname = \"fast\"\n\
         model = \"google/{GEMINI}\"\n"
    );
    for (protocol, alias, list, allowed) in [
        (Protocol::Gemini, "wise", "[\"google/*\"]", false),
        (Protocol::Gemini, "wise", "[\"wise\"]", true),
        (Protocol::Gemini, "fast", "[\"google/*\"]", true),
        (Protocol::Anthropic, "fast", "[\"anthropic/*\"]", false),
        (Protocol::Anthropic, "wise", "[\"anthropic/*\"]", true),
        // Vertex AI has this model under another name, and it is Anthropic's all the same.
        (Protocol::Anthropic, "claude-haiku-4-5-20251001", "[\"anthropic/*\"]", true),
    ] {
        let gateway = place.start(&format!("{aliases}{}", rules(list)), &[]).await;
        for form in every_form(protocol, alias) {
            let forwarded = is_forwarded(&place, &gateway, protocol, &form).await;
            assert_eq!(forwarded, allowed, "{list} {form:?}");
        }
    }
}

#[tokio::test]
async fn a_key_with_a_list_has_no_endpoint_whose_model_is_unknown() {
    let place = Place::new().await;
    place.vertex.set_endpoints([EndpointInfo::shared("77", "mine")]);
    let config = format!("[[model]]\nname = \"mine\"\nendpoint = \"77\"\n{}", rules("[\"*\"]"));
    let gateway = place.start(&config, &[]).await;
    let body = json!({ "instances": [] });
    for path in [
        "/v1/projects/p1/locations/us-central1/endpoints/77:predict",
        "/v1beta1/projects/x/locations/y/endpoints/77:rawPredict",
        "/v1/endpoints/77:generateContent",
    ] {
        let form = (path.to_owned(), body.clone());
        assert!(!is_forwarded(&place, &gateway, Protocol::Gemini, &form).await, "{path}");
        let before = place.vertex.requests().len();
        gateway.call(of_key(post(path, &body), BOB)).await;
        let came = place.vertex.requests();
        assert_eq!(came.len(), before + 1, "{path}");
        let went = &came.last().unwrap().path;
        let to = "/projects/p1/locations/us-central1/endpoints/77:";
        assert!(went.contains(to), "{path}: {went}");
    }
}

#[tokio::test]
async fn stored_responses_of_a_publisher_are_for_keys_that_share_them() {
    let place = Place::new().await;
    let config = "[[client]]\nname = \"alice\"\nshared_responses = true\n";
    let gateway = place.start(config, &[]).await;
    for base in [
        "/v1/publishers/openai/v1",
        "/publishers/openai/v1",
        "/v1beta1/projects/x/locations/y/publishers/openai/v1",
    ] {
        let stored = json!({ "model": GPT, "input": "x", "previous_response_id": "resp_1" });
        let get = |method: &str, sub: &str| {
            let request = Request::builder().method(method).uri(format!("{base}{sub}"));
            request.body(Full::<Bytes>::default()).unwrap()
        };
        for request in [
            get("GET", "/responses/resp_1"),
            get("HEAD", "/responses/resp_1"),
            get("DELETE", "/responses/resp_1"),
            post(&format!("{base}/responses"), &stored),
            post(&format!("{base}/responses/compact"), &stored),
        ] {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let before = place.vertex.requests().len();
            let response = gateway.call(of_key(request.clone(), BOB)).await;
            assert_eq!(response.status(), 403, "{method} {uri}");
            if method != "HEAD" {
                let (_, code, _) = refusal(Protocol::OpenAi, response).await;
                assert_eq!(code, "stored_response_not_allowed", "{method} {uri}");
            }
            assert_eq!(place.vertex.requests().len(), before);
            gateway.call(of_key(request, ALICE)).await;
            assert_eq!(place.vertex.requests().len(), before + 1, "{method} {uri}");
        }
    }
}

#[tokio::test]
async fn limits_of_a_key_hold_for_every_form() {
    let place = Place::new().await;
    let forms = ALL.into_iter().flat_map(|(protocol, model, _)| {
        every_form(protocol, model).into_iter().map(move |form| (protocol, form))
    });
    let forms: Vec<_> = forms.collect();
    let rules = vec!["requests_per_minute = 1".to_owned(); forms.len()];
    let gateway = start_for(&place, &rules).await;
    for (number, (protocol, (path, body))) in forms.into_iter().enumerate() {
        let (key, before) = (numbered(number), place.vertex.requests().len());
        gateway.call(of_key(post(&path, &body), &key)).await;
        let refused = gateway.call(of_key(post(&path, &body), &key)).await;
        assert!(refused.headers().contains_key("retry-after"), "{path}");
        let (status, code, _) = refusal(protocol, refused).await;
        assert_eq!((status, &*code), (429, "rate_limit_exceeded"), "{path}");
        assert_eq!(place.vertex.requests().len(), before + 1, "{path}");
    }
}

#[tokio::test]
async fn a_list_of_methods_and_places_of_clients_are_options() {
    let place = Place::new().await;
    let options = ["--model-methods", "countTokens,rawPredict", "--client-locations"];
    let options = [&options[..], &["europe-west4", "--client-projects=p2"]].concat();
    let gateway = place.start("", &options).await;
    let body = json!({ "contents": [] });
    let forbidden = ["generateContent", "streamGenerateContent", "predict", "streamRawPredict"];
    for method in forbidden {
        let path = format!("/v1beta/models/{GEMINI}:{method}");
        let response = gateway.call(of_key(post(&path, &body), ALICE)).await;
        let (status, code, message) = refusal(Protocol::Gemini, response).await;
        assert_eq!((status, &*code), (403, "model_method_not_allowed"), "{path}");
        assert!(message.contains("countTokens, rawPredict"), "{message}");
    }
    assert_eq!(place.vertex.stats().api_requests, 0);
    for (project, location, goes) in [
        ("p2", "europe-west4", "projects/p2/locations/europe-west4/"),
        ("p1", "europe-west4", "projects/p1/locations/europe-west4/"),
        ("p2", "us-central1", "projects/p2/locations/us-central1/"),
        ("p3", "asia-east1", "projects/p1/locations/us-central1/"),
    ] {
        let path = format!(
            "/v1/projects/{project}/locations/{location}/publishers/google/models/{GEMINI}:countTokens"
        );
        gateway.call(of_key(post(&path, &body), ALICE)).await;
        let went = place.vertex.requests().pop().unwrap().path;
        assert!(went.contains(goes), "{path}: {went}");
    }
}
