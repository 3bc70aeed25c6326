//! The place for a `model` in a request without one.

use std::ops::Range;

use super::Scanner;

/// The place for a `model` in an object that has none, or only `null`.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::model) struct Vacancy {
    /// The ranges to be replaced by the value.
    pub(in crate::model) ranges: Vec<Range<usize>>,
    /// The text before the value: the key, if the object has none.
    pub(in crate::model) before: &'static str,
}

impl Scanner {
    /// The place for a `model`, if the text is an object without one in which every parser would find it.
    pub(in crate::model) fn vacancy(&self) -> Option<Vacancy> {
        if !self.is_json() || self.problem.is_some() || self.other_case {
            return None;
        }
        match self.asked {
            Some(Some(_)) => None,
            Some(None) => Some(Vacancy { ranges: self.spans.clone(), before: "" }),
            None => {
                let (end, has_others) = self.members.end_of_others()?;
                let before = if has_others { ",\"model\":" } else { "\"model\":" };
                #[allow(clippy::single_range_in_vec_init)]
                let ranges = vec![end..end];
                Some(Vacancy { ranges, before })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The text with the model `m`, or `None` if it has no place for one.
    fn filled(text: &str) -> Option<String> {
        let mut scanner = Scanner::new();
        // Byte by byte, so that every position is one of a later block.
        text.as_bytes().iter().for_each(|byte| scanner.feed(&[*byte]));
        let Vacancy { ranges, before } = scanner.vacancy()?;
        let mut filled = text.to_owned();
        for range in ranges.into_iter().rev() {
            filled.replace_range(range, &format!("{before}\"m\""));
        }
        Some(filled)
    }

    #[test]
    fn an_object_without_a_model_gets_one_and_stays_the_same_otherwise() {
        for (text, expected) in [
            ("{}", r#"{"model":"m"}"#),
            ("{ }", r#"{ "model":"m"}"#),
            (r#"{"a":1}"#, r#"{"a":1,"model":"m"}"#),
            ("{\"a\":[{\"model\":\"x\"}] \n} ", "{\"a\":[{\"model\":\"x\"}] \n,\"model\":\"m\"} "),
            (r#"{"model":null}"#, r#"{"model":"m"}"#),
            (r#"{"a":null,"model" : null ,"b":2}"#, r#"{"a":null,"model" : "m" ,"b":2}"#),
            (r#"{"model":null,"model":null}"#, r#"{"model":"m","model":"m"}"#),
            (r#"{"é":"\"}","n":{}}"#, r#"{"é":"\"}","n":{},"model":"m"}"#),
        ] {
            assert_eq!(filled(text).as_deref(), Some(expected));
            let mut before: Value = serde_json::from_str(text).unwrap();
            before["model"] = "m".into();
            assert_eq!(serde_json::from_str::<Value>(expected).unwrap(), before);
        }
    }

    #[test]
    fn a_text_that_parsers_could_read_in_two_ways_has_no_place() {
        for text in [
            "",
            "[]",
            "null",
            r#"{"a":1"#,
            r#"{"a":1,}"#,
            r#"{"a":1} x"#,
            r#"{"model":"a"}"#,
            r#"{"model":""}"#,
            r#"{"Model":null}"#,
            r#"{"MODEL":"a"}"#,
            r#"{"model":null,"model":"a"}"#,
            r#"{"model":1}"#,
        ] {
            assert_eq!(filled(text), None, "{text}");
        }
    }
}
