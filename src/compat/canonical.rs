//! JSON in one form: without spaces, with the keys in order, and numbers of the same value alike.

use std::fmt::Write as _;

use serde_json::{Number, Value};

/// Longer texts have no canonical form here, which bounds the work for one tool call.
pub(super) const LONGEST: usize = 64 << 10;

/// The largest integer up to which JavaScript's numbers are exact.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// The canonical form of a text. A client that parses the arguments of a call and writes them again
/// changes only the properties that this form ignores. `None` if the text is not JSON or too long.
pub(super) fn canonical(text: &str) -> Option<String> {
    if text.len() > LONGEST {
        return None;
    }
    let value = serde_json::from_str(text).ok()?;
    let mut canonical = String::with_capacity(text.len());
    write(&value, &mut canonical);
    Some(canonical)
}

/// The recursion is bounded by the depth that `serde_json` parses, which is 128.
fn write(value: &Value, to: &mut String) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            to.push('{');
            for (key, value) in members {
                write(&Value::from(key.as_str()), to);
                to.push(':');
                write(value, to);
                to.push(',');
            }
            to.push('}');
        }
        Value::Array(elements) => {
            to.push('[');
            for element in elements {
                write(element, to);
                to.push(',');
            }
            to.push(']');
        }
        Value::Number(number) => write_number(number, to),
        // Writing to a string does not fail.
        other => _ = write!(to, "{other}"),
    }
}

fn write_number(number: &Number, to: &mut String) {
    let is_whole = |float: &f64| float.fract() == 0.0 && float.abs() <= EXACT;
    _ = match number.as_f64().filter(|float| number.is_f64() && is_whole(float)) {
        // 1.0 is written as 1 by JavaScript.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the number has no fraction and is in range"
        )]
        Some(float) => write!(to, "{}", float as i64),
        None => write!(to, "{number}"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_same_value_have_the_same_form() {
        for (one, other) in [
            (r#"{"a":1,"b":[true,null]}"#, "{ \"b\" : [ true, null ],\n\"a\" : 1.0 }"),
            (r#"{"x":"\u00e9\n"}"#, "{\"x\":\"\u{e9}\\n\"}"),
            (r#"{"n":-3e2}"#, r#"{"n":-300}"#),
            ("{}", " {} "),
        ] {
            assert_eq!(canonical(one), canonical(other), "{one}");
            assert!(canonical(one).is_some());
        }
    }

    #[test]
    fn texts_of_other_values_have_other_forms() {
        let texts = [
            "{}",
            "[]",
            r#"{"a":1}"#,
            r#"{"a":"1"}"#,
            r#"{"a":1.5}"#,
            r#"{"a":[1]}"#,
            r#"{"b":1}"#,
        ];
        for (index, text) in texts.iter().enumerate() {
            for other in &texts[index + 1..] {
                assert_ne!(canonical(text), canonical(other));
            }
        }
    }

    #[test]
    fn a_text_that_is_too_long_or_not_json_has_no_form() {
        assert_eq!(canonical("{"), None);
        assert_eq!(canonical(""), None);
        assert_eq!(canonical(&"[".repeat(200)), None);
        for (length, has_form) in [(LONGEST, true), (LONGEST + 1, false)] {
            let text = format!("\"{}\"", "x".repeat(length - 2));
            assert_eq!(canonical(&text).is_some(), has_form, "{length}");
        }
    }
}
