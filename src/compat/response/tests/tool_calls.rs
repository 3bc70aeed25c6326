use super::*;

/// The calls that a client joins from a stream, by index, as openai-python and openai-node do:
/// repeated strings are appended.
fn joined(stream: &str) -> Vec<(String, String, String)> {
    let mut calls: Vec<(String, String, String)> = Vec::new();
    for text in texts(stream) {
        for choice in text["choices"].as_array().unwrap() {
            for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let index = usize::try_from(call["index"].as_u64().expect("an index")).unwrap();
                if index == calls.len() {
                    assert_eq!(call["type"], "function");
                    calls.push(Default::default());
                }
                let known = &mut calls[index];
                for (known, value) in [
                    (&mut known.0, &call["id"]),
                    (&mut known.1, &call["function"]["name"]),
                    (&mut known.2, &call["function"]["arguments"]),
                ] {
                    known.push_str(value.as_str().unwrap_or_default());
                }
            }
        }
    }
    calls
}

fn call(id: &str, name: &str, arguments: &str) -> (String, String, String) {
    (id.to_owned(), name.to_owned(), arguments.to_owned())
}

#[test]
fn the_documented_stream_of_arguments_has_two_calls() {
    let output = stream(Cures::default(), DOCUMENTED_ARGUMENTS);
    let of = |id, city| {
        call(
            id,
            "get_current_weather",
            &format!("{{\"location\":\"{city}\",\"unit\":\"celsius\"}}"),
        )
    };
    let expected = [
        of("function-call-c855348a-459a-46a4-a8ad-aa0a4e7c3563", "Boston, MA"),
        of("function-call-df0d087c-ad74-46f1-ba4a-9353cbf288a8", "New Delhi, India"),
    ];
    assert_eq!(joined(&output), expected);
    let deltas = texts(&output);
    assert_eq!(deltas[0]["choices"][0]["delta"]["role"], "assistant");
    assert!(deltas[1..].iter().all(|text| text["choices"][0]["delta"].get("role").is_none()));
    let end = &deltas.last().unwrap()["choices"][0];
    assert_eq!(end["finish_reason"], "tool_calls");
    assert_eq!(
        deltas[1]["choices"][0]["delta"]["tool_calls"][0],
        serde_json::json!({"function": {"arguments": "{\"location\":\"Boston, MA"}, "index": 0})
    );
    let signature = &deltas[0]["choices"][0]["delta"]["tool_calls"][0]["extra_content"];
    assert_eq!(signature["google"]["thought_signature"], "...", "the signature stays");
}

/// A complete call with these members before its function.
fn whole(members: &str, name: &str, arguments: &str) -> String {
    format!(
        "{{{members}\"function\":{{\"arguments\":\"{arguments}\",\"name\":\"{name}\"}},\"type\":\"function\"}}"
    )
}

#[test]
fn calls_in_one_chunk_each_get_their_index() {
    for index in ["", "\"index\":null,", "\"index\":0,"] {
        let a = whole(&format!("\"id\":\"a\",{index}"), "f", "{}");
        let b = whole(&format!("\"id\":\"b\",{index}"), "f", "{\\\"x\\\":1}");
        let expected = [call("a", "f", "{}"), call("b", "f", "{\"x\":1}")];
        let two = calls_chunk(&a) + &calls_chunk(&b);
        assert_eq!(joined(&stream(Cures::default(), &two)), expected, "{index}");
        let one = calls_chunk(&format!("{a},{b}"));
        assert_eq!(joined(&stream(Cures::default(), &one)), expected, "{index}");
    }
}

#[test]
fn missing_ids_are_made_from_the_id_of_the_response() {
    for id in ["", "\"id\":\"\",", "\"id\":null,"] {
        for index in ["", "\"index\":0,"] {
            let of = |name: &str| calls_chunk(&whole(&format!("{id}{index}"), name, "{}"));
            let input = [of("f"), of("f"), of("g")].concat();
            let expected = [
                call("call_nQiNafGyF5rw998PstqooAY_0_0", "f", "{}"),
                call("call_nQiNafGyF5rw998PstqooAY_0_1", "f", "{}"),
                call("call_nQiNafGyF5rw998PstqooAY_0_2", "g", "{}"),
            ];
            let output = stream(Cures::default(), &input);
            assert_eq!(joined(&output), expected, "{id} {index}");
            assert!(expected.iter().all(|call| call.0.len() <= 40));
        }
    }
}

#[test]
fn an_id_is_made_of_letters_digits_hyphens_and_underscores() {
    let text = calls_chunk(&whole("", "f", "{}")).replace("nQiNafGyF5rw998PstqooAY", "a-b_c.d/e");
    let output = stream(Cures::default(), &text);
    assert_eq!(joined(&output), [call("call_a-b_cde_0_0", "f", "{}")]);
}

