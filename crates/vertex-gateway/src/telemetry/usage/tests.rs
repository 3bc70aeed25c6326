use proptest::prelude::*;

use super::*;

fn read(chunks: &[&[u8]]) -> Option<Usage> {
    let mut scanner = Scanner::default();
    for chunk in chunks {
        scanner.read(chunk, false);
    }
    scanner.usage()
}

fn read_whole(body: &[u8]) -> Option<Usage> {
    let mut scanner = Scanner::default();
    scanner.read(body, true);
    scanner.usage()
}

fn each(body: &[u8]) -> Option<Usage> {
    read(&body.chunks(1).collect::<Vec<_>>())
}

fn usage(input: u64, output: u64) -> Option<Usage> {
    Some(Usage { input: Some(input), output: Some(output), ..Usage::default() })
}

fn of_input(input: u64) -> Option<Usage> {
    Some(Usage { input: Some(input), ..Usage::default() })
}

fn thought(input: u64, output: u64, reasoning: u64) -> Option<Usage> {
    Some(Usage { reasoning: Some(reasoning), ..usage(input, output)? })
}

fn with(cached: u64, usage: Option<Usage>) -> Option<Usage> {
    Some(Usage { cached: Some(cached), ..usage? })
}

fn taken(traffic_type: &str, usage: Option<Usage>) -> Option<Usage> {
    Some(Usage { traffic_type: Some(traffic_type.into()), ..usage.unwrap_or_default() })
}

fn written(cache_creation: u64, usage: Option<Usage>) -> Option<Usage> {
    Some(Usage { cache_creation: Some(cache_creation), ..usage? })
}

