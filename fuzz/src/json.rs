//! JSON as serde_json reads it, with the order and the duplicates of members.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, in order: the text of the key, the key, and the text of the value. `None`
/// for other values, and if a key has half a surrogate pair.
pub fn members(text: &str) -> Option<Vec<(&str, String, &str)>> {
    let members = raw_members(text)?.into_iter();
    members.map(|(key, value)| Some((key, serde_json::from_str(key).ok()?, value))).collect()
}

/// The members of an object, in order: the texts of the key and of the value.
pub fn raw_members(text: &str) -> Option<Vec<(&str, &str)>> {
    struct Members;
    impl<'a> Visitor<'a> for Members {
        type Value = Vec<(&'a str, &'a str)>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                members.push((key.get(), value.get()));
            }
            Ok(members)
        }
    }
    if !text.trim_ascii_start().starts_with('{') {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok()?;
    Some(members)
}

/// The texts of the elements of an array.
pub fn elements(text: &str) -> Option<Vec<&str>> {
    struct Elements;
    impl<'a> Visitor<'a> for Elements {
        type Value = Vec<&'a str>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an array")
        }
        fn visit_seq<A: SeqAccess<'a>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut elements = Vec::new();
            while let Some(element) = sequence.next_element::<&RawValue>()? {
                elements.push(element.get());
            }
            Ok(elements)
        }
    }
    if !text.trim_ascii_start().starts_with('[') {
        return None;
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let elements = deserializer.deserialize_seq(Elements).ok()?;
    deserializer.end().ok()?;
    Some(elements)
}

/// Whether serde_json reads the text as a value of any depth.
pub fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// The deepest nesting of brackets and braces outside of strings.
pub fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The position of a part of a text, in bytes.
pub fn position(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}
