//! The token counts of a response. They depend only on the request.
//!
//! One token is four bytes. Gemini 2.5 and Gemini 3 use reasoning tokens: four for each token of
//! the response, or as many as `reasoning_effort`, `reasoning.effort` or `thinking_config` set. As
//! at Vertex AI, `total_tokens` contains them and `completion_tokens` does not; in the Responses
//! API `output_tokens` contains them, too.

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::models::Model;

/// Tokens that `cached_content` adds to a prompt: the smallest size that Google caches.
const CACHED: u64 = 1024;
/// Reasoning tokens for each token of the response, unless the request sets another effort.
const THOUGHTS: u64 = 4;

/// The cost of a request, without its prompt and without its response.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cost {
    cached: u64,
    /// Reasoning tokens for each token of the response.
    thoughts: u64,
    /// The largest number of reasoning tokens.
    budget: Option<u64>,
    traffic_type: &'static str,
}

impl Cost {
    /// The cost of a request to a model.
    pub(crate) fn asked(model: &Model, asked: &Map<String, Value>, headers: &HeaderMap) -> Self {
        let google = google_options(asked);
        let google = |name: &str| google?.get(name).filter(|value| !value.is_null());
        let thinking = google("thinking_config");
        let thinking = |name: &str| thinking?.get(name).filter(|value| !value.is_null());
        let effort = asked
            .get("reasoning_effort")
            .or_else(|| asked.get("reasoning")?.get("effort"))
            .or_else(|| thinking("thinking_level"))
            .and_then(Value::as_str);
        // A budget of -1 lets the model decide.
        let budget = thinking("thinking_budget").and_then(Value::as_u64);
        let thoughts = match effort.map(str::to_ascii_lowercase).as_deref() {
            _ if !thinks(model, effort.is_some() || thinking("thinking_budget").is_some()) => 0,
            Some("none") => 0,
            Some("minimal") => 1,
            Some("low") => 2,
            Some("high" | "xhigh") => 8,
            _ => THOUGHTS,
        };
        let cached = if google("cached_content").is_some() { CACHED } else { 0 };
        Self { cached, thoughts, budget, traffic_type: traffic_type(headers) }
    }

    /// Whether the model thinks before it responds.
    pub(crate) fn thinks(&self) -> bool {
        self.thoughts > 0 && self.budget != Some(0)
    }

    fn reasoning(&self, answer: u64) -> u64 {
        (self.thoughts * answer).min(self.budget.unwrap_or(u64::MAX))
    }

    /// Counts a response to this prompt of this many tokens. The thoughts and the response have
    /// `most` tokens together, and the thoughts come first.
    pub(crate) fn tally(&self, said: &str, completion: u64, most: Option<u64>) -> Tally {
        let most = most.unwrap_or(u64::MAX);
        let reasoning = self.reasoning(completion).min(most);
        Tally {
            prompt: tokens(said) + self.cached,
            cached: self.cached,
            completion: completion.min(most - reasoning),
            reasoning,
            traffic_type: self.traffic_type,
        }
    }
}

/// The token counts of a response.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    prompt: u64,
    cached: u64,
    pub(crate) completion: u64,
    reasoning: u64,
    traffic_type: &'static str,
}

impl Tally {
    /// The same for this many choices.
    pub(crate) fn times(self, choices: u64) -> Self {
        Self { completion: self.completion * choices, reasoning: self.reasoning * choices, ..self }
    }

    /// The same for a prompt that got no response.
    pub(crate) fn without_response(self) -> Self {
        Self { completion: 0, reasoning: 0, ..self }
    }