/// Gemini's own protocol.
fn gemini_cases() -> Vec<(&'static str, Option<Usage>)> {
    vec![
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"\"usageMetadata\":{"}]}}],"usageMetadata":{"promptTokenCount":27,"candidatesTokenCount":45,"thoughtsTokenCount":504,"totalTokenCount":576,"trafficType":"ON_DEMAND","promptTokensDetails":[{"modality":"TEXT","tokenCount":27}]}}"#,
            taken("ON_DEMAND", thought(27, 549, 504)),
        ),
        // Without the total, the thoughts are added.
        (
            r#"{"usageMetadata":{"promptTokenCount":27,"candidatesTokenCount":600,"thoughtsTokenCount":504}}"#,
            thought(27, 1104, 504),
        ),
        (
            r#"{"usageMetadata":{"promptTokenCount":100,"cachedContentTokenCount":64,"candidatesTokenCount":5,"toolUsePromptTokenCount":11,"totalTokenCount":116}}"#,
            with(64, usage(111, 5)),
        ),
        (r#"{"usageMetadata":{"promptTokenCount":8,"totalTokenCount":8}}"#, of_input(8)),
        (r#"{"usageMetadata":{"prompt_token_count":8}}"#, None),
        (r#"{"totalTokens":8,"promptTokensDetails":[{"tokenCount":8}]}"#, None),
        (r#"{"x":{"usageMetadata":{"promptTokenCount":8}}}"#, None),
        (
            r#"{"usageMetadata":{"x":{"promptTokenCount":8},"candidatesTokenCount":1}}"#,
            Some(Usage { output: Some(1), ..Usage::default() }),
        ),
        // The last part of an array and of a stream counts.
        (
            "[{\"candidates\":[],\"usageMetadata\":{\"trafficType\":\"ON_DEMAND\"}}\n,\r\n{\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":1,\"totalTokenCount\":5}}\n,\r\n{\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":6,\"totalTokenCount\":10}}\n]",
            taken("ON_DEMAND", usage(4, 6)),
        ),
        (
            "data: {\"usageMetadata\":{\"promptTokenCount\":4,\"totalTokenCount\":4}}\r\n\r\ndata: {\"usageMetadata\":{\"promptTokenCount\":4,\"candidatesTokenCount\":6,\"thoughtsTokenCount\":3,\"totalTokenCount\":13}}\r\n\r\n",
            thought(4, 9, 3),
        ),
    ]
}

/// Anthropic's protocol.
fn anthropic_cases() -> Vec<(&'static str, Option<Usage>)> {
    vec![
        (
            r#"{"type":"message","content":[{"type":"text","text":"usage"}],"usage":{"input_tokens":10,"cache_creation_input_tokens":20,"cache_read_input_tokens":300,"cache_creation":{"ephemeral_5m_input_tokens":20},"output_tokens":7,"service_tier":"standard"}}"#,
            written(20, with(300, usage(330, 7))),
        ),
        (
            r#"{"usage":{"input_tokens":10,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":7}}"#,
            written(0, with(0, usage(10, 7))),
        ),
        (
            r#"{"usage":{"input_tokens":10,"cache_read_input_tokens":null,"output_tokens":7}}"#,
            usage(10, 7),
        ),
        // The count of tokens is no usage.
        (r#"{"input_tokens":10}"#, None),
        // A delta without the numbers of the input keeps them.
        (
            "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[],\"usage\":{\"input_tokens\":10,\"cache_creation_input_tokens\":20,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":50}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
            written(20, with(3, usage(33, 50))),
        ),
        // The numbers of a delta are totals, and the last one counts.
        (
            "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":5}}\n\nevent: message_delta\ndata: {\"usage\":{\"input_tokens\":12,\"output_tokens\":9}}\n\n",
            usage(12, 9),
        ),
        (
            "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":10,\"output_tokens\":1}}}\n\nevent: content_block_delta\ndata: {\"delta\":{\"usage\":{\"input_tokens\":99}}}\n\n",
            usage(10, 1),
        ),
        (r#"{"x":{"message":{"usage":{"input_tokens":1}}}}"#, None),
    ]
}

fn cases() -> Vec<(&'static str, Option<Usage>)> {
    vec![
        ("", None),
        (" \n", None),
        ("no JSON", None),
        (r#"{"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#, usage(3, 5)),
        ("{\"usage\" \t:\r\n {\n\"prompt_tokens\" : 3 } }", of_input(3)),
        ("\u{feff}{\"usage\":{\"prompt_tokens\":3}}", of_input(3)),
        (
            r#"{"usage":{"completion_tokens":5}}"#,
            Some(Usage { output: Some(5), ..Usage::default() }),
        ),
        (r#"{"usage":{"prompt_tokens":3,"completion_tokens":0}}"#, usage(3, 0)),
        (r#"{"usage":{"prompt_tokens":3,"total_tokens":3}}"#, of_input(3)),
        (r#"{"usage":{"input_tokens":7,"output_tokens":9}}"#, usage(7, 9)),
        // The example in Google's documentation of Gemini.
        (
            r#"{"usage":{"completion_tokens":45,"completion_tokens_details":{"reasoning_tokens":504},"extra_properties":{"google":{"traffic_type":"ON_DEMAND"}},"prompt_tokens":27,"total_tokens":576}}"#,
            taken("ON_DEMAND", thought(27, 549, 504)),
        ),
        // The API of AI Studio does not list the reasoning tokens.
        (
            r#"{"usage":{"completion_tokens":45,"prompt_tokens":27,"total_tokens":576}}"#,
            usage(27, 549),
        ),
        // All output is reasoning.
        (
            r#"{"usage":{"completion_tokens_details":{"reasoning_tokens":91},"prompt_tokens":9,"total_tokens":100}}"#,
            thought(9, 91, 91),
        ),
        // The example in Google's documentation of Grok, where the output includes the
        // reasoning tokens.
        (
            r#"{"usage":{"input_tokens":335,"input_tokens_details":{"cached_tokens":320},"output_tokens":305,"output_tokens_details":{"reasoning_tokens":284},"total_tokens":640}}"#,
            with(320, thought(335, 305, 284)),
        ),
        (
            r#"{"usage":{"prompt_tokens":50,"completion_tokens":20,"total_tokens":70,"prompt_tokens_details":{"cached_tokens":40,"audio_tokens":1}}}"#,
            with(40, usage(50, 20)),
        ),
        // A part cannot exceed the whole.
        (
            r#"{"usage":{"completion_tokens":45,"completion_tokens_details":{"reasoning_tokens":504},"prompt_tokens":27}}"#,
            thought(27, 549, 504),
        ),
        (
            r#"{"usage":{"completion_tokens":45,"prompt_tokens":27,"total_tokens":20}}"#,
            usage(27, 45),
        ),
        // A value that is not a number of tokens is ignored, and does not affect the others.
        (r#"{"usage":{"prompt_tokens":null,"completion_tokens":-5}}"#, None),
        (
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":1e400,"total_tokens":1.5e1}}"#,
            of_input(3),
        ),
        (
            r#"{"usage":{"prompt_tokens":"3","completion_tokens":5,"total_tokens":true}}"#,
            Some(Usage { output: Some(5), ..Usage::default() }),
        ),
        (
            r#"{"usage":{"prompt_tokens":18446744073709551615,"completion_tokens":99999999999999999999999,"total_tokens":1099511627777}}"#,
            None,
        ),
        (r#"{"usage":{"prompt_tokens":[7],"completion_tokens":{"prompt_tokens":8}}}"#, None),
        (r#"{"usage":{"prompt_tokens":1,"prompt_tokens":2,"prompt_tokens":-3}}"#, of_input(2)),
        (r#"{"usage":{}}"#, None),
        (r#"{"usage":null}"#, None),
        (r#"{"usage":[{"prompt_tokens":3}]}"#, None),
        (r#"{"usage":"prompt_tokens","prompt_tokens":3}"#, None),
        (r#"{"usage":{"prompt_tokens":3"#, None),
        (r#"{"usage":{"prompt_tokens":3,"x":1"#, None),
        (
            r#"{"usage":{"extra":{"a":"}\"}{\\"},"prompt_tokens":1,"completion_tokens":2},"x":{}}"#,
            usage(1, 2),
        ),
        (r#"{"usage":{"total_tokens":9,"extra":{"usage":{"prompt_tokens":9}}}}"#, None),
        // A traffic type is one word.
        (
            r#"{"usage":{"extra_properties":{"google":{"traffic_type":"PROVISIONED_THROUGHPUT"}}}}"#,
            taken("PROVISIONED_THROUGHPUT", None),
        ),
        (r#"{"usage":{"extra_properties":{"google":{"traffic_type":"a b"}}}}"#, None),
        (r#"{"usage":{"extra_properties":{"google":{"traffic_type":"A\u0042"}}}}"#, None),
        (
            r#"{"usage":{"extra_properties":{"google":{"traffic_type":"AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDDE"}}}}"#,
            None,
        ),
        // A `usage` in a text or a tool is not counted.
        (r#"{"content":"{\"usage\":{\"prompt_tokens\":1}}"}"#, None),
        (r#"["{\"usage\":{\"prompt_tokens\":1}}"]"#, None),
        (r#"{"content":"usage","usage":{"prompt_tokens":1}}"#, of_input(1)),
        (r#"["usage","usage",{"usage":{"prompt_tokens":1}}]"#, of_input(1)),
        (
            r#"{"usage":{"prompt_tokens":1},"metadata":{"usage":{"prompt_tokens":9}},"tools":[{"usage":{"prompt_tokens":9}}]}"#,
            of_input(1),
        ),
        (r#"""usage":{"prompt_tokens":1}"#, None),
        (r#"{"\"usage":{"prompt_tokens":1}}"#, None),
        // The last `usage` of a stream takes precedence.
        (
            "data: {\"usage\":null,\"choices\":[]}\n\ndata: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6}}\n\ndata: [DONE]\n\n",
            usage(4, 6),
        ),
        (
            "data: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":1}}\n\ndata: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2}}\n\n",
            usage(4, 2),
        ),
        (
            "data: {\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2,\"extra_properties\":{\"google\":{\"traffic_type\":\"A\"}}}}\r\n\r\ndata: {\"usage\":{}}\r\n\r\n",
            taken("A", usage(4, 2)),
        ),
        (
            "data: {\"usage\":{\"extra_properties\":{\"google\":{\"traffic_type\":\"B\"}}}}\n\ndata: {\"usage\":{\"prompt_tokens\":4}}\n\n",
            taken("B", of_input(4)),
        ),
        (
            "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\nevent: response.completed\ndata: {\"response\":{\"output\":[{\"usage\":{\"input_tokens\":9}}],\"usage\":{\"input_tokens\":4,\"output_tokens\":6}},\"type\":\"response.completed\"}\n\n",
            usage(4, 6),
        ),
        // A broken event, or a comment, does not affect the others.
        (
            "data: {\"choices\":[{\"text\":\"\n\n: a \"comment\ndata: {\"usage\":{\"prompt_tokens\":4}}\n\n",
            of_input(4),
        ),
        // A carriage return ends a line, so this one is blank.
        (
            "data: {\"choices\":[{\"text\":\"\n\r\r\ndata: {\"usage\":{\"prompt_tokens\":4}}\n\n",
            of_input(4),
        ),
    ]
}

#[test]
fn usage_is_read_for_any_split_into_chunks() {
    let cases = cases().into_iter().chain(gemini_cases()).chain(anthropic_cases());
    for (text, expected) in cases {
        let bytes = text.as_bytes();
        assert_eq!(read(&[bytes]), expected, "{text}");
        assert_eq!(read_whole(bytes), expected, "known to be whole: {text}");
        assert_eq!(each(bytes), expected, "byte by byte: {text}");
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(read(&chunks), expected, "at {first} and {second}: {text}");
            }
        }
    }
}

#[test]
fn a_scanner_allocates_no_memory() {
    let mut scanner = Scanner::default();
    scanner.read(br#"{"usage":{"#, false);
    for open in [&b"{"[..], b"\"", b"a", b"9", b"\\", b"{\"usage\":"] {
        scanner.read(&open.repeat(1 << 20), false);
    }
    // All of the scanner is on the stack.
    assert!(std::mem::size_of::<Scanner>() < 512, "{}", std::mem::size_of::<Scanner>());
    assert!(!std::mem::needs_drop::<Scanner>());
}

#[test]
fn the_usage_at_the_end_of_a_long_response_is_found() {
    let mut answer = br#"{"choices":[{"content":"usage"}"#.to_vec();
    answer.extend(br#",{"content":"\"usage\":{\n"}"#.repeat(1 << 20));
    answer.extend(br#"],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#);
    let chunks: Vec<&[u8]> = answer.chunks(16 << 10).collect();
    assert_eq!(read(&chunks), usage(1, 2));
}

/// Texts of JSON values with the names of counts at all depths, also twice in one object.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[0-9]{1,3}",
        Just("null".to_owned()),
        r#""(usage|\\"|\\\\|\{|\}|:|,|x){0,3}""#,
    ];
    leaf.prop_recursive(5, 24, 4, |inner| {
        let key = r#""(usage|usageMetadata|response|message|prompt_tokens|total_tokens|promptTokenCount|a usage|x|\\"usage)""#;
        let array = proptest::collection::vec(inner.clone(), 0..4);
        let object = proptest::collection::vec((key, inner), 0..4);
        prop_oneof![
            array.prop_map(|values| format!("[{}]", values.join(" ,"))),
            object.prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("{key} :{value}")).collect();
                format!("{{{}}}", members.join(", "))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn a_whole_response_has_the_same_usage_as_byte_by_byte(text in json()) {
        prop_assert_eq!(read_whole(text.as_bytes()), each(text.as_bytes()));
    }

    #[test]
    fn the_split_into_chunks_does_not_change_the_usage_of_any_text(
        text in r#"(\{|\}|"usage"|"|:|,| |\\|\n|"prompt_tokens":[0-9]|"response"|"message"|"usageMetadata"|"promptTokenCount":[0-9]|"cache_read_input_tokens":[0-9]|x){0,40}"#,
        cuts in proptest::collection::vec(0_usize..200, 0..6),
    ) {
        let bytes = text.as_bytes();
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        prop_assert_eq!(read(&chunks), read(&[bytes]));
    }
}

/// Whole events without a count are skipped, and all other frames are read.
#[test]
fn a_stream_in_frames_has_the_same_usage_as_byte_by_byte() {
    let frames = [
        "data: {\"choices\":[{\"delta\":{\"content\":\"}{\"}}]}\n\n",
        "data: {\"choices\":[]}\r\n\r\n",
        "data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":4,\"total_tokens\":7}}\n\n",
        "data: {\"x\":{\"us",
        "age\":{\"prompt_tokens\":5}}}\n\n",
        "data: {\"usage\":{\"prompt_tokens\":1,\n",
        "data: \"total_tokens\":9}}\n\n",
        "data: \"\n\n",
        ": comment\n",
        "\n\n",
        "data: [DONE]\n\n",
    ];
    for (first, second, third) in frames
        .iter()
        .flat_map(|first| frames.iter().map(move |second| (first, second)))
        .flat_map(|(first, second)| frames.iter().map(move |third| (first, second, third)))
    {
        let stream = [first.as_bytes(), second.as_bytes(), third.as_bytes()];
        let joined = stream.concat();
        assert_eq!(read(&stream), each(&joined), "{first:?} {second:?} {third:?}");
    }
}
