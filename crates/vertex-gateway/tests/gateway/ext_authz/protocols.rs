//! Requests of Gemini's and of Anthropic's clients behind Envoy.

use serde_json::Value;

use super::{Asked, Place, Verdict};

const ALICE: &str = "sk-alice-SECRET-0123456789";
const LOCATION: &str = "/projects/p1/locations/us-central1";
const CONTENTS: &str = r#"{"contents":[]}"#;

async fn error_of(envoy: &super::Envoy, asked: Asked) -> (i32, Value) {
    match envoy.ask(asked).await {
        Verdict::Answer { status, body, .. } => (status, body),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_path_of_a_model_is_rewritten_and_its_alias_too() {
    let place = Place::new().await;
    let config = place.write(
        "gateway.toml",
        "[[model]]\nname = \"fast\"\nmodel = \"gemini-2.5-flash\"\n[[model]]\nname = \"mine\"\n\
         location = \"us-east4\"\nendpoint = \"7\"\n",
    );
    let envoy = place.start(&["--config", &config]).await;
    let google = format!("{LOCATION}/publishers/google/models/gemini-2.5-flash");
    let claude = format!("{LOCATION}/publishers/anthropic/models/claude-opus-4-5");
    for (path, goes) in [
        (
            "/v1beta/models/gemini-2.5-flash:generateContent",
            format!("/v1beta1{google}:generateContent"),
        ),
        ("/v1beta/models/fast:generateContent?key=S", format!("/v1beta1{google}:generateContent")),
        (
            "/v1/models/fast:streamGenerateContent?alt=sse",
            format!("/v1{google}:streamGenerateContent?alt=sse"),
        ),
        (
            "/v1/projects/x/locations/y/publishers/google/models/fast:countTokens",
            format!("/v1{google}:countTokens"),
        ),
        (
            "/v1/projects/x/locations/y/publishers/anthropic/models/claude-opus-4-5:rawPredict",
            format!("/v1{claude}:rawPredict"),
        ),
        (
            "/v1/models/mine:predict",
            "/v1/projects/p1/locations/us-east4/endpoints/7:predict".to_owned(),
        ),
    ] {
        // Envoy may have withheld the body, which is not needed.
        for asked in [
            Asked::new("POST", path).body(CONTENTS),
            Asked::new("POST", path).body(CONTENTS).with("x-envoy-auth-partial-body", "true"),
            Asked::new("POST", path).body(CONTENTS).unread(),
        ] {
            let asked = asked.with("x-api-key", "S").with("x-goog-api-key", "S");
            let (set, removed) = envoy.pass(asked).await;
            assert_eq!(set[":path"], goes, "{path}");
            for name in ["x-api-key", "x-goog-api-key"] {
                assert!(removed.iter().any(|removed| removed == name), "{removed:?}");
            }
        }
    }
    let responses = "/v1/publishers/openai/v1/responses";
    let asked = |model: &str| {
        Asked::new("POST", responses).body(&format!(r#"{{"model":"{model}","input":"x"}}"#))
    };
    let (set, _) = envoy.pass(asked("gpt-5.5")).await;
    assert_eq!(set[":path"], format!("/v1{LOCATION}/publishers/openai/v1/responses"));
    // The body would have to be changed.
    let (status, code, _) = envoy.refused(asked("fast")).await;
    assert_eq!((status, &*code), (400, "model_alias_not_supported"));
    let messages = r#"{"model":"claude-opus-4-5","max_tokens":1,"messages":[]}"#;
    for path in ["/v1/messages", "/messages?beta=true", "/v1/messages/count_tokens"] {
        let (status, body) = error_of(&envoy, Asked::new("POST", path).body(messages)).await;
        assert_eq!((status, &body["error"]["type"]), (404, &"not_found_error".into()), "{path}");
        assert_eq!(body["error"]["details"]["error_code"], "unsupported_path");
        assert!(body["error"]["message"].as_str().unwrap().contains("AnthropicVertex"), "{body}");
    }
    assert_eq!(place.vertex.stats().api_requests, 0);
}

#[tokio::test]
async fn a_key_in_any_place_counts_and_its_list_holds_for_the_path() {
    let place = Place::new().await;
    let keys = place.write("keys", &format!("alice:{ALICE}\n"));
    let config = place
        .write("gateway.toml", "[[client]]\nname = \"alice\"\nmodels = [\"gemini-2.5-flash\"]\n");
    let envoy = place.start(&["--client-key-file", &keys, "--config", &config]).await;
    let path = |model: &str| format!("/v1beta/models/{model}:generateContent");
    let with_query = format!("{}?key={ALICE}", path("gemini-2.5-flash"));
    let of = |path: &str| Asked::new("POST", path).body(CONTENTS);
    for asked in [
        of(&path("gemini-2.5-flash")).with("x-api-key", ALICE),
        of(&path("gemini-2.5-flash")).with("x-goog-api-key", ALICE),
        of(&path("gemini-2.5-flash")).with("x-goog-api-key", ALICE).key("ya29.other"),
        of(&with_query),
    ] {
        let (set, _) = envoy.pass(asked).await;
        assert!(!set[":path"].contains("key"), "{set:?}");
        assert!(
            !set["authorization"].contains("SECRET")
                && !set["authorization"].contains("ya29.other")
        );
    }
    for (asked, status, reason) in [
        (of(&path("gemini-2.5-flash")), 401, "INVALID_API_KEY"),
        (of(&path("gemini-2.5-flash")).with("x-goog-api-key", "other"), 401, "INVALID_API_KEY"),
        (of(&path("gemini-2.5-pro")).with("x-goog-api-key", ALICE), 403, "MODEL_NOT_ALLOWED"),
        (of(&path("%67emini-2.5-pro")).with("x-goog-api-key", ALICE), 403, "MODEL_NOT_ALLOWED"),
        (
            of("/v1beta/models/gemini-2.5-flash:tuneModel").with("x-goog-api-key", ALICE),
            403,
            "MODEL_METHOD_NOT_ALLOWED",
        ),
        (
            of("/v1beta/tunedModels/x:generateContent").with("x-api-key", ALICE),
            404,
            "UNSUPPORTED_PATH",
        ),
    ] {
        let (found, body) = error_of(&envoy, asked).await;
        let info = &body["error"]["details"][0]["reason"];
        assert_eq!((found, info), (status, &reason.into()), "{body}");
        assert_eq!(body["error"]["code"], status, "{body}");
        assert!(!body.to_string().contains("SECRET"), "{body}");
    }
}