    /// The `usage` of Chat Completions and Completions.
    pub(crate) fn chat(&self) -> Value {
        let Self { prompt, completion, reasoning, .. } = *self;
        let mut usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion + reasoning,
            "extra_properties": { "google": { "traffic_type": self.traffic_type } },
        });
        if reasoning > 0 {
            usage["completion_tokens_details"] = json!({ "reasoning_tokens": reasoning });
        }
        if self.cached > 0 {
            usage["prompt_tokens_details"] = json!({ "cached_tokens": self.cached });
        }
        usage
    }

    /// The `usageMetadata` of Gemini's own API, with the modality of the candidates. A response of thoughts alone has no count of the
    /// candidates (googleapis/python-genai issue 811).
    pub(crate) fn gemini(&self, modality: Option<&str>) -> Value {
        let Self { prompt, completion, reasoning, cached, .. } = *self;
        let of = |kind: &str, count: u64| json!([{ "modality": kind, "tokenCount": count }]);
        let mut usage = json!({
            "promptTokenCount": prompt,
            "totalTokenCount": prompt + completion + reasoning,
            "trafficType": self.traffic_type,
            "promptTokensDetails": of("TEXT", prompt),
        });
        if let Some(modality) = modality {
            usage["candidatesTokenCount"] = completion.into();
            usage["candidatesTokensDetails"] = of(modality, completion);
        }
        if reasoning > 0 {
            usage["thoughtsTokenCount"] = reasoning.into();
        }
        if cached > 0 {
            usage["cachedContentTokenCount"] = cached.into();
            usage["cacheTokensDetails"] = of("TEXT", cached);
        }
        usage
    }

    /// The `usageMetadata` of a chunk before the last one.
    pub(crate) fn gemini_before_end(&self) -> Value {
        json!({ "trafficType": self.traffic_type })
    }

    /// The `usage` of the Responses API.
    pub(crate) fn response(&self) -> Value {
        let Self { prompt, completion, reasoning, .. } = *self;
        json!({
            "input_tokens": prompt,
            "input_tokens_details": { "cached_tokens": self.cached },
            "num_server_side_tools_used": 0,
            "num_sources_used": 0,
            "output_tokens": completion + reasoning,
            "output_tokens_details": { "reasoning_tokens": reasoning },
            "total_tokens": prompt + completion + reasoning,
            "extra_properties": { "google": { "traffic_type": self.traffic_type } },
        })
    }
}

/// Google's own fields of a request, which are honoured only in `extra_body.google`.
pub(crate) fn google_options(asked: &Map<String, Value>) -> Option<&Value> {
    asked.get("extra_body")?.get("google")
}

/// Whether a model uses reasoning tokens. Flash-Lite of 2.5 does only if the request sets it. The
/// reasoning tokens of other partner models than Grok are in their completion.
fn thinks(model: &Model, is_asked: bool) -> bool {
    let is_counted_apart = matches!(model.publisher.as_str(), "google" | "xai");
    let is_small = model.name.starts_with("gemini-2.5-flash-lite");
    model.thinking && is_counted_apart && (is_asked || !is_small)
}

/// The quota that a request uses, by the headers with which clients of Google choose it.
fn traffic_type(headers: &HeaderMap) -> &'static str {
    let is = |name: &str, value: &[u8]| {
        headers.get(name).is_some_and(|given| given.as_bytes().eq_ignore_ascii_case(value))
    };
    let shared = "x-vertex-ai-llm-shared-request-type";
    if is("x-vertex-ai-llm-request-type", b"dedicated") {
        "PROVISIONED_THROUGHPUT"
    } else if is(shared, b"priority") {
        "ON_DEMAND_PRIORITY"
    } else if is(shared, b"flex") {
        "ON_DEMAND_FLEX"
    } else {
        "ON_DEMAND"
    }
}

/// About the number of tokens that a real model would count.
pub(crate) fn tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasoning_tokens_follow_the_model_and_the_request() {
        let thinking = |name: &str, value: Value| json!({ "extra_body": { "google": { "thinking_config": { name: value } } } });
        for (model, asked, thoughts) in [
            ("google/gemini-2.5-flash", json!({}), 40),
            ("google/gemini-3.1-pro-preview", json!({}), 40),
            ("google/gemini-2.5-flash", json!({ "reasoning_effort": "none" }), 0),
            ("google/gemini-2.5-flash", json!({ "reasoning_effort": "low" }), 20),
            ("google/gemini-2.5-flash", json!({ "reasoning": { "effort": "high" } }), 80),
            ("google/gemini-3-flash", thinking("thinking_level", "MINIMAL".into()), 10),
            ("google/gemini-2.5-flash", thinking("thinking_budget", 0.into()), 0),
            ("google/gemini-2.5-flash", thinking("thinking_budget", 7.into()), 7),
            ("google/gemini-2.5-flash", thinking("thinking_budget", (-1).into()), 40),
            ("google/gemini-2.5-flash-lite", json!({}), 0),
            ("google/gemini-2.5-flash-lite", json!({ "reasoning_effort": "medium" }), 40),
            ("google/gemini-2.5-flash-image", json!({}), 0),
            ("google/gemini-2.0-flash", json!({ "reasoning_effort": "high" }), 0),
            ("meta/llama-4-maverick", json!({ "reasoning_effort": "high" }), 0),
            ("xai/grok-4.3", json!({}), 40),
            ("openai/gpt-oss-120b-maas", json!({}), 0),
            ("", json!({}), 0),
        ] {
            let cost = Cost::asked(&model.into(), asked.as_object().unwrap(), &HeaderMap::new());
            assert_eq!(cost.reasoning(10), thoughts, "{model} {asked}");
        }
    }
}
