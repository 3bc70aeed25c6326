//! The numbers of `usage`.
//!
//! **Evidence.** In Google's documentation `completion_tokens` does not contain the reasoning
//! tokens, and `total_tokens` does: 27 + 45 + 504 = 576. In OpenAI's `usage` the reasoning tokens
//! are part of `completion_tokens`, and the AI SDK and LiteLLM compute a total of 72 from this.
//! agentgateway/agentgateway#1465 reports responses of Vertex AI without `prompt_tokens` and
//! `completion_tokens`, which async-openai and other typed clients require. The usage of a stream is
//! on the last chunk with a choice, whether it is requested or not; OpenAI sends it only for
//! `include_usage`, after all choices. AutoGen 0.7 ignores the `finish_reason` of a chunk that has a
//! usage, so all its streams end for an unknown reason.
//!
//! **Rule.** A missing number is computed from the others, and is 0 if that is not possible. The
//! reasoning tokens are added only if the sum proves that they are not included yet, and only by
//! request: software that knows Vertex AI adds them itself, and a bill must not count them twice.
//!
//! The usage moves to a chunk of its own if the request has `include_usage`: its client is prepared for
//! a chunk without choices. Without `include_usage` it stays.
//!
//! **Cost.** Chunks with a `usage` are parsed: one per stream.

use crate::compat::{
    Cure, Cures,
    json::{Edits, Object, Value},
};

pub(super) fn cure(root: &Object<'_>, cures: Cures, edits: &mut Edits) {
    let Some(usage) = root.get_some("usage").and_then(|usage| usage.object()) else { return };
    let number = |key| usage.get_some(key).map(|value| value.number());
    let details = usage.get_some("completion_tokens_details");
    let reasoning = details.and_then(|details| details.get("reasoning_tokens")?.number());
    let reasoning = reasoning.unwrap_or_default();
    let (prompt, completion, total) =
        (number("prompt_tokens"), number("completion_tokens"), number("total_tokens"));
    let mut counts = Counts { prompt: None, completion: None, total: None };
    // A member that is not a number stays, and nothing is computed from it.
    for (count, value) in [
        (&mut counts.prompt, prompt),
        (&mut counts.completion, completion),
        (&mut counts.total, total),
    ] {
        match value {
            Some(None) => return,
            Some(number) => *count = number,
            None => {}
        }
    }
    let mut expected = counts;
    if cures.is_on(Cure::MissingMembers) {
        expected = counts.completed(reasoning);
    }
    if cures.is_on(Cure::ReasoningTokens) {
        expected = expected.with_reasoning(reasoning);
    }
    for (key, old, new) in [
        ("prompt_tokens", counts.prompt, expected.prompt),
        ("completion_tokens", counts.completion, expected.completion),
        ("total_tokens", counts.total, expected.total),
    ] {
        if let Some(new) = new.filter(|_| new != old) {
            edits.set(&usage, key, &new.to_string());
        }
    }
}

/// The lines of two events for a chunk that has both choices and a usage: first the choices, then the
/// usage. `None` for any other chunk.
pub(super) fn separate(text: &str) -> Option<String> {
    let root = Value::parse(text)?.object()?;
    let usage = root.get_some("usage")?;
    let choices = root.get_some("choices")?;
    usage.object()?;
    choices.array().filter(|choices| !choices.elements.is_empty())?;
    let (mut first, mut second) = (Edits::default(), Edits::default());
    first.remove(&root, "usage");
    second.replace(choices, "[]");
    Some(format!("{}\n\ndata: {}", first.apply(text), second.apply(text)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
}

impl Counts {
    fn completed(self, reasoning: u64) -> Self {
        let of_total = |other: u64| {
            let rest = self.total?.checked_sub(other)?;
            rest.checked_sub(reasoning)
        };
        let (prompt, completion) = match (self.prompt, self.completion) {
            (Some(prompt), None) => (prompt, of_total(prompt).unwrap_or_default()),
            (None, completion) => {
                let completion = completion.unwrap_or_default();
                (of_total(completion).unwrap_or_default(), completion)
            }
            (Some(prompt), Some(completion)) => (prompt, completion),
        };
        let sum = prompt.saturating_add(completion).saturating_add(reasoning);
        let total = self.total.unwrap_or(sum);
        Self { prompt: Some(prompt), completion: Some(completion), total: Some(total) }
    }

    fn with_reasoning(self, reasoning: u64) -> Self {
        let (Some(prompt), Some(completion), Some(total)) =
            (self.prompt, self.completion, self.total)
        else {
            return self;
        };
        let with_reasoning = completion.saturating_add(reasoning);
        let is_proven = prompt.checked_add(with_reasoning) == Some(total);
        if is_proven { Self { completion: Some(with_reasoning), ..self } } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_counts_are_computed_from_the_others() {
        for (prompt, completion, total, reasoning, expected) in [
            (Some(27), Some(45), Some(576), 504, (27, 45, 576)),
            (Some(27), None, Some(576), 504, (27, 45, 576)),
            (None, Some(45), Some(576), 504, (27, 45, 576)),
            (Some(27), Some(45), None, 504, (27, 45, 576)),
            (None, None, Some(8), 0, (8, 0, 8)),
            (Some(8), None, None, 0, (8, 0, 8)),
            (None, None, None, 0, (0, 0, 0)),
            (Some(8), None, Some(4), 0, (8, 0, 4)),
        ] {
            let completed = Counts { prompt, completion, total }.completed(reasoning);
            let (prompt, completion, total) = expected;
            let expected =
                Counts { prompt: Some(prompt), completion: Some(completion), total: Some(total) };
            assert_eq!(completed, expected);
        }
    }

    #[test]
    fn reasoning_is_added_only_if_the_sum_proves_that_it_is_missing() {
        for (prompt, completion, total, reasoning, expected) in [
            (27, 45, 576, 504, 549),
            (27, 549, 576, 504, 549),
            (27, 45, 72, 504, 45),
            (27, 45, 600, 504, 45),
            (27, 45, 72, 0, 45),
        ] {
            let counts =
                Counts { prompt: Some(prompt), completion: Some(completion), total: Some(total) };
            assert_eq!(counts.with_reasoning(reasoning).completion, Some(expected));
        }
        let unknown = Counts { prompt: None, completion: Some(1), total: Some(2) };
        assert_eq!(unknown.with_reasoning(1), unknown);
    }
}