#[test]
fn two_calls_with_one_id_get_two_ids() {
    let f = calls_chunk(&whole("\"id\":\"same\",\"index\":0,", "f", "{}"));
    let g = calls_chunk(&whole("\"id\":\"same\",\"index\":1,", "g", ""));
    let rest = calls_chunk(r#"{"id":"same","function":{"arguments":"{\"x\":[","name":"g"}}"#);
    let end = calls_chunk(r#"{"id":"same","function":{"arguments":"1]}"}}"#);
    let output = stream(Cures::default(), &[f.clone(), g, rest, end].concat());
    let expected = [call("same", "f", "{}"), call("same_1", "g", "{\"x\":[1]}")];
    assert_eq!(joined(&output), expected);
    let output = stream(Cures::default(), &[f.clone(), f].concat());
    assert_eq!(joined(&output), [call("same", "f", "{}"), call("same_1", "f", "{}")]);
}

#[test]
fn fragments_without_an_id_continue_the_call_with_their_index_or_the_last_one() {
    let first = calls_chunk(&whole("\"id\":\"a\",\"index\":0,", "f", ""));
    let second = calls_chunk(&whole("\"id\":\"b\",\"index\":1,", "g", ""));
    let of = |index: &str, arguments: &str| {
        calls_chunk(&format!("{{{index}\"function\":{{\"arguments\":\"{arguments}\"}}}}"))
    };
    let input = [first, second, of("\"index\":0,", "[0]"), of("\"index\":1,", "[1"), of("", "]")];
    let expected = [call("a", "f", "[0]"), call("b", "g", "[1]")];
    assert_eq!(joined(&stream(Cures::default(), &input.concat())), expected);
}

/// A part of a call with these members before its function, and these members of it.
fn part(members: &str, function: &str) -> String {
    calls_chunk(&format!("{{{members}\"function\":{{{function}}}}}"))
}

#[test]
fn a_call_without_arguments_ends_where_another_name_begins() {
    let of = |name: &str| calls_chunk(&whole("\"id\":\"same\",", name, ""));
    let output = stream(Cures::default(), &[of("f"), of("g")].concat());
    assert_eq!(joined(&output), [call("same", "f", ""), call("same_1", "g", "")]);
}

#[test]
fn a_call_may_begin_with_any_of_its_members() {
    let arguments = r#""arguments":"{}""#;
    for parts in [
        [part(r#""id":"a","#, ""), part(r#""id":"a","#, &format!(r#""name":"f",{arguments}"#))],
        [part(r#""id":"a","#, r#""arguments":"{""#), part("", r#""name":"f","arguments":"}""#)],
        [part(r#""id":"a","#, r#""name":"f""#), part(r#""index":5,"#, arguments)],
    ] {
        let output = stream(Cures::default(), &parts.concat());
        assert_eq!(joined(&output), [call("a", "f", "{}")], "{parts:?}");
    }
    let parts = [part("", r#""name":"f""#), part("", arguments)];
    let output = stream(Cures::default(), &parts.concat());
    assert_eq!(joined(&output), [call("call_nQiNafGyF5rw998PstqooAY_0_0", "f", "{}")]);
}

#[test]
fn a_call_belongs_to_its_id_and_not_to_its_index() {
    let a = calls_chunk(&whole("\"id\":\"a\",\"index\":0,", "f", "{}"));
    let b = part("\"id\":\"b\",\"index\":0,", "\"arguments\":\"[]\"");
    let output = stream(Cures::default(), &[a, b].concat());
    assert_eq!(joined(&output), [call("a", "f", "{}"), call("b", "", "[]")]);
}

#[test]
fn other_elements_stay() {
    for element in ["null", "[]", "{}", r#"{"extra_content":{}}"#, r#"{"id":"a","id":"b"}"#] {
        let text = calls_chunk(element);
        assert_eq!(stream(Cures::default(), &text), text, "{element}");
    }
}

#[test]
fn calls_of_a_body_have_an_id_and_a_type() {
    let input = concat!(
        r#"{"id":"resp","object":"chat.completion","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","#,
        r#""content":null,"tool_calls":[{"function":{"name":"f","arguments":"{}"},"id":""},"#,
        r#"{"type":"function","id":"x","function":{"name":"g","arguments":""}},"#,
        r#"{"type":"function","id":"x","function":{"name":"g","arguments":""}}]}}]}"#
    );
    let output: Json = serde_json::from_str(&body(Cures::default(), input)).unwrap();
    let choice = &output["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    let ids: Vec<_> = choice["message"]["tool_calls"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| {
            assert!(call.get("index").is_none());
            assert_eq!(call["type"], "function");
            call["id"].as_str().unwrap()
        })
        .collect();
    assert_eq!(ids, ["call_resp_0_0", "x", "x_2"]);
}
