//! The version of the protocol that a request names, and the rules that came with the newer one.

use serde_json::{Map, Value};

use super::turns::{blocks, kind, role};

/// The version of Vertex AI alone. Anthropic's own API has its version in a header instead.
const OF_VERTEX: &str = "vertex-2023-10-16";
/// The version that Anthropic's own API and Vertex AI have in common. The SDKs `anthropic` 2 (PyPI)
/// and `@anthropic-ai/vertex-sdk` 1 (npm) send it.
const SHARED: &str = "2026-10-21";

/// The members that the newer version refuses, even with a default value.
const REMOVED: [&str; 3] = ["temperature", "top_p", "top_k"];

/// Checks that a request names a version that exists (mlflow/mlflow issue 25543), and that it has
/// no member which this version removed. The words of both errors are assumed.
pub(super) fn check(asked: &Map<String, Value>) -> Result<(), String> {
    match asked.get("anthropic_version") {
        None => Err("anthropic_version: Field required".into()),
        Some(version) if version == OF_VERTEX => Ok(()),
        Some(version) if version == SHARED => {
            let removed = REMOVED.into_iter().find(|name| asked.contains_key(*name));
            removed.map_or(Ok(()), |name| Err(format!("{name}: Extra inputs are not permitted")))
        }
        Some(_) => Err(format!("anthropic_version: Input should be '{OF_VERTEX}' or '{SHARED}'")),
    }
}

/// Checks the blocks that the newer version refuses
/// (platform.claude.com/docs/en/api/migration-2026-10-21). The words of the errors are assumed.
pub(super) fn check_blocks(asked: &Map<String, Value>, messages: &[Value]) -> Result<(), String> {
    if asked.get("anthropic_version").is_none_or(|version| version != SHARED) {
        return Ok(());
    }
    for (index, message) in messages.iter().enumerate() {
        for (number, block) in blocks(message).iter().enumerate() {
            match (role(message), kind(block)) {
                ("assistant", Some("document")) => {
                    return Err(format!(
                        "messages.{index}: `document` blocks can only be in `user` messages"
                    ));
                }
                ("user", Some(kind @ ("text" | "search_result"))) if has_citations(block) => {
                    return Err(format!(
                        "messages.{index}.content.{number}.{kind}: `citations` are not permitted \
                         in `text` blocks of `user` messages"
                    ));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether a text has citations, or one in the content of a search result has them. The
/// `citations` of a search result itself are a setting.
fn has_citations(block: &Value) -> bool {
    let is_cited = |block: &Value| {
        kind(block) == Some("text")
            && block.get("citations").and_then(Value::as_array).is_some_and(|all| !all.is_empty())
    };
    is_cited(block) || blocks(block).iter().any(is_cited)
}
