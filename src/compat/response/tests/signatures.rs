use super::*;
use crate::compat::{SignatureOwner, Signatures};

fn signed_context() -> (ResponseContext, Signatures, SignatureOwner) {
    let signatures = Signatures::new();
    let owner = signatures.owner("key", "project", "google/gemini-3.1-pro-preview");
    let store = Some((signatures.clone(), owner));
    let context = ResponseContext { signatures: store, ..context(Cures::default()) };
    (context, signatures, owner)
}

const SIGNED: &str = r#""extra_content":{"google":{"thought_signature":"c2ln"}}"#;

#[test]
fn the_signature_of_a_stream_is_remembered_by_id_and_by_arguments() {
    let (context, signatures, owner) = signed_context();
    stream_with(&context, DOCUMENTED_ARGUMENTS);
    let find = |id| signatures.find(owner, id);
    assert_eq!(find("function-call-c855348a-459a-46a4-a8ad-aa0a4e7c3563").as_deref(), Some("..."));
    assert_eq!(find("function-call-df0d087c-ad74-46f1-ba4a-9353cbf288a8"), None, "a parallel call");
    let arguments = r#"{"unit": "celsius", "location": "Boston, MA"}"#;
    let found = signatures.find_by_arguments(owner, "get_current_weather", arguments);
    assert_eq!(found.as_deref(), Some("..."));
    assert_eq!(signatures.stats().entries, 1);
}

#[test]
fn the_signature_of_a_body_is_remembered() {
    let (context, signatures, owner) = signed_context();
    let text = format!(
        "{{\"choices\":[{{\"finish_reason\":\"tool_calls\",\"index\":0,\"message\":{{\"role\":\"assistant\",\"content\":null,\
         \"tool_calls\":[{{{SIGNED},\"function\":{{\"arguments\":\"{{}}\",\"name\":\"f\"}},\"id\":\"a\",\"type\":\"function\"}},\
         {{\"function\":{{\"arguments\":\"[]\",\"name\":\"g\"}},\"id\":\"b\",\"type\":\"function\"}}]}}}}]}}"
    );
    assert_eq!(body_with(&context, &text), text, "the body stays");
    assert_eq!(signatures.find(owner, "a").as_deref(), Some("c2ln"));
    assert_eq!(signatures.find_by_arguments(owner, "f", "{ }").as_deref(), Some("c2ln"));
    assert_eq!(signatures.find(owner, "b"), None);
}

#[test]
fn a_signature_after_the_calls_belongs_to_the_first_one() {
    let call = |id: &str| {
        calls_chunk(&format!(
            "{{\"function\":{{\"arguments\":\"[]\",\"name\":\"f\"}},\"id\":\"{id}\",\"type\":\"function\"}}"
        ))
    };
    for trailing in [
        chunk(&format!("\"delta\":{{\"content\":\"\",{SIGNED}}},\"finish_reason\":\"stop\"")),
        chunk(&format!("\"delta\":{{{SIGNED},\"role\":\"assistant\"}}")),
        calls_chunk(&format!("{{{SIGNED}}}")),
    ] {
        let (context, signatures, owner) = signed_context();
        let output = stream_with(&context, &[call("a"), call("b"), trailing].concat());
        assert_eq!(signatures.find(owner, "a").as_deref(), Some("c2ln"), "{output}");
        assert_eq!(signatures.find(owner, "b"), None);
        let has_function = |call: &serde_json::Value| call["function"].is_object();
        let is_cured = |text: &serde_json::Value| {
            let calls = text["choices"][0]["delta"]["tool_calls"].as_array();
            calls.is_none_or(|calls| calls.iter().all(has_function))
        };
        assert!(texts(&output).iter().all(is_cured), "{output}");
    }
}

#[test]
fn a_signature_of_text_is_not_remembered() {
    let (context, signatures, _) = signed_context();
    stream_with(&context, &chunk(&format!("\"delta\":{{\"content\":\"x\",{SIGNED}}}")));
    assert_eq!(signatures.stats().remembered, 0);
}

#[test]
fn the_id_that_the_client_gets_is_remembered() {
    let call =
        format!("{{{SIGNED},\"function\":{{\"arguments\":\"[]\",\"name\":\"f\"}},\"id\":\"\"}}");
    let (context, signatures, owner) = signed_context();
    stream_with(&context, &calls_chunk(&call));
    let found = signatures.find(owner, "call_nQiNafGyF5rw998PstqooAY_0_0");
    assert_eq!(found.as_deref(), Some("c2ln"));
    // Without ids there is nothing to remember.
    let (mut context, signatures, _) = signed_context();
    context.cures = Cures::none().signatures(true);
    let text = calls_chunk(&call);
    assert_eq!(stream_with(&context, &text), text);
    assert_eq!(signatures.stats().remembered, 0);
}

