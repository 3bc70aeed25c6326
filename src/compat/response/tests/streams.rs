use super::*;

#[test]
fn a_stream_of_openai_is_unchanged() {
    assert_eq!(stream(Cures::all(), OPENAI), OPENAI);
    let windows = OPENAI.replace('\n', "\r\n");
    assert_eq!(stream(Cures::all(), &windows), windows);
}

#[test]
fn a_stream_is_unchanged_without_cures() {
    for text in [DOCUMENTED_ARGUMENTS, "data: : keepalive\n\ndata:\ndata: {}\n\n", "data: x"] {
        assert_eq!(stream(Cures::none(), text), text);
    }
}

#[test]
fn an_unchanged_chunk_is_not_copied() {
    for text in [OPENAI.to_owned(), OPENAI.replace("data: {", "event: e\ndata: {")] {
        let mut cures = StreamCures::new(context(Cures::all()));
        let chunk = Bytes::from(text);
        let mut ready = VecDeque::new();
        cures.push(chunk.clone(), &mut ready);
        assert_eq!(ready.len(), 1);
        assert_eq!((ready[0].as_ptr(), ready[0].len()), (chunk.as_ptr(), chunk.len()));
    }
}

#[test]
fn the_role_is_in_the_first_delta_only() {
    let texts = ["Hel", "lo", "\\\"role\\\"", "", "wörld\\n", "!"];
    let input: String = texts.iter().map(|text| text_chunk(text)).collect();
    let last = chunk(r#""delta":{"content":"","role":"assistant"},"finish_reason":"stop""#);
    let output = stream(Cures::default(), &format!("{input}{last}{DONE}"));
    let mut expected = text_chunk(texts[0]);
    for text in &texts[1..] {
        expected += &text_chunk(text).replace(",\"role\":\"assistant\"", "");
    }
    expected += &last.replace(",\"role\":\"assistant\"", "");
    assert_eq!(output, expected + DONE);
}

#[test]
fn each_choice_has_its_own_role() {
    let of = |index| text_chunk("x").replace("\"index\":0", &format!("\"index\":{index}"));
    let input = [of(0), of(1), of(1), of(0), of(1), of(0)].concat();
    let output = stream(Cures::default(), &input);
    let roles: Vec<_> = super::texts(&output)
        .iter()
        .map(|text| text["choices"][0]["delta"].get("role").is_some())
        .collect();
    assert_eq!(roles, [true, true, false, false, false, false]);
}

#[test]
fn a_reason_out_of_the_list_becomes_one_of_openai() {
    // The deltas of this test have no role, which another cure adds.
    let cures = Cures::default().role(false);
    for (choice, expected) in [
        (
            r#""delta":{"content":"x"},"finish_reason":"content_filter: RECITATION""#,
            r#""delta":{"content":"x"},"finish_reason":"content_filter""#,
        ),
        (
            r#""delta":{"extra_content":{"google":{}}},"finish_reason":"function_call_filter: MALFORMED_FUNCTION_CALL""#,
            r#""delta":{"extra_content":{"google":{}}},"finish_reason":"content_filter""#,
        ),
    ] {
        let output = stream(cures, &chunk(choice));
        let original = choice.rsplit("\"finish_reason\":").next().unwrap();
        let native = format!("\"logprobs\":null,\"native_finish_reason\":{original}}}");
        assert_eq!(output, chunk(expected).replace("\"logprobs\":null}", &native));
    }
    for reason in ["null", "\"stop\"", "\"length\"", "\"content_filter\""] {
        let same = chunk(&format!("\"delta\":{{}},\"finish_reason\":{reason}"));
        assert_eq!(stream(Cures::all().role(false), &same), same);
    }
}

#[test]
fn stop_becomes_tool_calls_after_calls_of_the_same_choice() {
    let call = r#"{"function":{"arguments":"{}","name":"f"},"id":"a","index":0,"type":"function"}"#;
    let end = |reason: &str| {
        chunk(&format!("\"delta\":{{\"content\":\"\"}},\"finish_reason\":\"{reason}\""))
    };
    for (reason, expected) in
        [("stop", "tool_calls"), ("length", "length"), ("content_filter", "content_filter")]
    {
        let output = stream(Cures::default(), &format!("{}{}", calls_chunk(call), end(reason)));
        assert_eq!(texts(&output)[1]["choices"][0]["finish_reason"], expected);
        let one =
            chunk(&format!("\"delta\":{{\"tool_calls\":[{call}]}},\"finish_reason\":\"{reason}\""));
        assert_eq!(
            texts(&stream(Cures::default(), &one))[0]["choices"][0]["finish_reason"],
            expected
        );
    }
    let other = end("stop").replace("\"index\":0", "\"index\":1");
    let output = stream(Cures::default(), &format!("{}{other}", calls_chunk(call)));
    assert_eq!(texts(&output)[1]["choices"][0]["finish_reason"], "stop", "another choice");
    let cures = Cures::default().stop_after_calls(false);
    let output = stream(cures, &format!("{}{}", calls_chunk(call), end("stop")));
    assert_eq!(texts(&output)[1]["choices"][0]["finish_reason"], "stop", "the cure is off");
}

#[test]
fn a_stream_without_a_reason_gets_none() {
    let text = text_chunk("x") + DONE;
    assert_eq!(stream(Cures::default(), &text), text);
}

#[test]
fn missing_choices_and_deltas_are_added() {
    let blocked = chunk(r#""finish_reason":"content_filter: PROHIBITED_CONTENT""#);
    let output = texts(&stream(Cures::default(), &blocked));
    assert_eq!(output[0]["choices"][0]["delta"], serde_json::json!({"role": "assistant"}));
    assert_eq!(output[0]["choices"][0]["finish_reason"], "content_filter");
    let output = texts(&stream(Cures::default(), &(text_chunk("x") + &blocked)));
    assert_eq!(output[1]["choices"][0]["delta"], serde_json::json!({}));
    let usage = "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"usage\":{\"prompt_tokens\":3,\"total_tokens\":3}}\n\n";
    let output = texts(&stream(Cures::default(), usage));
    assert_eq!(output[0]["choices"], serde_json::json!([]));
    assert_eq!(output[0]["usage"]["completion_tokens"], 0);
    for other in ["data: {\"type\":\"response.created\"}\n\n", "data: {\"object\":\"x\"}\n\n"] {
        assert_eq!(stream(Cures::all(), other), other);
    }
}

#[test]
fn a_choice_without_a_role_gets_it_in_its_last_delta() {
    let text = chunk(r#""delta":{"content":"x"}"#);
    let last = chunk(r#""delta":{},"finish_reason":"stop""#);
    let with_role = last.replace("{},", r#"{"role":"assistant"},"#);
    let of = |cures, text: &str| stream(cures, text);
    assert_eq!(of(Cures::default(), &last), with_role);
    assert_eq!(of(Cures::default(), &format!("{text}{last}")), format!("{text}{with_role}"));
    let has_role = text_chunk("x") + &last;
    assert_eq!(of(Cures::default(), &has_role), has_role);
    assert_eq!(of(Cures::default().role(false), &last), last);
}

#[test]
fn reasoning_tokens_are_added_by_request_only() {
    let last = DOCUMENTED_ARGUMENTS.split_inclusive("\n\n").nth(11).unwrap();
    let usage = |cures| texts(&stream(cures, last))[0]["usage"].clone();
    assert_eq!(usage(Cures::default())["completion_tokens"], 45);
    let cured = usage(Cures::default().reasoning_tokens(true));
    assert_eq!(cured["completion_tokens"], 549);
    assert_eq!(cured["total_tokens"], 576);
    assert_eq!(cured["completion_tokens_details"]["reasoning_tokens"], 504);
}

#[test]
fn thoughts_become_reasoning_content_by_request_only() {
    let thought = |text: &str| {
        chunk(&format!(
            "\"delta\":{{\"content\":\"{text}\",\"extra_content\":{{\"google\":{{\"thought\":true}}}},\
             \"role\":\"assistant\"}}"
        ))
    };
    let input =
        [thought("a"), thought("b"), thought("c"), text_chunk("d"), text_chunk("e")].concat();
    let output = texts(&stream(Cures::default().thoughts(true), &input));
    let deltas: Vec<_> = output.iter().map(|text| &text["choices"][0]["delta"]).collect();
    for (delta, thought) in deltas.iter().zip(["a", "b", "c"]) {
        assert_eq!(delta["reasoning_content"], thought);
        assert!(delta.get("content").is_none());
    }
    assert_eq!((&deltas[3]["content"], &deltas[4]["content"]), (&"d".into(), &"e".into()));
    let output = texts(&stream(Cures::default(), &input));
    assert_eq!(output[2]["choices"][0]["delta"]["content"], "c");
}

#[test]
fn an_event_over_the_limit_is_forwarded_as_it_is_and_the_next_one_is_cured() {
    let long = text_chunk(&"x".repeat(3 << 20));
    let input = format!("{}{long}{}", text_chunk("a"), text_chunk("b"));
    let output = stream_of(&context(Cures::default()), input.as_bytes().chunks(64 << 10));
    let without = |text: String| text.replace(",\"role\":\"assistant\"", "");
    assert!(output == format!("{}{long}{}", text_chunk("a"), without(text_chunk("b"))));
}

#[test]
fn an_event_of_one_mib_is_held_back_and_a_longer_one_is_not() {
    let mut cures = StreamCures::new(context(Cures::default()));
    let mut ready = VecDeque::new();
    let begin = format!("data: {}", "x".repeat((1 << 20) - 6));
    cures.push(begin.clone().into(), &mut ready);
    assert!(ready.is_empty() && !cures.is_empty());
    cures.push("y".into(), &mut ready);
    assert!(cures.is_empty() && ready.pop_front().unwrap() == begin + "y");
}

#[test]
fn an_event_that_ends_its_choice_is_not_the_model_of_a_later_one() {
    let call = r#"{"function":{"arguments":"{}","name":"f"},"id":"a","index":0,"type":"function"}"#;
    let stop = chunk(r#""delta":{"content":"x","role":"assistant"},"finish_reason":"stop""#);
    let input = [text_chunk("x"), stop.clone(), calls_chunk(call), stop].concat();
    let output = texts(&stream(Cures::default(), &input));
    let reasons = [&output[1], &output[3]].map(|text| &text["choices"][0]["finish_reason"]);
    assert_eq!(reasons, ["stop", "tool_calls"]);
}

#[test]
fn choices_after_the_128th_are_not_cured() {
    let of = |index: usize| text_chunk("x").replace("\"index\":0", &format!("\"index\":{index}"));
    let twice: String = (0..130).flat_map(|index| [of(index), of(index)]).collect();
    let output = texts(&stream_of(&context(Cures::default()), [twice.as_bytes()]));
    for (event, text) in output.iter().enumerate() {
        let has_role = text["choices"][0]["delta"].get("role").is_some();
        assert_eq!(has_role, event % 2 == 0 || event / 2 >= 128, "{event}");
    }
}

#[test]
fn an_error_stays_without_its_cure_and_is_no_chunk_with_a_usage() {
    let error =
        "data: {\"error\":{\"code\":429},\"choices\":[{}],\"usage\":{\"total_tokens\":1}}\n\n";
    let mut context = context(Cures::all().events(false).missing_members(false));
    context.operation = Operation::Chat { usage_chunk: false };
    assert_eq!(stream_with(&context, error), error);
    context.operation = Operation::Chat { usage_chunk: true };
    context.cures = Cures::all();
    let output = stream_with(&context, error);
    assert_eq!(texts(&output).len(), 1, "{output}");
}

#[test]
fn complete_events_are_not_held_back() {
    let mut cures = StreamCures::new(context(Cures::default()));
    let mut ready = VecDeque::new();
    for text in ["a", "b", "c"] {
        let chunk = text_chunk(text);
        let (first, second) = chunk.split_at(chunk.len() - 1);
        cures.push(first.to_owned().into(), &mut ready);
        assert!(ready.is_empty() && !cures.is_empty());
        cures.push(second.to_owned().into(), &mut ready);
        assert!(cures.is_empty());
        assert!(ready.pop_front().unwrap().ends_with(b"\n\n"));
    }
}

#[test]
fn the_usage_gets_a_chunk_of_its_own_if_the_request_has_include_usage() {
    const USAGE: &str = r#","usage":{"completion_tokens":1,"prompt_tokens":2,"total_tokens":3}"#;
    let last = chunk(r#""delta":{"content":"!"},"finish_reason":"stop""#);
    let with_usage = last.replacen("}\n\n", &format!("{USAGE}}}\n\n"), 1);
    assert_ne!(with_usage, last);
    let input = format!("{}{with_usage}{DONE}", text_chunk("x"));
    let mut context = context(Cures::default().usage_chunk(true));
    assert_eq!(stream_with(&context, &input), input);

    context.operation = Operation::Chat { usage_chunk: true };
    let output = stream_with(&context, &input);
    let texts = super::texts(&output);
    let [first, end, usage] = &*texts else { panic!("{output}") };
    assert_eq!(first["choices"][0]["delta"]["content"], "x");
    assert_eq!(end["choices"][0]["finish_reason"], "stop");
    assert_eq!(end.get("usage"), None);
    assert_eq!(usage["choices"], serde_json::json!([]));
    assert_eq!(usage["usage"]["total_tokens"], 3);
    assert_eq!(usage["id"], end["id"]);
    assert!(output.ends_with(DONE), "{output}");

    // OpenAI's own streams stay as they are.
    assert_eq!(stream_with(&context, OPENAI), OPENAI);
    context.cures = Cures::default();
    assert_eq!(stream_with(&context, &input), input);
}
