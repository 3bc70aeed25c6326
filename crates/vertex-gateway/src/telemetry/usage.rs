//! The token usage of a response, read while the response is forwarded.
//!
//! Vertex AI sends it as `usage`: in a response, in the last chunk of a stream, or in the response
//! within an event of the Responses API. Gemini's own protocol has `usageMetadata` in each part of a
//! response, and the last one counts. Anthropic's has `usage` in the message, which begins a stream, and
//! newer numbers in `message_delta`. Nothing else of a response is read, and only these numbers
//! are kept. A `usage` that a model or a client wrote is not counted, because it is nested deeper
//! or within a string.
//!
//! For Gemini, `completion_tokens` excludes the reasoning tokens, which Google bills as output, and
//! `total_tokens` includes them: 27 of the prompt, 45 of the completion and 504 of reasoning are
//! 576. For partner models, and in the Responses API, the other numbers include the reasoning
//! tokens. So output is the excess of `total_tokens` over the prompt, if that is more.
//!
//! In `usageMetadata`, `candidatesTokenCount` excludes the thoughts, and `promptTokenCount` the prompts of
//! tools. Anthropic's `input_tokens` excludes what was read from a cache and what was written to it.
//! OpenTelemetry's `gen_ai.usage.input_tokens` includes all of them, and so does `input`.

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
    /// The part of `input` that was written to a cache.
    pub(crate) cache_creation: Option<u64>,
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
    /// Gemini's thoughts, which `completion` excludes.
    thoughts: Option<u64>,
    /// The prompts of Gemini's tools, which `prompt` excludes.
    tool_use: Option<u64>,
    /// Anthropic's numbers of a cache, which `prompt` excludes.
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    traffic_type: Word,
    /// The numbers that began a stream of Anthropic's. Later ones replace them one by one.
    began_message: bool,
}

fn sum(numbers: [Option<u64>; 4]) -> Option<u64> {
    numbers.into_iter().flatten().reduce(|sum, more| sum + more)
}

impl RawUsage {
    /// Combines this `usage` with the one before it. The last one of a stream takes precedence, but
    /// one without a number only adds its traffic type.
    fn after(self, before: Self) -> Self {
        let either = |now: Option<u64>, before: Option<u64>| now.or(before);
        let is_one_by_one = before.began_message && !self.began_message;
        let has_traffic_type = self.traffic_type.text().is_some();
        let traffic_type = if has_traffic_type { self.traffic_type } else { before.traffic_type };
        let numbers = if is_one_by_one {
            Self {
                prompt: either(self.prompt, before.prompt),
                cached: either(self.cached, before.cached),
                completion: either(self.completion, before.completion),
                reasoning: either(self.reasoning, before.reasoning),
                total: either(self.total, before.total),
                thoughts: either(self.thoughts, before.thoughts),
                tool_use: either(self.tool_use, before.tool_use),
                cache_read: either(self.cache_read, before.cache_read),
                cache_creation: either(self.cache_creation, before.cache_creation),
                traffic_type,
                began_message: true,
            }
        } else if self.has_numbers() {
            self
        } else {
            before
        };
        Self { traffic_type, ..numbers }
    }

    fn has_numbers(&self) -> bool {
        let first = [self.prompt, self.cached, self.completion, self.reasoning, self.total];
        let others = [self.thoughts, self.tool_use, self.cache_read, self.cache_creation];
        first.iter().chain(&others).any(Option::is_some)
    }

    fn usage(&self) -> Usage {
        let prompt = sum([self.prompt, self.tool_use, self.cache_read, self.cache_creation]);
        let completion = sum([self.completion, self.thoughts, None, None]);
        let beyond = self.total.zip(prompt).and_then(|(all, prompt)| all.checked_sub(prompt));
        // For an embedding, the total equals the prompt.
        let output = completion.max(beyond.filter(|more| *more > 0));
        let output = match self.reasoning {
            // A part cannot exceed the whole, so these are separate numbers.
            Some(reasoning) if output.is_none_or(|output| reasoning > output) => {
                Some(completion.unwrap_or(0) + reasoning)
            }
            _ => output,
        };
        Usage {
            input: prompt,
            cached: self.cached.or(self.cache_read),
            cache_creation: self.cache_creation,
            output,
            reasoning: self.reasoning.or(self.thoughts),
            traffic_type: self.traffic_type.text().map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests;
