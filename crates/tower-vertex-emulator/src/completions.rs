//! The legacy Completions API.

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{
    chat::{content::echo, limits::Limits},
    head::Head,
    pieces::Pieces,
    said,
    sse::Script,
    usage::{Cost, Tally, tokens},
};

/// A completion of a prompt.
pub(crate) struct Completion {
    head: Head,
    text: String,
    finish_reason: &'static str,
    tally: Tally,
}

impl Completion {
    /// The completion for a request, or the error in it.
    pub(crate) fn of(model: &str, asked: &Map<String, Value>, cost: &Cost) -> Result<Self, String> {
        let prompt = asked.get("prompt").ok_or("`prompt` is required")?;
        let said = said::text_of(prompt)?;
        let limits = Limits::of(asked)?;
        let mut text = limits.cut_at_stop(echo(&said));
        let tally = cost.tally(&said, tokens(&text), limits.most_tokens);
        let is_cut = tally.completion < tokens(&text);
        Limits::shorten(&mut text, tally.completion);
        let finish_reason = if is_cut { "length" } else { "stop" };
        Ok(Self { head: Head::new(model), text, finish_reason, tally })
    }

    fn choice(&self, text: &str, finish_reason: Value) -> Value {
        json!([{ "index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason }])
    }

    /// A `text_completion`.
    pub(crate) fn whole(&self) -> Value {
        let choices = self.choice(&self.text, self.finish_reason.into());
        let mut body = self.head.body("text_completion", choices);
        body["usage"] = self.tally.chat();
        body
    }

    pub(crate) fn stream(self, chunks: Option<usize>) -> Script {
        let pieces = Pieces::new(self.text.as_str(), chunks);
        let chunks = pieces.count();
        let chunk = move |index: usize| {
            let is_last = index + 1 == chunks;
            let finish_reason = if is_last { self.finish_reason.into() } else { Value::Null };
            let choices = self.choice(pieces.get(index), finish_reason);
            let mut body = self.head.body("text_completion", choices);
            if is_last {
                body["usage"] = self.tally.chat();
            }
            Bytes::from(format!("data: {body}\n\n"))
        };
        Script {
            chunks,
            chunk: Box::new(chunk),
            end: Some(Bytes::from_static(b"data: [DONE]\n\n")),
        }
    }
}
