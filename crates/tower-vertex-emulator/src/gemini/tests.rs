use proptest::{collection::vec, prelude::*};
use serde_json::{Map, Value, json};

use super::{conversation::Conversation, messages, proto};

const VERSION: &str = "v1";

fn read(body: Value) -> Result<Map<String, Value>, String> {
    let body = body.as_object().unwrap().clone();
    let read = proto::read(&messages::GENERATE_CONTENT, VERSION, body);
    read.map_err(|error| format!("{error:?}"))
}

#[test]
fn fields_get_their_json_names() {
    let body = json!({
        "system_instruction": { "parts": [{ "text": "a", "thought_signature": "YQ==" }] },
        "generation_config": {
            "response_schema": {
                "type": "object", "any_of": [{ "$ref": "#/$defs/a" }], "min_items": "3",
                "properties": { "snake_case": { "type": 1 } }, "$defs": { "a": { "type": "string" } },
            },
            "response_json_schema": { "any_thing": null },
            "max_output_tokens": "7", "seed": 2.0, "temperature": "0.5", "top_k": null,
        },
        "labels": { "a_b": "c_d" },
    });
    assert_eq!(
        Value::Object(read(body).unwrap()),
        json!({
            "systemInstruction": { "parts": [{ "text": "a", "thoughtSignature": "YQ==" }] },
            "generationConfig": {
                "responseSchema": {
                    "type": "OBJECT", "anyOf": [{ "$ref": "#/$defs/a" }], "minItems": 3,
                    "properties": { "snake_case": { "type": "STRING" } },
                    "$defs": { "a": { "type": "STRING" } },
                },
                "responseJsonSchema": { "any_thing": null },
                "maxOutputTokens": 7, "seed": 2, "temperature": 0.5,
            },
            "labels": { "a_b": "c_d" },
        })
    );
}

#[test]
fn a_number_out_of_its_range_is_refused() {
    for (name, value) in [
        ("seed", json!(2_147_483_648_u64)),
        ("seed", json!(1.5)),
        ("seed", json!("1.5")),
        ("maxOutputTokens", json!(true)),
        ("topP", json!("much")),
        ("responseLogprobs", json!(1)),
        ("responseMimeType", json!(1)),
        ("mediaResolution", json!(9)),
    ] {
        let body = json!({ "generationConfig": { name: value } });
        assert!(read(body.clone()).is_err(), "{body}");
    }
}

#[test]
fn the_number_of_violations_is_limited() {
    let body: Map<String, Value> = (0..1000).map(|n| (format!("x{n}"), Value::from(n))).collect();
    let error = read(Value::Object(body)).unwrap_err();
    // Each violation is in the message and in the details.
    assert_eq!(error.matches("Cannot find field.").count(), 200);
}

/// JSON with names and values that the messages have.
fn json_like() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f32>().prop_map(Value::from),
        prop::sample::select(vec![
            "",
            "a",
            "user",
            "model",
            "ANY",
            "STRING",
            "YQ==",
            "7",
            "image/png"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(7, 60, 5, |inner| {
        let names = prop::sample::select(vec![
            "contents",
            "parts",
            "role",
            "text",
            "functionCall",
            "function_response",
            "name",
            "args",
            "response",
            "inlineData",
            "mimeType",
            "data",
            "thought",
            "thoughtSignature",
            "tools",
            "functionDeclarations",
            "parameters",
            "properties",
            "type",
            "generationConfig",
            "responseSchema",
            "candidateCount",
            "stopSequences",
            "toolConfig",
            "mode",
            "functionCallingConfig",
            "allowedFunctionNames",
            "thinkingConfig",
            "systemInstruction",
        ]);
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((names, inner), 0..6).prop_map(|members| {
                Value::Object(members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_read_request_is_read_again_as_it_is(body in json_like()) {
        let body = if body.is_object() { body } else { json!({ "contents": body }) };
        if let Ok(once) = read(body) {
            prop_assert_eq!(&read(Value::Object(once.clone())).unwrap(), &once);
            // It becomes a chat, or a refusal.
            let _ = Conversation::of(&once);
        }
    }
}
