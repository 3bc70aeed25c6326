//! Text of others, redacted for display.

use super::printable::is_unfit;
use tower_vertex::redact;

const REDACTED: &str = "[redacted]";
/// The longest line that is shown, in characters.
const LONGEST: usize = 300;
/// The beginning of an access token, or of a header value with one.
const MARKS: [&str; 2] = ["ya29.", "bearer "];

/// One line of at most 300 characters, without `token` and without anything like a token.
pub(crate) fn quote(text: &str, token: &str) -> String {
    let mut text = redacted(text);
    if !token.is_empty() {
        text = text.replace(token, REDACTED);
    }
    let line = text.split(|c: char| c.is_whitespace() || is_unfit(c));
    // Google repeats names, and a user may have set a key as a name.
    let word = |word: &'_ str| -> String {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric() && !"/{".contains(c));
        match redact::could_be_secret(bare) {
            true => word.replace(bare, REDACTED),
            false => word.to_owned(),
        }
    };
    let line: Vec<String> = line.filter(|word| !word.is_empty()).map(word).collect();
    let line = line.join(" ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

fn redacted(text: &str) -> String {
    // Both texts have the same length, because only ASCII letters change.
    let lower = text.to_ascii_lowercase();
    let (mut out, mut from) = (String::new(), 0);
    while let Some((start, mark)) = MARKS
        .iter()
        .filter_map(|mark| Some((from + lower.get(from..)?.find(mark)?, mark)))
        .min_by_key(|(start, _)| *start)
    {
        let after = start + mark.len();
        let rest = text.get(after..).unwrap_or_default();
        let length = rest.bytes().take_while(|byte| is_of_a_token(*byte)).count();
        out.push_str(text.get(from..start).unwrap_or_default());
        out.push_str(REDACTED);
        from = after + length;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// Whether a byte can be part of a token: RFC 6750 §2.1, `b64token`.
fn is_of_a_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_looks_like_a_token_is_shown() {
        for (text, line) in [
            ("plain\n  text\u{7}\there", "plain text here"),
            ("turned\u{202e} around\u{2029}", "turned around"),
            ("a ya29.SECRET-x_y.z/+=, b", "a [redacted], b"),
            ("Authorization: BEARER SECRET", "Authorization: [redacted]"),
            ("bearer ya29.SECRET", "[redacted]"),
            ("ya29.SECRET ya29.SECRET", "[redacted] [redacted]"),
            ("é ya29.SECRETé", "é [redacted]é"),
            ("mine:SECRET.", "mine:[redacted]."),
            ("no `AIzaSyD9tSrke72PouQMnMX-a7eZSW0jkFMBWY`!", "no `[redacted]`!"),
            ("bearer ", "[redacted]"),
        ] {
            assert_eq!(quote(text, "SECRET"), line);
            assert!(!redacted(text).contains("SECRET") || text.starts_with("mine"), "{text}");
        }
    }

    #[test]
    fn a_long_line_is_truncated() {
        assert_eq!(quote(&"é".repeat(301), "").chars().count(), 301);
        assert!(quote(&"é".repeat(301), "").ends_with('…'));
        assert_eq!(quote(&"é".repeat(300), "").chars().count(), 300);
    }
}