#[test]
fn arguments_of_64_kib_are_remembered_and_longer_ones_are_not() {
    for (length, found) in [(64 << 10, true), ((64 << 10) + 1, false)] {
        let arguments = format!("[{}]", " ".repeat(length - 2));
        let (context, signatures, owner) = signed_context();
        let of = |members: &str, arguments: &str| {
            calls_chunk(&format!(
                "{{{members}\"id\":\"a\",\"function\":{{\"arguments\":\"{arguments}\",\"name\":\"f\"}}}}"
            ))
        };
        let (first, second) = arguments.split_at(length / 2);
        let chunks = [of(&format!("{SIGNED},"), first), of("", second)].concat();
        stream_of(&context, [chunks.as_bytes()]);
        assert!(signatures.find(owner, "a").is_some());
        let by_arguments = signatures.find_by_arguments(owner, "f", &arguments);
        assert_eq!(by_arguments.is_some(), found, "{length}");
    }
}

#[test]
fn the_arguments_of_a_choice_are_remembered_up_to_64_kib() {
    let (context, signatures, owner) = signed_context();
    let arguments = |n: usize| format!("[{n}{}]", " ".repeat(40 << 10));
    let of = |n: usize| {
        calls_chunk(&format!(
            "{{{SIGNED},\"id\":\"{n}\",\"function\":{{\"arguments\":\"{}\",\"name\":\"f\"}}}}",
            arguments(n)
        ))
    };
    stream_of(&context, [(of(1) + &of(2)).as_bytes()]);
    assert!(signatures.find(owner, "1").is_some() && signatures.find(owner, "2").is_some());
    assert!(signatures.find_by_arguments(owner, "f", &arguments(1)).is_some());
    assert!(signatures.find_by_arguments(owner, "f", &arguments(2)).is_none());
}

#[test]
fn a_signature_that_names_its_call_by_id_or_by_index_belongs_to_it() {
    for name in ["\"id\":\"b\"", "\"index\":1"] {
        let (context, signatures, owner) = signed_context();
        let call = |id: &str, index: usize| {
            calls_chunk(&format!(
                "{{\"function\":{{\"arguments\":\"[]\",\"name\":\"f\"}},\"id\":\"{id}\",\"index\":{index}}}"
            ))
        };
        let signature = calls_chunk(&format!("{{{name},{SIGNED}}}"));
        stream_with(&context, &[call("a", 0), call("b", 1), signature].concat());
        assert_eq!(signatures.find(owner, "a"), None, "{name}");
        assert_eq!(signatures.find(owner, "b").as_deref(), Some("c2ln"), "{name}");
    }
}

#[test]
fn the_arguments_of_a_call_without_a_signature_are_not_remembered() {
    let (context, signatures, owner) = signed_context();
    let of = |members: &str, arguments: &str| {
        calls_chunk(&format!(
            "{{{members}\"id\":\"a\",\"function\":{{\"arguments\":\"{arguments}\",\"name\":\"f\"}}}}"
        ))
    };
    // The first stream is interrupted, and the id comes again in another one.
    stream_of(&context, [of(&format!("{SIGNED},"), "{").as_bytes()]);
    stream_of(&context, [of("", "[]").as_bytes()]);
    assert!(signatures.find(owner, "a").is_some());
    assert!(signatures.find_by_arguments(owner, "f", "[]").is_none());
}

#[test]
fn an_event_that_comes_again_is_read_again_if_it_is_about_a_call() {
    let (context, signatures, owner) = signed_context();
    let call = |delta: &str| chunk(&format!("\"delta\":{{\"content\":\"\",{delta}}}"));
    let part = |arguments: &str| {
        call(&format!(r#""tool_calls":[{{"index":0,"function":{{"arguments":"{arguments}"}}}}]"#))
    };
    let first = r#""role":"assistant","tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":"["}}]"#;
    let signature = call(SIGNED);
    let events = [signature.clone(), signature.clone(), call(first)];
    let parts = [part("1,"), part("1,"), part("1]"), signature];
    stream_with(&context, &events.into_iter().chain(parts).collect::<String>());
    assert_eq!(signatures.find(owner, "a").as_deref(), Some("c2ln"));
    assert_eq!(signatures.find_by_arguments(owner, "f", "[1,1,1]").as_deref(), Some("c2ln"));
}

#[test]
fn nothing_is_remembered_without_the_cure() {
    let (mut context, signatures, _) = signed_context();
    context.cures = Cures::default().signatures(false);
    stream_with(&context, DOCUMENTED_ARGUMENTS);
    assert_eq!(signatures.stats().remembered, 0);
}
