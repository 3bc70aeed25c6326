//! Thinking blocks: those of a response, and those that come back in later requests.
//!
//! A block that comes back must be unmodified. The signature of the emulator is bound to the model
//! and to the thoughts. Anthropic's is opaque, and bound to more: the model and the conversation
//! (anthropics/anthropic-sdk-python issue 1598, anomalyco/opencode issue 48637).

use serde_json::{Map, Value};

use super::{
    super::{
        chat::{ChatBehavior, ChatState, SignatureCounts, thoughts::THOUGHTS},
        usage::tokens,
    },
    family::Family,
    options::Thinking,
    turns::{blocks, kind, role},
};

/// The thoughts of a response.
pub(super) struct Thoughts {
    /// The text that the response shows, which may be empty.
    pub(super) shown: String,
    pub(super) signature: String,
    /// The number of tokens of the thoughts, shown or not.
    pub(super) tokens: u64,
}

/// The thoughts of a response to this request, if the model thinks.
pub(super) fn thoughts(
    chat: &ChatState,
    model: &str,
    asked: &Map<String, Value>,
    family: Family,
) -> Option<Thoughts> {
    if Thinking::of(asked) == Thinking::Disabled {
        return None;
    }
    let display = asked.get("thinking").and_then(|thinking| thinking.get("display"));
    let is_shown = match display.and_then(Value::as_str) {
        Some("summarized") => true,
        Some("omitted") => false,
        _ => !family.omits_thoughts(),
    };
    Some(Thoughts {
        shown: if is_shown { THOUGHTS.to_owned() } else { String::new() },
        signature: chat.sign_text(model, THOUGHTS),
        tokens: tokens(THOUGHTS),
    })
}

/// Checks the thinking blocks of a request.
pub(super) fn check(
    chat: &ChatState,
    behavior: &ChatBehavior,
    model: &str,
    asked: &Map<String, Value>,
    messages: &[Value],
) -> Result<(), String> {
    let mut counts = SignatureCounts::default();
    let checked = check_all(chat, model, asked, messages, &mut counts);
    chat.count_signatures(counts);
    if behavior.demand_signatures == Some(false) { Ok(()) } else { checked }
}

fn check_all(
    chat: &ChatState,
    model: &str,
    asked: &Map<String, Value>,
    messages: &[Value],
    counts: &mut SignatureCounts,
) -> Result<(), String> {
    let mut error = Ok(());
    let latest = messages.iter().rposition(|message| role(message) == "assistant");
    for (index, message) in messages.iter().enumerate() {
        for (number, block) in blocks(message).iter().enumerate() {
            if kind(block) != Some("thinking") {
                continue;
            }
            let place = format!("messages.{index}.content.{number}");
            match check_block(chat, model, block) {
                Ok(()) => counts.valid += 1,
                Err(fault) => {
                    counts.wrong += 1;
                    let is_latest = latest == Some(index);
                    error = error.and(Err(fault.message(&place, is_latest)));
                }
            }
        }
    }
    if let Some(missing) = missing(asked, messages) {
        counts.missing += 1;
        error = error.and(Err(missing));
    }
    error
}

/// A fault of a thinking block.
enum Fault {
    Signature,
    Text,
}

impl Fault {
    fn message(&self, place: &str, is_latest: bool) -> String {
        match self {
            // anthropics/claude-code issue 63574.
            Self::Text if is_latest => format!(
                "{place}: `thinking` or `redacted_thinking` blocks in the latest assistant message \
                 cannot be modified. These blocks must remain as they were in the original \
                 response."
            ),
            // NoeFabris/opencode-antigravity-auth issue 73, with an id of Vertex AI.
            Self::Text | Self::Signature => {
                format!("{place}: Invalid `signature` in `thinking` block")
            }
        }
    }
}

fn check_block(chat: &ChatState, model: &str, block: &Value) -> Result<(), Fault> {
    let text = |name: &str| block.get(name).and_then(Value::as_str).unwrap_or_default();
    if text("signature") != chat.sign_text(model, THOUGHTS) {
        return Err(Fault::Signature);
    }
    // A response may have omitted the text.
    let is_own = [THOUGHTS, ""].contains(&text("thinking"));
    if is_own { Ok(()) } else { Err(Fault::Text) }
}

/// With a budget, the assistant's turn before results begins with its thoughts (recorded at Vertex
/// AI: Kilo-Org/kilocode issue 5219). Adaptive thinking does not require it.
fn missing(asked: &Map<String, Value>, messages: &[Value]) -> Option<String> {
    let has_results =
        |message: &&Value| blocks(message).iter().any(|block| kind(block) == Some("tool_result"));
    if Thinking::of(asked) != Thinking::Enabled || messages.last().filter(has_results).is_none() {
        return None;
    }
    let index = messages.iter().rposition(|message| role(message) == "assistant")?;
    // The first message of the turn.
    let before = messages[..index].iter().rposition(|message| role(message) != "assistant");
    let first = before.map_or(0, |before| before + 1);
    let found = messages[first..=index].iter().find_map(|message| blocks(message).first());
    let found = found.and_then(kind).unwrap_or("text");
    if matches!(found, "thinking" | "redacted_thinking") {
        return None;
    }
    Some(format!(
        "messages.{first}.content.0.type: Expected `thinking` or `redacted_thinking`, but found \
         `{found}`. When `thinking` is enabled, a final `assistant` message must start with a \
         thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We \
         recommend you include thinking blocks from previous turns. To avoid this requirement, \
         disable `thinking`. Please consult our documentation at \
         https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
    ))
}
