use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

const USAGE: &str = r#""usage":{"completion_tokens":0,"prompt_tokens":8,"total_tokens":8}"#;

#[test]
fn a_blocked_response_has_a_message() {
    let input = format!(
        "{{\"choices\":[{{\"index\":0,\"finish_reason\":\"content_filter: PROHIBITED_CONTENT\"}}],{USAGE}}}"
    );
    let expected = format!(
        "{{\"choices\":[{{\"index\":0,\"finish_reason\":\"content_filter\",\
         \"message\":{{\"role\":\"assistant\",\"content\":null,\"refusal\":null}},\
         \"native_finish_reason\":\"content_filter: PROHIBITED_CONTENT\"}}],{USAGE}}}"
    );
    assert_eq!(body(Cures::default(), &input), expected);
}

#[test]
fn empty_messages_are_completed() {
    for (choice, expected) in [
        (
            r#"{"index":0,"message":{"role":"assistant"}}"#,
            r#"{"index":0,"message":{"role":"assistant","content":null},"finish_reason":"stop"}"#,
        ),
        (
            r#"{"index":0,"message":null,"finish_reason":null}"#,
            r#"{"index":0,"message":{"role":"assistant","content":null,"refusal":null},"finish_reason":"stop"}"#,
        ),
        (
            r#"{"finish_reason":"length","index":0,"message":{}}"#,
            r#"{"finish_reason":"length","index":0,"message":{"content":null,"role":"assistant"}}"#,
        ),
        (
            r#"{"index":0,"message":{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}}"#,
            r#"{"index":0,"message":{"role":"assistant","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}],"content":null},"finish_reason":"tool_calls"}"#,
        ),
    ] {
        let of = |choice| format!("{{\"choices\":[{choice}],{USAGE}}}");
        assert_eq!(body(Cures::default(), &of(choice)), of(expected));
        assert_eq!(body(Cures::default(), &of(expected)), of(expected));
    }
}

#[test]
fn missing_counts_are_added() {
    let input = r#"{"choices":[],"usage":{"total_tokens":8}}"#;
    let expected =
        r#"{"choices":[],"usage":{"total_tokens":8,"prompt_tokens":8,"completion_tokens":0}}"#;
    assert_eq!(body(Cures::default(), input), expected);
}

#[test]
fn the_form_of_a_body_stays() {
    let input = "{\n  \"choices\": [ {\n    \"finish_reason\": \"function_call_filter: X\",\n    \"index\": 0,\n    \
                 \"message\": { \"role\": \"assistant\", \"content\": \"\\u00e9\" }\n  } ],\n  \"x\": 1.50\n}\n";
    let expected = "{\n  \"choices\": [ {\n    \"finish_reason\": \"content_filter\",\n    \"index\": 0,\n    \
                 \"message\": { \"role\": \"assistant\", \"content\": \"\\u00e9\" },\
                 \"native_finish_reason\":\"function_call_filter: X\"\n  } ],\n  \"x\": 1.50\n}\n";
    assert_eq!(body(Cures::default(), input), expected);
}

#[test]
fn bodies_with_nothing_to_cure_are_not_copied() {
    for text in [
        "",
        "not JSON",
        "[]",
        r#"{"error":{"message":"x"}}"#,
        r#"{"choices":[{"index":0}],"choices":[]}"#,
        r#"{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"x","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":9,"total_tokens":10,"completion_tokens_details":{"reasoning_tokens":4}}}"#,
    ] {
        let input = Bytes::from(text.as_bytes().to_vec());
        let output = cure_body(&context(Cures::all()), input.clone());
        assert_eq!((output.as_ptr(), &output), (input.as_ptr(), &input), "{text}");
    }
}

#[test]
fn a_thought_of_a_body_leaves_its_content_empty() {
    let input = r#"{"choices":[{"finish_reason":"stop","index":0,"message":{"content":"x","extra_content":{"google":{"thought":true}},"role":"assistant"}}]}"#;
    let output = body(Cures::default().thoughts(true), input);
    let message = &serde_json::from_str::<Json>(&output).unwrap()["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "x");
    assert!(message["content"].is_null());
    assert_eq!(body(Cures::default(), input), input);
}

fn embeddings(base64: bool, text: &str) -> String {
    let operation = Operation::Embeddings { base64 };
    body_with(&ResponseContext { operation, ..context(Cures::default()) }, text)
}

#[test]
fn embeddings_are_in_base64_if_the_request_has_that_format() {
    let input = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2,3e-1]},{"index":1,"embedding":"AAAAAA=="}],"usage":{"prompt_tokens":2,"total_tokens":2}}"#;
    let output: Json = serde_json::from_str(&embeddings(true, input)).unwrap();
    let decoded = STANDARD.decode(output["data"][0]["embedding"].as_str().unwrap()).unwrap();
    let floats: Vec<_> =
        decoded.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).collect();
    assert_eq!(floats, [0.1, -2.0, 0.3]);
    assert_eq!(output["data"][1]["embedding"], "AAAAAA==");
    assert_eq!(embeddings(false, input), input);
    let without = input.replace(r#","usage":{"prompt_tokens":2,"total_tokens":2}"#, "");
    let output: Json = serde_json::from_str(&embeddings(false, &without)).unwrap();
    assert_eq!(output["usage"]["total_tokens"], 0);
}
