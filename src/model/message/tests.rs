use http::Request;
use http_body::Frame;
use proptest::{prelude::*, sample::Index};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::*;
use crate::{model::body::Gathering, route::Upstream};

/// The members of an object in their order, duplicates too.
#[derive(Clone, Debug, PartialEq)]
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The path and the body of a message whose body arrives in these pieces.
fn sent(path: &str, pieces: &[&[u8]]) -> Result<(String, Vec<u8>), ModelError> {
    let table = ModelTable::new(Upstream::new("p", "global").unwrap());
    let mut gathering = Gathering::new(usize::MAX);
    for piece in pieces {
        gathering.push(Frame::data(Bytes::copy_from_slice(piece)))?;
    }
    let (body, message) = gathering.finish_message()?;
    let mut head = Request::post(path).body(()).unwrap().into_parts().0;
    let body = route_message(&table, &mut head, body, message)?;
    let body: Vec<Bytes> = body.data.into_iter().collect();
    Ok((head.uri.path().to_owned(), body.concat()))
}

#[test]
fn a_model_is_removed_with_exactly_one_comma() {
    const VERSION: &str = r#""anthropic_version":"vertex-2023-10-16""#;
    for (old, new) in [
        (r#"{"model":"m"}"#, "{V}"),
        (r#" { "model" : "m" } "#, " {  V} "),
        (r#"{"model":"m","model":"m"}"#, "{V}"),
        (r#"{"model":"m" , "mod\u0065l":"\u006d"}"#, "{ V}"),
        (r#"{"model":"m","a":1}"#, r#"{"a":1,V}"#),
        (r#"{"a":1,"model":"m"}"#, r#"{"a":1,V}"#),
        (r#"{"a":1 , "model":"m" }"#, r#"{"a":1   ,V}"#),
        (r#"{"a":1,"model":"m","b":2}"#, r#"{"a":1,"b":2,V}"#),
        (r#"{"a":1,"model":"m","model":"m"}"#, r#"{"a":1,V}"#),
        (r#"{"model":"m","a":1,"model":"m"}"#, r#"{"a":1,V}"#),
        (r#"{"model":"m","a":1,"model":"m","b":2,"model":"m"}"#, r#"{"a":1,"b":2,V}"#),
        (r#"{"a":",\"model\":\"m\",","model":"m"}"#, r#"{"a":",\"model\":\"m\",",V}"#),
        (r#"{"a":{"model":"x"},"model":"m"}"#, r#"{"a":{"model":"x"},V}"#),
        (r#"{"anthropic_version":"v","model":"m"}"#, r#"{"anthropic_version":"v"}"#),
        (r#"{"model":"m","anthropic\u005fversion":null}"#, r#"{"anthropic\u005fversion":null}"#),
    ] {
        let new = new.replace('V', VERSION);
        for one in 0..=old.len() {
            let (before, after) = old.as_bytes().split_at(one);
            let pieces = [before, &[], after];
            let (path, body) = sent("/v1/messages", &pieces).unwrap();
            assert_eq!(path, "/publishers/anthropic/models/m:rawPredict");
            assert_eq!(String::from_utf8(body).unwrap(), new, "{old} at {one}");
        }
        let bytes: Vec<&[u8]> = old.as_bytes().chunks(1).collect();
        assert_eq!(sent("/v1/messages", &bytes).unwrap().1, new.as_bytes());
    }
}

#[test]
fn a_date_in_anthropics_form_gets_the_form_of_vertex_ai() {
    for (name, dated) in [
        ("claude-sonnet-4-5-20250929", Some("claude-sonnet-4-5@20250929")),
        ("claude-3-opus-20240229", Some("claude-3-opus@20240229")),
        ("claude-sonnet-4-5", None),
        ("claude-sonnet-4-5@20250929", None),
        ("claude-3-5-sonnet-v2@20241022", None),
        ("claude-2025092", None),
        ("claude-202509290", None),
        ("claude-2025092x", None),
        ("-20250929", None),
        ("20250929", None),
        ("", None),
    ] {
        assert_eq!(with_vertex_date(name).as_deref(), dated, "{name}");
    }
}

#[test]
fn tokens_are_counted_for_a_name_without_a_date() {
    for (name, bare) in [
        ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("claude-opus-5-5@default", "claude-opus-5-5"),
        ("claude-3-5-sonnet-v2@20241022", "claude-3-5-sonnet-v2"),
        ("claude-opus-5-5", "claude-opus-5-5"),
        ("-20250929", "-20250929"),
    ] {
        assert_eq!(without_date(name), bare, "{name}");
    }
}

#[test]
fn the_version_is_that_of_the_header() {
    for (values, expected) in [
        (&[][..], "vertex-2023-10-16"),
        (&["2023-06-01"], "vertex-2023-10-16"),
        (&["2026-10-21"], "2026-10-21"),
        (&["2027-01-01"], "2027-01-01"),
        (&["2026-10-21", "2026-10-21"], "vertex-2023-10-16"),
        (&["2026-10-2"], "vertex-2023-10-16"),
        (&["2026-10-21 "], "vertex-2023-10-16"),
        (&["2026-10\",\"a"], "vertex-2023-10-16"),
        (&["vertex-x"], "vertex-2023-10-16"),
        (&[""], "vertex-2023-10-16"),
    ] {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("anthropic-version", value.parse().unwrap());
        }
        assert_eq!(version(&headers), expected, "{values:?}");
    }
}

fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,2}"
}

/// A key as it is written, with some characters as escapes.
fn key(text: &'static str) -> impl Strategy<Value = String> {
    any::<[bool; 4]>().prop_map(move |escaped| {
        let character = |(at, c): (usize, char)| match escaped[at % 4] {
            true => format!("\\u{:04x}", u32::from(c)),
            false => c.to_string(),
        };
        let text: String = text.chars().enumerate().map(character).collect();
        format!("\"{text}\"")
    })
}

fn member() -> impl Strategy<Value = (String, String)> {
    let value = prop_oneof![
        "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
        "true|false|null",
        Just(r#"{"model":"x","stream":true,"a":[{"model":1}, "," ]}"#.to_owned()),
        any::<String>().prop_map(|text| Value::String(text).to_string()),
        "[a-z ]{100,200}".prop_map(|text| format!("\"{text}\"")),
        Just(r#"[ {"role":"user" , "content":"\"model\":\"x\","} ]"#.to_owned()),
    ];
    let text = any::<String>().prop_filter("not one of ours", |key| {
        let ours = ["model", "stream", "anthropic_version"];
        !ours.iter().any(|ours| ours.eq_ignore_ascii_case(key))
    });
    let name = prop_oneof![Just("messages".to_owned()), Just("models".to_owned()), text];
    (name.prop_map(|name| Value::String(name).to_string()), value)
}

proptest! {
    /// Every parser reads the same members in the same order, without the model and with the version.
    /// No byte changes outside the models that are removed and the version that is added.
    #[test]
    fn a_message_loses_only_its_model_and_gains_only_its_version(
        name in "[a-z][a-zA-Z0-9_.@-]{0,20}",
        models in prop::collection::vec((key("model"), any::<Index>()), 1..4),
        stream in prop::option::of((key("stream"), any::<Option<bool>>(), any::<Index>())),
        version in prop::option::of((key("anthropic_version"), any::<Index>())),
        others in prop::collection::vec(member(), 0..5),
        spaces in prop::collection::vec(space(), 7),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
        counts in any::<bool>(),
    ) {
        let mut members = others;
        if let Some((key, value, place)) = &stream {
            let value = value.map_or("null".to_owned(), |value| value.to_string());
            members.insert(place.index(members.len() + 1), (key.clone(), value));
        }
        if let Some((key, place)) = &version {
            members.insert(place.index(members.len() + 1), (key.clone(), "\"mine\"".into()));
        }
        for (key, place) in &models {
            let value = Value::from(name.as_str()).to_string();
            members.insert(place.index(members.len() + 1), (key.clone(), value));
        }
        let mut space = spaces.iter().cycle().map(String::as_str);
        let mut space = || space.next().unwrap_or_default();
        let mut old = [space(), "{"].concat();
        for (at, (key, value)) in members.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            old.extend([comma, space(), key, space(), ":", space(), value, space()]);
        }
        old.extend(["}", space()]);

        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(old.len())).collect();
        at.extend([0, old.len()]);
        at.sort_unstable();
        let pieces: Vec<_> = at.windows(2).map(|cut| &old.as_bytes()[cut[0]..cut[1]]).collect();
        let path = if counts { "/v1/messages/count_tokens" } else { "/v1/messages" };
        let (path, new) = sent(path, &pieces).unwrap();
        let new = String::from_utf8(new).unwrap();

        let is_streamed = matches!(stream, Some((_, Some(true), _)));
        let dated = with_vertex_date(&name).unwrap_or(name);
        let expected_path = match (counts, is_streamed) {
            (true, _) => "/publishers/anthropic/models/count-tokens:rawPredict".to_owned(),
            (_, true) => format!("/publishers/anthropic/models/{dated}:streamRawPredict"),
            (_, false) => format!("/publishers/anthropic/models/{dated}:rawPredict"),
        };
        prop_assert_eq!(path, expected_path);

        // The meaning.
        let mut expected: Members = serde_json::from_str(&old).unwrap();
        if counts {
            let models = expected.0.iter_mut().filter(|(key, _)| key == "model");
            models.for_each(|(_, value)| *value = without_date(&dated).into());
        } else {
            expected.0.retain(|(key, _)| key != "model");
        }
        if version.is_none() {
            expected.0.push(("anthropic_version".into(), "vertex-2023-10-16".into()));
        }
        prop_assert_eq!(serde_json::from_str::<Members>(&new).unwrap(), expected, "{}", new);

        // The bytes: the remaining parts of the old text are in the new one, in order.
        let mut gathering = Gathering::new(usize::MAX);
        gathering.push(Frame::data(Bytes::from(old.clone()))).unwrap();
        let (_, message) = gathering.finish_message().unwrap();
        let edited = if counts { &message.model.spans } else { &message.cuts };
        let added_version = r#""anthropic_version":"vertex-2023-10-16""#;
        let mut rest = new.as_str();
        let mut from = 0;
        for range in edited {
            let kept = &old[from..range.start];
            prop_assert!(rest.starts_with(kept), "{} of {}", kept, old);
            rest = &rest[kept.len()..];
            if counts {
                rest = rest.strip_prefix(&*Value::from(without_date(&dated)).to_string()).unwrap();
            }
            // A cut is a comma, or a model with at most one comma.
            let cut = old[range.clone()].trim_end_matches(',');
            let object = serde_json::from_str::<Members>(&format!("{{{cut}}}"));
            let is_model = |(key, _): &(String, Value)| key == "model";
            prop_assert!(counts || object.unwrap().0.iter().all(is_model), "{}", cut);
            from = range.end;
        }
        let (before, after) = (&old[from..message.end], &old[message.end..]);
        let added = rest.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        let member = added.map(|added| added.trim_start_matches(','));
        let expected = if version.is_none() { added_version } else { "" };
        prop_assert_eq!(member, Some(expected), "{}", new);
    }

    /// A message that is sent has one model and one value of `stream`, for each parser, regardless of
    /// its bytes.
    #[test]
    fn a_message_that_is_sent_is_read_alike(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", " ", "\"model\"", "\"Model\"", "\"mod\\u0065l\"",
            "\"model\":\"a\"", "\"model\":\"b\"", "\"stream\":", "\"stream\":true", "\"Stream\":true",
            "\"str\\u0065am\":false", "true", "false", "null", "1", "\"true\"", "\"a\":{}",
            "\"anthropic_version\":\"v\"", "\"ANTHROPIC_version\":\"v\"", "\"b\":[\"model\"]", "\u{e9}",
        ]), 0..10),
        joined in any::<bool>(),
    ) {
        let text = format!("{{{}}}", tokens.join(if joined { "," } else { "" }));
        let Ok((path, body)) = sent("/v1/messages", &[text.as_bytes()]) else { return Ok(()) };
        let old: Members = serde_json::from_str(&text).unwrap();
        let new: Members = serde_json::from_slice(&body).unwrap();
        let of = |members: &Members, name: &str| -> Vec<Value> {
            let alike = members.0.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            alike.map(|(_, value)| value.clone()).collect()
        };
        let model = of(&old, "model");
        prop_assert!(model.iter().all(|other| *other == model[0]));
        let model = model[0].as_str().unwrap();
        let streams = of(&old, "stream");
        let stream = streams.iter().any(|value| *value == true);
        prop_assert!(streams.iter().all(|value| value.as_bool().unwrap_or_default() == stream));
        let method = if stream { "streamRawPredict" } else { "rawPredict" };
        prop_assert_eq!(path, format!("/publishers/anthropic/models/{model}:{method}"));
        prop_assert_eq!(of(&new, "model"), Vec::<Value>::new());
        prop_assert_eq!(of(&new, "stream"), streams);
        prop_assert_eq!(of(&new, "anthropic_version").len(), 1);
    }

    #[test]
    fn arbitrary_bytes_never_panic_as_a_message(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..5)) {
        let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        let _ = sent("/v1/messages", &pieces);
    }
}
