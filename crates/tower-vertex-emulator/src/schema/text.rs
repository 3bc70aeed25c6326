//! Texts with a length, a format or a pattern.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind, Look},
};
use serde_json::Value;

use super::{Object, length};

/// The longest text that is made, in bytes, regardless of the schema.
const LONGEST: usize = 1 << 14;
const LONGEST_PATTERN: usize = 1000;
/// The largest number of extra repetitions that are tried until a text is long enough.
const TRIES: usize = 100;

/// Makes a text. Each candidate is passed to `spend`.
pub(super) fn make(
    schema: &Object,
    said: &str,
    nth: usize,
    spend: impl Fn(&str) -> Result<(), String>,
) -> Result<String, String> {
    let least = length(schema, "minLength").unwrap_or(0);
    let most = length(schema, "maxLength").unwrap_or(usize::MAX);
    if least > LONGEST || least > most {
        return Err("no text has the length".into());
    }
    let is_within = |text: &str| (least..=most).contains(&text.chars().count());
    let of = |keyword: &str| schema.get(keyword).and_then(Value::as_str);
    if let Some(pattern) = of("pattern")
        && let Some(pattern) = Pattern::new(pattern)
    {
        let missing = pattern.text(0, 0).map_or(0, |text| least.saturating_sub(text.len()));
        let mut texts: Vec<String> = Vec::new();
        for more in (0..TRIES).chain([missing]) {
            if let Some(text) = pattern.text(more, least) {
                spend(&text)?;
                if is_within(&text) && texts.last() != Some(&text) {
                    texts.push(text);
                }
            }
            if let Some(text) = texts.get(nth) {
                return Ok(text.clone());
            }
        }
        return Err("the emulator has no text for a `pattern` of this length".into());
    }
    if nth == 0
        && let Some(text) = of("format").and_then(of_format).filter(|text| is_within(text))
    {
        return Ok(text.to_owned());
    }
    // Texts that must differ end with their number.
    let end = if nth == 0 { String::new() } else { format!("{nth}") };
    let room = most.checked_sub(end.len()).ok_or("there are no more texts")?;
    let mut text: String = said.chars().take(room).collect();
    let missing = least.saturating_sub(text.chars().count() + end.len());
    text.extend(std::iter::repeat_n('.', missing));
    text += &end;
    spend(&text)?;
    Ok(text)
}

fn of_format(format: &str) -> Option<&'static str> {
    Some(match format {
        "date-time" => "2026-01-02T03:04:05Z",
        "date" => "2026-01-02",
        "time" => "03:04:05Z",
        "duration" => "PT1S",
        "email" | "idn-email" => "somebody@example.com",
        "hostname" | "idn-hostname" => "example.com",
        "ipv4" => "192.0.2.1",
        "ipv6" => "2001:db8::1",
        "uri" | "iri" | "url" => "https://example.com/",
        "uri-reference" | "iri-reference" => "/",
        "uuid" => "00000000-0000-4000-8000-000000000000",
        "json-pointer" => "/example",
        "regex" => "example",
        _ => return None,
    })
}

/// A regular expression for which texts can be made.
struct Pattern(Hir);

impl Pattern {
    /// Returns `None` if the pattern is too long, or is not supported, such as one with a
    /// lookahead.
    fn new(pattern: &str) -> Option<Self> {
        if pattern.len() > LONGEST_PATTERN {
            return None;
        }
        // The parser works on bytes: it does not need the tables of Unicode, and the texts are
        // ASCII anyway.
        let mut parser = ParserBuilder::new().unicode(false).utf8(false).build();
        parser.parse(pattern).ok().map(Self)
    }

    /// Makes a text with the fewest repetitions and this many `more`. A pattern without an end
    /// anchor is extended to `least` characters.
    fn text(&self, more: usize, least: usize) -> Option<String> {
        let mut text = Vec::new();
        write(&self.0, &mut text, &mut { more })?;
        let mut text = String::from_utf8(text).ok()?;
        if !self.0.properties().look_set_suffix().contains(Look::End) {
            let missing = least.saturating_sub(text.chars().count());
            text.extend(std::iter::repeat_n('a', missing));
        }
        Some(text)
    }
}

fn write(hir: &Hir, text: &mut Vec<u8>, more: &mut usize) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.extend_from_slice(&literal.0),
        HirKind::Class(class) => text.push(character(class)?),
        HirKind::Capture(capture) => write(&capture.sub, text, more)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, text, more))?,
        HirKind::Alternation(parts) => {
            let (start, left) = (text.len(), *more);
            parts.iter().find_map(|part| {
                text.truncate(start);
                *more = left;
                write(part, text, more)
            })?;
        }
        HirKind::Repetition(repetition) => {
            let room = repetition.max.map_or(usize::MAX, |most| (most - repetition.min) as usize);
            let drawn = room.min(*more);
            *more -= drawn;
            for _ in 0..(repetition.min as usize).saturating_add(drawn) {
                let start = text.len();
                write(&repetition.sub, text, more)?;
                // Repeating an empty text adds nothing.
                if text.len() == start {
                    break;
                }
            }
        }
    }
    (text.len() <= LONGEST).then_some(())
}

/// A character of the class, preferably a letter or a digit.
fn character(class: &Class) -> Option<u8> {
    let has = |byte: &u8| match class {
        Class::Bytes(class) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(byte))
        }
        Class::Unicode(class) => {
            let byte = char::from(*byte);
            class.ranges().iter().any(|range| (range.start()..=range.end()).contains(&byte))
        }
    };
    (b'a'..=b'z').chain(b'A'..=b'Z').chain(b'0'..=b'9').chain(0x21..=0x7e).chain(0..0x7f).find(has)
}
