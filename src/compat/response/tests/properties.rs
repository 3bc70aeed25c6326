use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::compat::Cure;

/// A chunk as any model might send it.
fn any_chunk() -> impl Strategy<Value = Json> {
    let text = prop_oneof![Just(json!(null)), "[a-z\"\\\\\n]{0,6}".prop_map(Json::from)];
    let reason = prop_oneof![
        Just(json!(null)),
        Just(json!("stop")),
        Just(json!("length")),
        Just(json!("content_filter: SAFETY")),
        Just(json!("function_call_filter: MALFORMED_FUNCTION_CALL")),
    ];
    let call = (
        prop_oneof![Just(None), Just(Some("")), Just(Some("a")), Just(Some("b"))],
        prop_oneof![Just(json!(null)), (0_u64..3).prop_map(Json::from)],
        prop_oneof![Just(None), Just(Some("f")), Just(Some("g"))],
        prop_oneof![Just(""), Just("{}"), Just("{\"x\":"), Just("1}")],
        any::<bool>(),
    );
    let call = call.prop_map(|(id, index, name, arguments, signed)| {
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if let Some(id) = id {
            call["id"] = id.into();
        }
        if let Some(name) = name {
            call["function"]["name"] = name.into();
        }
        if signed {
            call["extra_content"] = json!({"google": {"thought_signature": "s"}});
        }
        call
    });
    let calls = proptest::collection::vec(call, 0..3);
    (text, reason, calls, 0_u64..2, any::<[bool; 6]>()).prop_map(
        |(text, reason, calls, index, has)| {
            let mut delta = json!({"content": text});
            if has[0] {
                delta["role"] = "assistant".into();
            }
            if has[1] {
                delta["tool_calls"] = calls.into();
            }
            if has[2] {
                delta["extra_content"] = json!({"google": {"thought": true}});
            }
            let mut choice = json!({"index": index, "finish_reason": reason, "delta": delta});
            if has[3] {
                choice.as_object_mut().unwrap().remove("delta");
            }
            let mut chunk = json!({"id": "r", "choices": [choice]});
            if has[4] {
                chunk["usage"] = json!({"prompt_tokens": 1, "total_tokens": 9,
                    "completion_tokens_details": {"reasoning_tokens": 3}});
            }
            if has[5] {
                chunk["error"] = json!({"code": 429});
            }
            chunk
        },
    )
}

/// Removes the members that a cure may change, everywhere.
fn without(value: &mut Json, keys: &[&str]) {
    match value {
        Json::Object(map) => {
            keys.iter().for_each(|key| drop(map.remove(*key)));
            map.values_mut().for_each(|value| without(value, keys));
        }
        Json::Array(list) => list.iter_mut().for_each(|value| without(value, keys)),
        _ => {}
    }
}

/// The members that a cure of responses may change.
fn changed_by(cure: Cure) -> &'static [&'static str] {
    match cure {
        Cure::Role => &["role"],
        Cure::FinishReason => &["finish_reason", "native_finish_reason"],
        Cure::StopAfterCalls => &["finish_reason"],
        Cure::MissingMembers => &["delta", "choices", "usage"],
        Cure::ToolCalls => &["index", "id", "type", "name"],
        Cure::ReasoningTokens => &["completion_tokens"],
        Cure::Thoughts => &["content", "reasoning_content"],
        Cure::Events => &["error"],
        _ => &[],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_cure_changes_its_members_only(
        chunks in proptest::collection::vec(any_chunk(), 1..6),
        pretty in any::<bool>(),
        size in 1_usize..2000,
    ) {
        let events: String = chunks
            .iter()
            .map(|chunk| {
                // `{:#}` has line ends, which are legal only between several `data` lines.
                let text = if pretty { format!("{chunk:#}").replace('\n', "") } else { chunk.to_string() };
                format!("data: {text}\n\n")
            })
            .collect();
        for cure in Cure::ALL {
            let context = context(Cures::none().with(*cure, true));
            let output = stream_of(&context, events.as_bytes().chunks(size));
            let mut cured = texts(&output);
            let mut expected = chunks.clone();
            prop_assert_eq!(cured.len(), expected.len());
            for value in cured.iter_mut().chain(&mut expected) {
                without(value, changed_by(*cure));
            }
            prop_assert_eq!(&cured, &expected, "{:?}", cure);
        }
    }

    #[test]
    fn a_cured_stream_is_cured(chunks in proptest::collection::vec(any_chunk(), 1..6)) {
        let events: String = chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
        let context = context(Cures::all());
        let once = stream_of(&context, [events.as_bytes()]);
        prop_assert_eq!(stream_of(&context, [once.as_bytes()]), once);
    }

    #[test]
    fn any_text_comes_out_the_same_for_every_division(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("data:"), Just(" "), Just("\n"), Just("\r\n"), Just("\r"), Just(":"),
                Just("{\"a\":"), Just("1}"), Just("[]"), Just("[DONE]"), Just("x"), Just("event: e"),
                Just("data: {}\n"), Just("data: {\"choices\":[{\"delta\":{\"role\":\"a\",\"content\":\"\"}}]}\n\n"),
            ],
            0..24,
        ),
    ) {
        stream(Cures::all(), &pieces.concat());
    }

    #[test]
    fn a_body_stays_json(chunks in proptest::collection::vec(any_chunk(), 1..3)) {
        for chunk in chunks {
            let text = chunk.to_string().replace("\"delta\"", "\"message\"");
            let output = body(Cures::all(), &text);
            prop_assert!(serde_json::from_str::<Json>(&output).is_ok(), "{output}");
        }
    }
}
