//! The limits that a request sets for its response: `max_tokens`, `stop` and `n`.

use serde_json::{Map, Value};

/// The largest number of choices that Gemini makes.
const MOST_CHOICES: u64 = 8;

/// The limits of a response.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The largest number of tokens, with those of the thoughts.
    pub(crate) most_tokens: Option<u64>,
    stop: Vec<String>,
    /// The number of choices.
    pub(crate) choices: u64,
}

impl Limits {
    pub(crate) fn of(asked: &Map<String, Value>) -> Result<Self, String> {
        let number = |name: &str| asked.get(name).and_then(whole_number).filter(|n| *n > 0);
        let most_tokens = number("max_completion_tokens").or_else(|| number("max_tokens"));
        let text = |stop: &Value| stop.as_str().filter(|stop| !stop.is_empty()).map(str::to_owned);
        let stop = match asked.get("stop") {
            Some(Value::Array(all)) => all.iter().filter_map(text).collect(),
            Some(one) => text(one).into_iter().collect(),
            None => Vec::new(),
        };
        // The range is that of Gemini's `candidateCount`; what `openapi` says about others is not
        // known.
        let choices = match asked.get("n") {
            None | Some(Value::Null) => 1,
            Some(n) => whole_number(n)
                .filter(|n| (1..=MOST_CHOICES).contains(n))
                .ok_or("`n` must be 1 to 8")?,
        };
        Ok(Self { most_tokens, stop, choices })
    }

    /// The text before the first stop sequence.
    pub(crate) fn cut_at_stop(&self, mut text: String) -> String {
        let first = self.stop.iter().filter_map(|stop| text.find(stop)).min();
        text.truncate(first.unwrap_or(text.len()));
        text
    }

    /// Shortens a text to this number of tokens, which are four bytes each.
    pub(crate) fn shorten(text: &mut String, tokens: u64) {
        let bytes = usize::try_from(tokens.saturating_mul(4)).unwrap_or(usize::MAX);
        let mut end = text.len().min(bytes);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
}

/// A whole number. `1.0` is one, too, as it is for Google's JSON.
fn whole_number(value: &Value) -> Option<u64> {
    let rounded = || {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        // The text of a whole number has no fraction, and a negative one does not parse.
        format!("{number:.0}").parse().ok()
    };
    value.as_u64().or_else(rounded)
}
