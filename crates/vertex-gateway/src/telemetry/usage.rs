//! The token usage of a response, read while the response is forwarded.
//!
//! Vertex AI sends it as `usage`: in a response, in the last chunk of a stream, or in the response
//! within an event of the Responses API. Nothing else of a response is read, and only these numbers
//! are kept. A `usage` that a model or a client wrote is not counted, because it is nested deeper
//! or within a string.
//!
//! For Gemini, `completion_tokens` excludes the reasoning tokens, which Google bills as output, and
//! `total_tokens` includes them: 27 of the prompt, 45 of the completion and 504 of reasoning are
//! 576. For partner models, and in the Responses API, the other numbers include the reasoning
//! tokens. So output is the excess of `total_tokens` over the prompt, if that is more.

mod scanner;
mod word;

pub(crate) use self::scanner::Scanner;
use self::word::Word;

/// Tokens as Google bills them. Some partner models omit the output tokens, and an embedding has
/// none, so a missing number is not 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Includes the cached tokens.
    pub(crate) input: Option<u64>,
    /// The part of `input` that was read from a cache.
    pub(crate) cached: Option<u64>,
    /// Includes the reasoning tokens.
    pub(crate) output: Option<u64>,
    /// The part of `output` that is reasoning.
    pub(crate) reasoning: Option<u64>,
    /// The quota that was used, such as `ON_DEMAND` or `PROVISIONED_THROUGHPUT`.
    pub(crate) traffic_type: Option<Box<str>>,
}

/// The numbers of one `usage` as Vertex AI sends them.
#[derive(Clone, Copy, Debug, Default)]
struct RawUsage {
    prompt: Option<u64>,
    cached: Option<u64>,
    completion: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
    traffic_type: Word,
}

impl RawUsage {
    /// Combines this `usage` with the one before it. The last one of a stream takes precedence, but
    /// one without a number only adds its traffic type.
    fn after(mut self, before: Self) -> Self {
        let Self { prompt, cached, completion, reasoning, total, .. } = self;
        let numbers = [prompt, cached, completion, reasoning, total];
        if self.traffic_type.text().is_none() {
            self.traffic_type = before.traffic_type;
        }
        if numbers.iter().any(Option::is_some) {
            self
        } else {
            Self { traffic_type: self.traffic_type, ..before }
        }
    }

    fn usage(&self) -> Usage {
        let beyond = self.total.zip(self.prompt).and_then(|(all, prompt)| all.checked_sub(prompt));
        // For an embedding, the total equals the prompt.
        let output = self.completion.max(beyond.filter(|more| *more > 0));
        let output = match self.reasoning {
            // A part cannot exceed the whole, so these are separate numbers.
            Some(reasoning) if output.is_none_or(|output| reasoning > output) => {
                Some(self.completion.unwrap_or(0) + reasoning)
            }
            _ => output,
        };
        Usage {
            input: self.prompt,
            cached: self.cached,
            output,
            reasoning: self.reasoning,
            traffic_type: self.traffic_type.text().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests;
