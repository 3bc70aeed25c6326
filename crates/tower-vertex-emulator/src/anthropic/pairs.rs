//! The pairs of `tool_use` and `tool_result`: each call of a turn has one result, in the first
//! blocks of the next turn.

use serde_json::Value;

use super::turns::{blocks, kind, role};

/// A block with its place in the request.
struct Placed<'a> {
    message: usize,
    block: usize,
    value: &'a Value,
}

/// The messages of one role in succession, which are one turn.
struct Turn<'a> {
    is_user: bool,
    last_message: usize,
    blocks: Vec<Placed<'a>>,
}

/// Checks the pairs of a conversation.
///
/// The words are recorded at Vertex AI (Kilo-Org/kilocode issue 5163) and at Anthropic's API
/// (anthropics/claude-code issues 13460 and 20901, vectorize-io/hindsight pull request 4250).
pub(super) fn check(messages: &[Value]) -> Result<(), String> {
    let turns = turns(messages);
    let mut seen: Vec<&str> = Vec::new();
    let mut called: Vec<&str> = Vec::new();
    let mut last_call = 0;
    for turn in &turns {
        let results = if turn.is_user { check_results(turn, &called)? } else { Vec::new() };
        let missing: Vec<&str> =
            called.iter().copied().filter(|id| !results.contains(id)).collect();
        if !missing.is_empty() {
            return Err(without_results(last_call, &missing));
        }
        called.clear();
        for Placed { message, block, value } in &turn.blocks {
            let Some(id) = id(value, "tool_use", "id") else { continue };
            if seen.contains(&id) {
                return Err(format!(
                    "messages.{message}.content.{block}: `tool_use` ids must be unique"
                ));
            }
            seen.push(id);
            called.push(id);
            last_call = turn.last_message;
        }
    }
    if called.is_empty() { Ok(()) } else { Err(without_results(last_call, &called)) }
}

/// Checks the results of a turn, and returns the calls that they belong to. Results after another
/// block are no results.
fn check_results<'a>(turn: &Turn<'a>, called: &[&str]) -> Result<Vec<&'a str>, String> {
    let mut results: Vec<&str> = Vec::new();
    let mut is_first = true;
    for Placed { message, block, value } in &turn.blocks {
        let Some(id) = id(value, "tool_result", "tool_use_id") else {
            is_first = false;
            continue;
        };
        let place = format!("messages.{message}.content.{block}");
        if !called.contains(&id) {
            return Err(format!(
                "{place}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each \
                 `tool_result` block must have a corresponding `tool_use` block in the previous \
                 message."
            ));
        }
        if results.contains(&id) {
            return Err(format!(
                "{place}: each tool_use must have a single result. Found multiple `tool_result` \
                 blocks with id: {id}"
            ));
        }
        if is_first {
            results.push(id);
        }
    }
    Ok(results)
}

fn without_results(message: usize, ids: &[&str]) -> String {
    format!(
        "messages.{message}: `tool_use` ids were found without `tool_result` blocks immediately \
         after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the \
         next message.",
        ids.join(", ")
    )
}

fn id<'a>(block: &'a Value, of: &str, name: &str) -> Option<&'a str> {
    if kind(block) == Some(of) { block.get(name)?.as_str() } else { None }
}

fn turns(messages: &[Value]) -> Vec<Turn<'_>> {
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let is_user = role(message) != "assistant";
        let found = blocks(message).iter().enumerate();
        let mut found: Vec<Placed<'_>> =
            found.map(|(block, value)| Placed { message: index, block, value }).collect();
        // A string is one block of text.
        if found.is_empty() {
            found.push(Placed { message: index, block: 0, value: &Value::Null });
        }
        match turns.last_mut().filter(|turn| turn.is_user == is_user) {
            Some(turn) => {
                turn.blocks.append(&mut found);
                turn.last_message = index;
            }
            None => turns.push(Turn { is_user, last_message: index, blocks: found }),
        }
    }
    turns
}
