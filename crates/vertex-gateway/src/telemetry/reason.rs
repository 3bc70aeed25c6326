//! The message of an error of Vertex AI, for the log.

use serde::Deserialize;

use crate::quote;

/// The longest error body that is read.
const LONGEST: usize = 16 << 10;
/// A longer quotation is not a name.
const LONGEST_QUOTED: usize = 64;

/// Collects the body of an error while it is forwarded.
#[derive(Debug, Default)]
pub(crate) struct ErrorText(Vec<u8>);

impl ErrorText {
    pub(crate) fn read(&mut self, data: &[u8]) {
        let room = (LONGEST + 1).saturating_sub(self.0.len());
        self.0.extend_from_slice(&data[..data.len().min(room)]);
    }

    /// The message, without quotations that could be a part of the request.
    pub(crate) fn message(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Body {
            error: Inner,
        }
        #[derive(Deserialize)]
        struct Inner {
            message: String,
        }
        // A longer body is incomplete here.
        let body = self.0.get(..=LONGEST).is_none().then_some(&self.0)?;
        let message = serde_json::from_slice::<Body>(body).ok()?.error.message;
        Some(quote::quote(&unquoted(&message), "")).filter(|message| !message.is_empty())
    }
}

/// Removes quotations of user text. Names of fields and models are short and have no spaces. Text
/// that people write to a model has spaces, and can contain quotation marks. So after the first
/// quotation that is not a name, no text is certain to be Vertex AI's.
fn unquoted(message: &str) -> String {
    let (mut text, mut rest) = (String::new(), message);
    while let Some((start, end)) = opening(rest) {
        let (before, quoted) = rest.split_at(start);
        let (open, quoted) = quoted.split_at(quoted.chars().next().map_or(0, char::len_utf8));
        text.push_str(before);
        text.push_str(open);
        // An unclosed quotation extends to the end.
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

/// The position of the first quotation mark, and the mark that closes it. An apostrophe follows a
/// letter.
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

/// The position of the closing mark. An apostrophe precedes a letter.
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
    fn the_message_of_an_error_omits_quotations_of_a_conversation() {
        let message = |body: &str| {
            let mut text = ErrorText::default();
            // The body arrives in small chunks.
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
