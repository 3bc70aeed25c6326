use std::task::Waker;

use proptest::{prelude::*, sample::Index};
use serde_json::Value;

use super::*;

/// The size from which a piece is not copied and two pieces are not joined.
const LARGE: usize = 32 << 10;

fn gathered(pieces: &[&[u8]]) -> Gathering {
    let mut gathering = Gathering::new(usize::MAX);
    for piece in pieces {
        gathering.push(Frame::data(Bytes::copy_from_slice(piece))).unwrap();
    }
    gathering
}

fn text(whole: Chunks) -> Vec<u8> {
    let length = whole.data.len();
    let pieces: Vec<Bytes> = whole.data.into_iter().collect();
    assert!(pieces.iter().all(|piece| !piece.is_empty()));
    let text = pieces.concat();
    assert_eq!(text.len(), length);
    text
}

/// The text in `pieces` after the scanner and the splice have renamed its model.
fn renamed(pieces: &[&[u8]], new: &str) -> Vec<u8> {
    let (whole, Read { model, .. }) = gathered(pieces).finish().unwrap();
    let new = Bytes::from(Value::from(new).to_string());
    text(splice(whole, &Edit::each(&model.unwrap().spans, &new)))
}

#[test]
fn a_name_is_replaced_regardless_of_the_chunk_boundaries() {
    let old = br#"{"model":"a\u0062c" ,"b":[{"model":"abc"}],"model":"abc"}"#;
    for new in ["x", "a much longer name\n", ""] {
        let json = Value::from(new);
        let expected = format!(r#"{{"model":{json} ,"b":[{{"model":"abc"}}],"model":{json}}}"#);
        for one in 0..=old.len() {
            for two in one..=old.len() {
                let pieces = [&old[..one], &old[one..two], &old[two..]];
                assert_eq!(renamed(&pieces, new), expected.as_bytes(), "{pieces:?}");
            }
        }
        let single: Vec<_> = old.chunks(1).collect();
        assert_eq!(renamed(&single, new), expected.as_bytes());
    }
}

#[test]
fn adjacent_splices_at_the_start_and_the_end_are_replaced() {
    for cuts in 0_u32..1 << 8 {
        // Every split of nine bytes, without the merging of small pieces.
        let mut pieces = vec![Vec::new()];
        for (at, byte) in b"aaabbbcdd".iter().enumerate() {
            pieces.last_mut().unwrap().push(*byte);
            if at < 8 && cuts >> at & 1 == 1 {
                pieces.push(Vec::new());
            }
        }
        let mut kept = Coalesced::default();
        for piece in pieces {
            kept.push(Bytes::from(piece));
            kept.seal();
        }
        let whole = Chunks { data: kept, trailers: None };
        let spliced = splice(whole, &Edit::each(&[0..3, 3..6, 7..9], &Bytes::from_static(b"12")));
        assert_eq!(text(spliced), b"1212c12", "{cuts:b}");
    }
}

#[test]
fn large_pieces_are_passed_on_without_a_copy() {
    let start = Bytes::from(format!(r#"{{"b":"{}","model":"a"#, "x".repeat(LARGE)));
    let end = Bytes::from(format!(r#"","c":"{}"}}"#, "y".repeat(LARGE)));
    let mut gathering = Gathering::new(usize::MAX);
    gathering.push(Frame::data(start.clone())).unwrap();
    gathering.push(Frame::data(end.clone())).unwrap();
    let (whole, Read { model, .. }) = gathering.finish().unwrap();
    let spliced = splice(whole, &Edit::each(&model.unwrap().spans, &Bytes::from_static(b"\"b\"")));
    let pieces: Vec<Bytes> = spliced.data.into_iter().collect();
    assert_eq!(pieces.len(), 3);
    assert_eq!(pieces[0].as_ptr(), start.as_ptr());
    assert_eq!(pieces[2].as_ptr(), end[1..].as_ptr());
}

#[test]
fn a_body_of_small_pieces_takes_at_most_twice_its_length() {
    for piece in [1, 1024, 8 << 10] {
        let mut gathering = Gathering::new(usize::MAX);
        for _ in 0..(1 << 20) / piece {
            gathering.push(Frame::data(Bytes::from(vec![b'x'; piece]))).unwrap();
            gathering.push(Frame::data(Bytes::new())).unwrap();
        }
        let (whole, _) = gathering.finish().unwrap();
        assert!(whole.data.pinned() <= 2 << 20, "{} by {piece}", whole.data.pinned());
        assert_eq!(text(whole), vec![b'x'; 1 << 20]);
    }
}

#[test]
fn a_body_that_was_spliced_is_one_piece_if_it_is_short() {
    let (whole, Read { model, .. }) =
        gathered(&[br#"{"model":"#, br#""a","b":1}"#]).finish().unwrap();
    let spliced =
        splice(whole, &Edit::each(&model.unwrap().spans, &Bytes::from_static(b"\"long\"")));
    let mut body = ModelBody::<String>::read(spliced);
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else { panic!() };
    assert_eq!(frame.into_data().unwrap(), r#"{"model":"long","b":1}"#);
    assert!(body.is_end_stream());
}

#[test]
fn a_body_over_the_limit_is_refused_at_the_first_byte_too_many() {
    let mut gathering = Gathering::new(5);
    gathering.push(Frame::data(&b"123"[..])).unwrap();
    gathering.push(Frame::data(&b"45"[..])).unwrap();
    let error = gathering.push(Frame::data(&b"6"[..])).unwrap_err();
    assert_eq!(error, ModelError::TooLarge { limit: 5 });
}

#[test]
fn hints_are_right_before_each_frame_and_trailers_come_last() {
    let trailers = http::HeaderMap::from_iter([(http::header::ETAG, "1".parse().unwrap())]);
    for trailers in [None, Some(trailers)] {
        let mut gathering = gathered(&[&[b'x'; LARGE], &[b'y'; LARGE + 1]]);
        if let Some(trailers) = trailers.clone() {
            gathering.push(Frame::<Bytes>::trailers(trailers)).unwrap();
        }
        let mut body = ModelBody::<String>::read(gathering.finish().unwrap().0);
        let mut cx = Context::from_waker(Waker::noop());
        for (left, length) in [(2 * LARGE + 1, LARGE), (LARGE + 1, LARGE + 1)] {
            let hint = body.size_hint();
            assert_eq!(hint.lower(), left as u64);
            assert_eq!(hint.exact(), trailers.is_none().then_some(left as u64));
            assert!(!body.is_end_stream());
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else {
                panic!()
            };
            assert_eq!(frame.into_data().unwrap().len(), length);
        }
        assert_eq!(body.is_end_stream(), trailers.is_none());
        if let Some(trailers) = trailers {
            let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else {
                panic!()
            };
            assert_eq!(frame.into_trailers().unwrap(), trailers);
        }
        assert!(matches!(Pin::new(&mut body).poll_frame(&mut cx), Poll::Ready(None)));
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
    }
}

#[test]
fn a_body_is_as_thread_safe_as_the_one_within() {
    fn check<T: Send + Sync + fmt::Debug>() {}
    check::<ModelBody<String>>();
}

/// `text` as a JSON string, with each character written in the style of the next number in `how`.
fn written(text: &str, how: &[u8]) -> String {
    let mut json = String::from('"');
    for (at, character) in text.chars().enumerate() {
        let how = how.get(at % how.len().max(1)).copied().unwrap_or(0);
        let plain = !matches!(character, '"' | '\\' | '\0'..='\u{1f}');
        match (how % 4, character) {
            (0 | 1, _) if plain => json.push(character),
            (2, '"' | '\\' | '/') => json.extend(['\\', character]),
            (2, '\n') => json.push_str("\\n"),
            (upper, _) => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let hex = if upper == 3 {
                        format!("\\u{unit:04X}")
                    } else {
                        format!("\\u{unit:04x}")
                    };
                    json.push_str(&hex);
                }
            }
        }
    }
    json.push('"');
    json
}

fn string() -> impl Strategy<Value = String> {
    let text = prop_oneof![any::<String>(), "model", "[ -~]{0,8}"];
    (text, any::<[u8; 5]>()).prop_map(|(text, how)| written(&text, &how))
}

fn space() -> impl Strategy<Value = String> + Clone {
    "[ \t\r\n]{0,2}"
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        string(),
        "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
        "true|false|null",
        "[a-z]{100,200}".prop_map(|long| format!("\"{long}\"")),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let item = (space(), inner.clone(), space())
            .prop_map(|(a, item, b)| [a, item, b].concat())
            .boxed();
        let items = |brackets: [&'static str; 2], item: BoxedStrategy<String>| {
            let empty = space().prop_map(String::from);
            let some = prop::collection::vec(item, 1..5).prop_map(|items| items.join(","));
            prop_oneof![1 => empty, 4 => some]
                .prop_map(move |items| [brackets[0], &items, brackets[1]].concat())
        };
        let member = (space(), string(), space(), item.clone())
            .prop_map(|(a, key, b, item)| [a, key, b, ":".into(), item].concat());
        prop_oneof![items(["[", "]"], item), items(["{", "}"], member.boxed())]
    })
}

proptest! {
    /// Every other byte stays the same, regardless of its content, its spelling and the chunks.
    #[test]
    fn only_the_name_changes(
        name in prop_oneof!["[a-z/.-]{0,20}", any::<String>()],
        new in any::<String>(),
        names in prop::collection::vec((any::<[u8; 5]>(), any::<[u8; 5]>(), any::<Index>()), 1..4),
        others in prop::collection::vec((string(), value()), 0..6),
        spaces in prop::collection::vec(space(), 8),
        cuts in prop::collection::vec(any::<Index>(), 0..6),
    ) {
        // Members of the object: the text before the value, and the value unless it is the name.
        let mut members: Vec<(String, Option<String>)> = others
            .into_iter()
            .filter(|(key, _)| {
                let key: String = serde_json::from_str(key).unwrap();
                !key.eq_ignore_ascii_case("model")
            })
            .map(|(key, value)| (key, Some(value)))
            .collect();
        let mut ways = Vec::new();
        for (key, way, place) in names {
            members.insert(place.index(members.len() + 1), (written("model", &key), None));
            ways.push(way);
        }
        let write = |name: &dyn Fn(usize) -> String| {
            let mut space = spaces.iter().cycle().map(String::as_str);
            let mut space = move || space.next().unwrap_or_default();
            let mut count = 0;
            let mut text = [space(), "{"].concat();
            for (at, (key, value)) in members.iter().enumerate() {
                let value = value.clone().unwrap_or_else(|| {
                    count += 1;
                    name(count - 1)
                });
                let comma = if at > 0 { "," } else { "" };
                text.extend([comma, space(), key, space(), ":", space(), &value, space()]);
            }
            text + "}" + space()
        };
        let old = write(&|count| written(&name, &ways[count]));
        let expected = write(&|_| Value::from(new.as_str()).to_string());

        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(old.len())).collect();
        cuts.extend([0, old.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &old.as_bytes()[cut[0]..cut[1]]).collect();

        let (whole, model) = gathered(&pieces).finish().unwrap();
        let model = model.model.unwrap();
        let mut by_serde: Value = serde_json::from_str(&old).unwrap();
        prop_assert_eq!(by_serde["model"].as_str(), Some(name.as_str()));
        prop_assert_eq!(&model.name, &name);

        let changed = splice(whole, &Edit::each(&model.spans, &Bytes::from(Value::from(new.as_str()).to_string())));
        let changed = text(changed);
        prop_assert_eq!(String::from_utf8_lossy(&changed), expected);
        by_serde["model"] = new.into();
        prop_assert_eq!(serde_json::from_slice::<Value>(&changed).unwrap(), by_serde);
    }
}
