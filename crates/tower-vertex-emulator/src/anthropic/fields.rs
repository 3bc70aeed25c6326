//! The members of a request, except its messages and options.

use http::HeaderMap;
use serde_json::{Map, Value};

use super::version;

/// The members of a message request, from the types of the SDK `anthropic` 2.14 (PyPI), without
/// `model`, which is in the path, and with the two that Vertex AI adds.
const MEMBERS: [&str; 25] = [
    "anthropic_beta",
    "anthropic_version",
    "cache_control",
    "container",
    "diagnostics",
    "inference_geo",
    "max_tokens",
    "messages",
    "metadata",
    "output_config",
    "service_tier",
    "speed",
    "stop_sequences",
    "stream",
    "system",
    "temperature",
    "thinking",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
    "user_profile_id",
    // These need a beta, except in a model's newest versions.
    "context_management",
    "mcp_servers",
    "output_format",
];
/// The members that only a request with a beta may have. `context_management` without one is
/// refused (anthropics/claude-code issue 21612).
const IN_BETA: [&str; 3] = ["context_management", "mcp_servers", "output_format"];

/// The members of a request to count tokens, from the same types.
const MEMBERS_TO_COUNT: [&str; 15] = [
    "anthropic_beta",
    "anthropic_version",
    "cache_control",
    "context_management",
    "mcp_servers",
    "messages",
    "model",
    "output_config",
    "output_format",
    "speed",
    "system",
    "thinking",
    "tool_choice",
    "tools",
    "user_profile_id",
];

/// Betas that Vertex AI refuses (tombii/better-ccflare issue 47, anthropics/claude-code issue
/// 21612).
const REFUSED_BETAS: [&str; 2] = ["oauth-2025-04-20", "prompt-caching-scope-2026-01-05"];
/// Betas that only a request to count tokens refuses (BerriAI/litellm pull request 39597).
const NOT_TO_COUNT: [&str; 2] = ["tool-search-tool-2025-10-19", "web-search-2025-03-05"];

/// Checks the members of a request for a message.
pub(super) fn check(asked: &Map<String, Value>, headers: &HeaderMap) -> Result<(), String> {
    check_betas(asked, headers, &[])?;
    check_names(asked, headers, &MEMBERS)?;
    version::check(asked)?;
    match asked.get("max_tokens") {
        None => return Err("max_tokens: Field required".into()),
        // Zero fills the prompt cache without a response.
        Some(most) if most.is_u64() => {}
        Some(most) if most.is_i64() => {
            return Err("max_tokens: Input should be greater than or equal to 0".into());
        }
        Some(_) => return Err("max_tokens: Input should be a valid integer".into()),
    }
    if asked.get("stream").is_some_and(|stream| !stream.is_boolean()) {
        return Err("stream: Input should be a valid boolean".into());
    }
    check_stops(asked)
}

/// Checks the members of a request to count tokens.
pub(super) fn check_for_count(
    asked: &Map<String, Value>,
    headers: &HeaderMap,
) -> Result<(), String> {
    check_betas(asked, headers, &NOT_TO_COUNT)?;
    check_names(asked, headers, &MEMBERS_TO_COUNT)
}

/// Whether a request uses a beta whose name begins with this.
pub(super) fn has_beta(asked: &Map<String, Value>, headers: &HeaderMap, name: &str) -> bool {
    betas(asked, headers).iter().any(|beta| beta.starts_with(name))
}

/// The betas in the header and in the body.
fn betas<'a>(asked: &'a Map<String, Value>, headers: &'a HeaderMap) -> Vec<&'a str> {
    let in_header = headers.get_all("anthropic-beta").iter();
    let in_header = in_header.filter_map(|value| value.to_str().ok());
    let in_body = asked.get("anthropic_beta").and_then(Value::as_array).into_iter().flatten();
    in_header
        .flat_map(|value| value.split(','))
        .chain(in_body.filter_map(Value::as_str))
        .map(str::trim)
        .filter(|beta| !beta.is_empty())
        .collect()
}

fn check_betas(
    asked: &Map<String, Value>,
    headers: &HeaderMap,
    also_refused: &[&str],
) -> Result<(), String> {
    let refused = |beta: &&str| REFUSED_BETAS.contains(beta) || also_refused.contains(beta);
    let refused: Vec<String> =
        betas(asked, headers).into_iter().filter(refused).map(|beta| format!("`{beta}`")).collect();
    if refused.is_empty() {
        return Ok(());
    }
    Err(format!(
        "Unexpected value(s) {} for the `anthropic-beta` header. Please consult our documentation \
         at platform.claude.com/docs or try again without the header.",
        refused.join(", ")
    ))
}

fn check_names(
    asked: &Map<String, Value>,
    headers: &HeaderMap,
    known: &[&str],
) -> Result<(), String> {
    let has_beta = has_beta(asked, headers, "");
    let is_known = |name: &str| known.contains(&name) && (has_beta || !IN_BETA.contains(&name));
    match asked.keys().find(|name| !is_known(name)) {
        // A name is at most 64 bytes of the message, because it comes from the request.
        Some(name) => {
            let name: String = name.chars().take(64).collect();
            Err(format!("{name}: Extra inputs are not permitted"))
        }
        None => Ok(()),
    }
}

/// Checks the stop sequences (BerriAI/litellm issue 3286).
fn check_stops(asked: &Map<String, Value>) -> Result<(), String> {
    let stops = match asked.get("stop_sequences") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(stops)) => stops,
        Some(_) => return Err("stop_sequences: Input should be a valid list".into()),
    };
    for (index, stop) in stops.iter().enumerate() {
        match stop.as_str() {
            None => return Err(format!("stop_sequences.{index}: Input should be a valid string")),
            Some("") => return Err("stop_sequences: each stop sequence must be non-empty".into()),
            Some(stop) if stop.trim().is_empty() => {
                return Err("stop_sequences: each stop sequence must contain non-whitespace".into());
            }
            Some(_) => {}
        }
    }
    Ok(())
}
