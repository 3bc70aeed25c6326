use proptest::prelude::*;
use serde_json::Value;

use super::{grammar::DEEPEST, *};

type Found = Result<Option<Model>, ModelError>;

fn scan(pieces: impl IntoIterator<Item: AsRef<[u8]>>) -> Found {
    let mut scanner = Scanner::new();
    pieces.into_iter().for_each(|piece| scanner.feed(piece.as_ref()));
    scanner.finish()
}

/// The name, and the text of each value of `model`.
fn found(text: &[u8]) -> Result<Option<(String, Vec<String>)>, ModelError> {
    scan([text]).map(|model| {
        model.map(|Model { name, spans }| {
            let raw = |span| String::from_utf8_lossy(&text[span]).into_owned();
            (name, spans.into_iter().map(raw).collect())
        })
    })
}

/// Bodies with one name, with the name and its spellings.
fn readable() -> Vec<(Vec<u8>, &'static str, Vec<&'static str>)> {
    let case = |text: &str, name, raw: &[&'static str]| (text.into(), name, raw.to_vec());
    vec![
        case(r#"{"model":"a"}"#, "a", &[r#""a""#]),
        case("\r\n\t {\n\"model\"\t:\r \"a/b\" } \n", "a/b", &[r#""a/b""#]),
        case(r#"{"model":""}"#, "", &[r#""""#]),
        case(r#"{"a":[{"model":"x"}],"model":"a","b":{"model":1}}"#, "a", &[r#""a""#]),
        case(r#"{"a":"\"model\":\"x\"","model":"a"}"#, "a", &[r#""a""#]),
        case(r#"{"model":"a","model":"a"}"#, "a", &[r#""a""#, r#""a""#]),
        case(r#"{"model":"a","b":1,"mod\u0065l":"\u0061"}"#, "a", &[r#""a""#, r#""\u0061""#]),
        case(
            r#"{"model":"go\u006Fgle\/\ud83d\uDE00"}"#,
            "google/😀",
            &[r#""go\u006Fgle\/\ud83d\uDE00""#],
        ),
        case(
            r#"{"\u006d\u006f\u0064\u0065\u006c":"\"\\\b\f\n\r\t"}"#,
            "\"\\\u{8}\u{c}\n\r\t",
            &[r#""\"\\\b\f\n\r\t""#],
        ),
        case(r#"{"model":"größe","é":"\ud800"}"#, "größe", &[r#""größe""#]),
        case(
            r#"{"model":"a","b":[-0.5e+7,1E5,0,-0,1.25,true,false,null,[],{}]}"#,
            "a",
            &[r#""a""#],
        ),
        // Other keys, even similar ones.
        case(r#"{"models":"x","mode":"x","model ":"x","":"x","model":"a"}"#, "a", &[r#""a""#]),
    ]
}

/// Bodies that are JSON, but have no name.
const NAMELESS: [&str; 8] = [
    "{}",
    r#"{"model":null}"#,
    r#"{"model":null,"model":null}"#,
    r#"{"Model":"a"}"#,
    r#"{"a":{"model":"x"}}"#,
    r#"[{"model":"x"}]"#,
    r#""model""#,
    "12",
];

/// Bodies that are refused.
fn refused() -> Vec<(String, ModelError)> {
    use ModelError::{Ambiguous, NotAString, TooLong};
    let long = "x".repeat(LONGEST_NAME + 1);
    let case = |text: &str, error| (text.to_owned(), error);
    vec![
        case(r#"{"model":"a","model":"b"}"#, Ambiguous),
        case(r#"{"model":"a","n":[1],"mod\u0065l":"b"}"#, Ambiguous),
        case(r#"{"model":"a","model":null}"#, Ambiguous),
        case(r#"{"model":null,"model":"a"}"#, Ambiguous),
        case(r#"{"model":"a","Model":"b"}"#, Ambiguous),
        case(r#"{"MODEL":"a","model":"a"}"#, Ambiguous),
        case(&format!("{{{}}}", [r#""model":"a""#; MOST_OFTEN + 1].join(",")), Ambiguous),
        case(r#"{"model":1}"#, NotAString),
        case(r#"{"model":-1.5}"#, NotAString),
        case(r#"{"model":true}"#, NotAString),
        case(r#"{"model":["a"]}"#, NotAString),
        case(r#"{"model":{"model":"a"}}"#, NotAString),
        case(r#"{"model":"a","model":["a"]}"#, NotAString),
        case(&format!(r#"{{"model":"{long}"}}"#), TooLong),
        case(&format!(r#"{{"model":"a","model":"{long}"}}"#), TooLong),
    ]
}

/// Bodies that some parsers accept, or read in another way.
fn unreadable() -> Vec<Vec<u8>> {
    let mut texts: Vec<Vec<u8>> = [
        "",
        " ",
        "{",
        "}",
        r#"{"model"#,
        r#"{"model""#,
        r#"{"model":"#,
        r#"{"model":"a"#,
        r#"{"model":"a""#,
        r#"{"model":"a","#,
        r#"{"model":"a",}"#,
        r#"{"model":"a"]"#,
        r#"{"model":"a"}}"#,
        r#"{"model":"a"} {"model":"b"}"#,
        r#"{"model":"a"}{"#,
        r#"{"model":"a"}x"#,
        "{\"model\":\"a\"}\0",
        "\u{feff}{\"model\":\"a\"}",
        r#"{'model':"a"}"#,
        r#"{model:"a"}"#,
        r#"{"model":'a'}"#,
        r#"{"model":a}"#,
        r#"{"model":"a" "b":1}"#,
        r#"{"model" "a"}"#,
        r#"{,"model":"a"}"#,
        r#"{"model":"a",,"b":1}"#,
        r#"{"model":"a","b"}"#,
        r#"{"model":"a","b":}"#,
        r#"{"model":"a","b":[1,]}"#,
        r#"{"model":"a","b":[,1]}"#,
        r#"{"model":"a","b":[1}}"#,
        r#"{"model":"a","b":{"c":1]}"#,
        r#"{"model":"a","b":[1 2]}"#,
        r#"{"model":"a",1:2}"#,
        r#"{"model":"a"}//"#,
        r#"{/**/"model":"a"}"#,
        "{\"model\":\"a\nb\"}",
        "{\"model\":\"a\",\"b\":\"\u{1f}\"}",
        r#"{"model":"\x61"}"#,
        r#"{"model":"\u00g1"}"#,
        r#"{"model":"\u+061"}"#,
        r#"{"model":"\u006"}"#,
        r#"{"model":"\'"}"#,
        r#"{"model":"\ud800"}"#,
        r#"{"model":"\udc00a"}"#,
        r#"{"model":"\ud800\u0061"}"#,
        r#"{"model":"\ud800\n\udc00"}"#,
        r#"{"model":"a","mod\ud800el":"b"}"#,
        "\u{b}{\"model\":\"a\"}",
        "\u{a0}{\"model\":\"a\"}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    for number in [
        "01", "-01", "00", "-", "+1", ".5", "1.", "1e", "1e+", "1.e5", "0x1", "--1", "NaN", "1_0",
        "-a",
    ] {
        texts.push(format!(r#"{{"model":"a","b":{number}}}"#).into());
    }
    for literal in ["tru", "trueX", "True", "nul", "nulll", "undefined", "fals"] {
        texts.push(format!(r#"{{"model":"a","b":{literal}}}"#).into());
    }
    texts.extend([
        b"{\"model\":\"a\xff\"}".to_vec(),
        b"{\"model\":\"a\",\"b\":\"\xc0\xa2\"}".to_vec(),
        b"{\"model\":\"a\",\"b\":\"\xed\xa0\x80\"}".to_vec(),
        b"{\"model\":\"a\",\"b\":\"\xe2\x82\"}".to_vec(),
        "{\"model\":\"a\"}".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        [&b"{\"model\":\"a\",\"b\":"[..], &b"[".repeat(DEEPEST), &b"]".repeat(DEEPEST), b"}"]
            .concat(),
        vec![b'['; 1 << 20],
        vec![b'{'; 100],
    ]);
    texts
}

#[test]
fn a_name_is_found_and_decoded_anywhere_in_the_object() {
    for (text, name, raw) in readable() {
        let raw = raw.into_iter().map(str::to_owned).collect();
        assert_eq!(found(&text), Ok(Some((name.to_owned(), raw))), "{}", text.escape_ascii());
    }
    let deep = DEEPEST - 1;
    let deep =
        [&b"{\"b\":"[..], &b"[".repeat(deep), &b"]".repeat(deep), b",\"model\":\"a\"}"].concat();
    assert!(matches!(scan([deep]), Ok(Some(_))));
    let longest = "x".repeat(LONGEST_NAME);
    let text = format!(r#"{{"model":"{longest}"}}"#);
    assert_eq!(scan([text]).unwrap().unwrap().name, longest);
}

#[test]
fn a_body_without_a_name_has_none() {
    for text in NAMELESS {
        assert_eq!(scan([text]), Ok(None), "{text}");
    }
}

#[test]
fn a_body_without_exactly_one_name_is_refused() {
    for (text, error) in refused() {
        assert_eq!(scan([&text]), Err(error), "{text}");
    }
}

#[test]
fn a_body_that_is_not_strictly_json_has_no_name_and_no_error() {
    for text in unreadable() {
        let shown = text.escape_ascii().to_string();
        assert_eq!(scan([&text]), Ok(None), "{shown}");
        // The same goes for a text that would be refused if it were JSON.
        let twice = [&b"{\"model\":1,"[..], text.strip_prefix(b"{").unwrap_or(b"?")].concat();
        assert_eq!(scan([twice]), Ok(None), "{shown}");
    }
}

#[test]
fn the_chunks_do_not_change_the_result() {
    let mut texts: Vec<_> = readable().into_iter().map(|(text, ..)| text).collect();
    texts.extend(NAMELESS.map(|text| text.as_bytes().to_vec()));
    texts.extend(refused().into_iter().map(|(text, _)| text.into_bytes()));
    texts.extend(unreadable());
    for text in texts.iter().filter(|text| text.len() < 3000) {
        let whole = scan([text]);
        for at in 0..=text.len() {
            assert_eq!(scan([&text[..at], &text[at..]]), whole, "{}", text.escape_ascii());
        }
        for size in [1, 2, 3, 7] {
            assert_eq!(scan(text.chunks(size)), whole, "{}", text.escape_ascii());
        }
        assert_eq!(scan([&b""[..], text, b"", b""]), whole);
    }
}

#[test]
fn positions_beyond_the_first_block_are_right() {
    for padding in [BLOCK - 20, BLOCK - 8, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK] {
        let text = format!(r#"{{"b":"{}","model":"a\u0062"}}"#, "x".repeat(padding));
        assert_eq!(found(text.as_bytes()), Ok(Some(("ab".into(), vec![r#""a\u0062""#.into()]))));
    }
}

/// The value that `serde_json` reads. `None` for texts that it refuses although they are JSON:
/// numbers that it cannot hold and halves of surrogate pairs.
fn by_serde(text: &[u8]) -> Option<Option<Value>> {
    match serde_json::from_slice(text) {
        Ok(value) => Some(Some(value)),
        Err(error) => {
            let why = error.to_string();
            let only_here = ["number out of range", "surrogate", "end of hex escape"];
            (!only_here.iter().any(|only| why.contains(only))).then_some(None)
        }
    }
}

fn agrees_with_serde(text: &[u8]) -> Result<(), TestCaseError> {
    let scanned = scan([text]);
    let Some(value) = by_serde(text) else { return Ok(()) };
    let model = value.as_ref().and_then(|value| value.as_object()?.get("model"));
    match (scanned, model) {
        (Ok(Some(found)), model) => {
            prop_assert_eq!(model.and_then(Value::as_str), Some(found.name.as_str()));
        }
        (Ok(None), model) => prop_assert!(model.is_none_or(Value::is_null), "{model:?}"),
        (Err(_), model) => prop_assert!(model.is_some()),
    }
    Ok(())
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
        let text = pieces.concat();
        prop_assert_eq!(scan(&pieces), scan([&text]));
        agrees_with_serde(&text)?;
    }

    #[test]
    fn a_text_like_json_is_read_as_serde_json_reads_it(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "\"model\"", "\"Model\"", "\"a\"",
            "\"mod\\u0065l\"", "\"model\":\"a\"", "\"model\":", "\"b\":", "null", "true", "1", "-0.5e3",
            "u", "0061", "\\u00e9", "\\ud83d", "\\ude00", "é", "\u{1}", "{\"model\":\"a\"}", "\"b\":[1]",
        ]), 0..12),
        open in any::<bool>(),
    ) {
        let mut text = tokens.concat();
        if open {
            text = format!("{{{text}}}");
        }
        agrees_with_serde(text.as_bytes())?;
    }
}
