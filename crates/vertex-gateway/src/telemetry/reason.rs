//! Why Vertex AI answered with an error, as its own sentence has it; for the line of the log.

use serde::Deserialize;

use crate::redact;

/// The longest error that is read.
const LONGEST: usize = 16 << 10;
/// A longer quotation is no name of something.
const LONGEST_QUOTED: usize = 64;

/// The body of an error, as it passes.
#[derive(Debug, Default)]
pub(crate) struct ErrorText(Vec<u8>);

impl ErrorText {
    pub(crate) fn read(&mut self, data: &[u8]) {
        let room = (LONGEST + 1).saturating_sub(self.0.len());
        self.0.extend_from_slice(&data[..data.len().min(room)]);
    }

    /// The message; without what it quotes, if that may be a part of the request.
    pub(crate) fn message(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Body {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            message: String,
        }
        // Of a longer one only a part is here.
        let body = self.0.get(..=LONGEST).is_none().then_some(&self.0)?;
        let message = serde_json::from_slice::<Body>(body).ok()?.error.message;
        Some(redact::shown(&unquoted(&message), "")).filter(|message| !message.is_empty())
    }
}

/// Names of fields and models are short and have no blanks; what people write to a model has, and it may
/// have quotes of its own: behind the first quotation that is no name, nothing is known to be Vertex AI's.
fn unquoted(message: &str) -> String {
    let (mut text, mut rest) = (String::new(), message);
    while let Some((start, end)) = opening(rest) {
        let (before, quoted) = rest.split_at(start);
        let (open, quoted) = quoted.split_at(quoted.chars().next().map_or(0, char::len_utf8));
        text.push_str(before);
        text.push_str(open);
        // A quotation that does not end is one to the end.
        let length = closing(quoted, end).unwrap_or(quoted.len());
        let (quoted, after) = quoted.split_at(length);
        let is_name = quoted.len() <= LONGEST_QUOTED && !quoted.contains(char::is_whitespace);
        if !is_name {
            text.push('…');
            text.push(end);
            return text;
        }
        text.push_str(quoted);
        let Some(after) = after.strip_prefix(end) else { return text };
        text.push(end);
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Where the first quotation begins, and what ends it. An apostrophe has a letter before it.
fn opening(text: &str) -> Option<(usize, char)> {
    let mut before = ' ';
    text.char_indices().find_map(|(at, c)| {
        let follows = std::mem::replace(&mut before, c);
        let end = match c {
            '"' | '`' => c,
            '\'' if !follows.is_alphanumeric() => c,
            '“' => '”',
            '‘' => '’',
            _ => return None,
        };
        Some((at, end))
    })
}

/// Where a quotation ends, before its mark. An apostrophe has a letter behind it.
fn closing(text: &str, end: char) -> Option<usize> {
    text.match_indices(end).map(|(at, _)| at).find(|at| {
        let behind = text.get(at + end.len_utf8()..).and_then(|rest| rest.chars().next());
        !matches!(end, '\'' | '’') || !behind.is_some_and(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_of_an_error_is_told_without_what_it_quotes_of_a_conversation() {
        let message = |body: &str| {
            let mut text = ErrorText::default();
            // However it is cut.
            body.as_bytes().chunks(7).for_each(|piece| text.read(piece));
            text.message()
        };
        let of = |sentence: &str| {
            message(&serde_json::json!({ "error": { "message": sentence } }).to_string())
        };
        for (sentence, told) in [
            (
                r#"Unknown name "foo": Cannot find field."#,
                r#"Unknown name "foo": Cannot find field."#,
            ),
            (r#"Invalid value at 'x', "my dear diary" (y)"#, r#"Invalid value at 'x', "…""#),
            (r#"Invalid: "he said "my diary" and left" "a""#, r#"Invalid: "…""#),
            (r#"Invalid: "a" at "my "diary" ends"#, r#"Invalid: "a" at "…""#),
            (r#"Invalid: "never ends"#, r#"Invalid: "…""#),
            (r#"Invalid: "x"#, r#"Invalid: "x"#),
            (
                "It should be a list, input_value='my dear diary, I don't know'",
                "It should be a list, input_value='…'",
            ),
            ("Can't find `my dear diary` in “my book” of 'models/x'", "Can't find `…`"),
            ("of 'models/x' in “my book”", "of 'models/x' in “…”"),
            ("the models' names and 'never ends", "the models' names and '…'"),
            ("two\nlines\u{2028}more", "two lines more"),
            ("Bearer ya29.secret is bad", "[redacted] is bad"),
        ] {
            assert_eq!(of(sentence).as_deref(), Some(told));
        }
        assert_eq!(of(&format!("\"{}\"", "x".repeat(65))).as_deref(), Some("\"…\""));
        for body in ["", "<html>", "{}", r#"{"error":"text"}"#, r#"{"error":{"message":""}}"#] {
            assert_eq!(message(body), None, "{body}");
        }
        assert_eq!(of(&"long ".repeat(LONGEST)), None);
    }
}
