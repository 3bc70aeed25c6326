use super::*;

#[test]
fn events_that_clients_cannot_parse_are_cured() {
    for (input, expected) in [
        ("data: : keepalive\n\n", ": keepalive\n\n"),
        ("data: : keepalive\r\n\r\n", ": keepalive\r\n\r\n"),
        ("data:: keepalive\n\n", ": keepalive\n\n"),
        ("data:  : keepalive\n\n", ": keepalive\n\n"),
        ("data:\n\n", ":\n\n"),
        ("data: \n\n", ":\n\n"),
        ("event: ping\ndata:\n\n", "event: ping\n:\n\n"),
        // The lines of one JSON text.
        ("data: {\"error\":\ndata: 1}\n\n", "data: {\"error\":1}\n\n"),
        ("id: 1\ndata: [\ndata: 1,\nevent: x\ndata: 2]\n\n", "id: 1\ndata: [1,2]\nevent: x\n\n"),
        ("data: [1,\r\ndata: 2]\r\n\r\n", "data: [1,2]\r\n\r\n"),
        // The events of several JSON texts.
        ("data: [1]\ndata: [2]\n\n", "data: [1]\n\ndata: [2]\n\n"),
        ("data: [1]\ndata: [DONE]\n\n", "data: [1]\n\ndata: [DONE]\n\n"),
        ("data: [1]\ndata: [DONE]\n", "data: [1]\n\ndata: [DONE]\n\n"),
        ("data: [1]\ndata: [2]\ndata: [DONE]", "data: [1]\n\ndata: [2]\n\ndata: [DONE]\n\n"),
        ("data: : keepalive\ndata: [1]\n\n", ": keepalive\n\ndata: [1]\n\n"),
        ("data: [1]\ndata: : keepalive\n\n", "data: [1]\n\n: keepalive\n\n"),
        ("data: [1]\n", "data: [1]\n\n"),
    ] {
        assert_eq!(stream(Cures::none().events(true), input), expected, "{input:?}");
        assert_eq!(stream(Cures::none().events(true), expected), expected, "{expected:?}");
        assert_eq!(stream(Cures::all().events(false), input), input, "the cure is off");
    }
}

#[test]
fn other_events_are_unchanged() {
    for text in [
        ": keepalive\n\n",
        ": keepalive\n",
        "\n\n\n",
        "data: text\n\n",
        "data: text\ndata: more\n\n",
        "data: 1\ndata: 2\n\n",
        "data: [1\ndata: 2]\n\n",
        "data: {\"a\":\ndata: x}\n\n",
        "event: x\n\n",
        "event: x\nid: 1\ndata: [1]\nretry: 5\n\n",
        "data\n\n",
        "data: [DONE]\n\n",
        "data: {\"a\":1",
        "data: {\"a\":1\n",
        "data: te",
        "\u{feff}data: {}\n\n",
        "",
    ] {
        assert_eq!(stream(Cures::all(), text), text, "{text:?}");
    }
}

#[test]
fn the_texts_of_several_lines_are_cured() {
    let text = text_chunk("x");
    let text = text.trim_end();
    let lines = format!("{text}\n{text}\n{text}\n");
    let second = text.replace(",\"role\":\"assistant\"", "");
    assert_eq!(stream(Cures::default(), &lines), format!("{text}\n\n{second}\n\n{second}\n\n"));
    let divided = text.replace("\"choices\"", "\ndata: \"choices\"");
    let output = stream(Cures::default(), &format!("{text}\n\n{divided}\n\n"));
    assert_eq!(output, format!("{text}\n\n{second}\n\n"));
}

#[test]
fn lines_are_forwarded_when_the_next_one_begins() {
    let mut cures = StreamCures::new(context(Cures::default()));
    let mut ready = VecDeque::new();
    cures.push("data: [1]\n".into(), &mut ready);
    assert!(ready.is_empty());
    cures.push("data: [2]\nda".into(), &mut ready);
    assert_eq!(ready.pop_front().unwrap(), "data: [1]\n\n");
    cures.push("ta: [".into(), &mut ready);
    assert_eq!(ready.pop_front().unwrap(), "data: [2]\n\n");
    assert_eq!(cures.finish(), "data: [");
}

#[test]
fn an_event_of_at_most_64_lines_is_forwarded_when_its_text_is_complete() {
    for (count, forwarded) in [(64, true), (65, false)] {
        let mut cures = StreamCures::new(context(Cures::default()));
        let mut ready = VecDeque::new();
        let lines = format!("data: [\n{}data: 1]\n", "data: 1,\n".repeat(count - 2));
        cures.push((lines + "data: [2]").into(), &mut ready);
        assert_eq!(!ready.is_empty(), forwarded, "{count} lines");
        cures.push("\n\n".into(), &mut ready);
        let output: Vec<u8> = ready.into_iter().flatten().collect();
        let expected = format!("data: [{}1]\n\ndata: [2]\n\n", "1,".repeat(count - 2));
        assert_eq!(String::from_utf8(output).unwrap(), expected);
    }
}

#[test]
fn an_error_has_the_form_that_clients_raise() {
    for (input, expected) in [
        (
            r#"{"error":{"code":429,"message":"Slow down.","status":"RESOURCE_EXHAUSTED"}}"#,
            r#"{"error":{"code":"429","message":"Slow down.","status":"RESOURCE_EXHAUSTED","type":"rate_limit_error","param":null}}"#,
        ),
        (
            r#"[{"error":{"code":503,"message":"x"}}]"#,
            r#"{"error":{"code":"503","message":"x","type":"server_error","param":null}}"#,
        ),
        (
            r#"{"error":{"code":400}}"#,
            r#"{"error":{"code":"400","type":"invalid_request_error","param":null}}"#,
        ),
        (
            r#"{"error":{"message":"x","type":"server_error","param":null,"code":"stream_interrupted"}}"#,
            r#"{"error":{"message":"x","type":"server_error","param":null,"code":"stream_interrupted"}}"#,
        ),
        (r#"{"error":"text"}"#, r#"{"error":"text"}"#),
    ] {
        let event = |text| format!("data: {text}\n\n");
        assert_eq!(stream(Cures::default(), &event(input)), event(expected));
    }
}

#[test]
fn an_error_without_a_field_becomes_an_event() {
    let error = "[{\n  \"error\": {\n    \"code\": 499,\n    \"status\": \"CANCELLED\"\n  }\n}\n]";
    let cured = "data: {  \"error\": {    \"code\": \"499\",    \"status\": \"CANCELLED\",\
                 \"type\":\"invalid_request_error\",\"param\":null  }}\n\n";
    for end in ["", "\n", "\n\n"] {
        let output = stream(Cures::default(), &format!("data: [1]\n\n{error}{end}"));
        assert_eq!(output, format!("data: [1]\n\n{cured}"));
    }
    for other in ["{\"a\":1}\n\n", "[{\"choices\":[]}]\n\n", "{\"error\":{\n\n", "error: {}\n\n"] {
        assert_eq!(stream(Cures::all(), other), other);
    }
}

#[test]
fn an_event_of_many_lines_takes_linear_time() {
    let lines = format!("data: [\n{}data: 1]\n\n", "data: 1,\n".repeat(50_000));
    let output = stream_of(&context(Cures::default()), lines.as_bytes().chunks(10));
    assert!(output.starts_with("data: [1,1,") && output.ends_with("1]\n\n"));
    let garbage = format!("data: [x]\n{}\n", "data: ]\n".repeat(50_000));
    let output = stream_of(&context(Cures::default()), garbage.as_bytes().chunks(10));
    assert!(output == garbage);
}
