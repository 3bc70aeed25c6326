//! The options of a request: `thinking`, `tools`, `tool_choice`, `output_config` and sampling.

use http::HeaderMap;
use serde_json::{Map, Value};

use super::{family::Family, fields::has_beta};

const DOCS: &str = "Please consult our documentation at \
     https://docs.claude.com/en/docs/build-with-claude/extended-thinking";
/// The smallest budget of thinking tokens.
const LEAST_BUDGET: u64 = 1024;
/// The largest number of blocks with `cache_control`.
const MOST_MARKS: usize = 4;

/// Whether the model thinks, and how a request sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    Disabled,
    /// With a budget of tokens.
    Enabled,
    Adaptive,
}

impl Thinking {
    /// The setting in a request that was checked. Models that think by default do so only if the
    /// request says it, because a test should not depend on the model's name.
    pub(super) fn of(asked: &Map<String, Value>) -> Self {
        match kind(asked.get("thinking")) {
            Some("enabled") => Self::Enabled,
            Some("adaptive") => Self::Adaptive,
            _ => Self::Disabled,
        }
    }
}

/// Checks the options of a request to a model.
pub(super) fn check(
    asked: &Map<String, Value>,
    family: Family,
    headers: &HeaderMap,
) -> Result<(), String> {
    check_thinking(asked, family, headers)?;
    check_tools(asked)?;
    check_choice(asked)?;
    check_sampling(asked, family)?;
    check_effort(asked)?;
    let marks = asked.values().map(marks).sum::<usize>()
        + usize::from(asked.get("cache_control").is_some_and(|mark| !mark.is_null()));
    if marks > MOST_MARKS {
        return Err(format!(
            "A maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {marks}."
        ));
    }
    Ok(())
}

/// Whether the request forces the model to call a tool.
pub(super) fn forces_a_tool(asked: &Map<String, Value>) -> bool {
    matches!(kind(asked.get("tool_choice")), Some("any" | "tool"))
}

fn kind(value: Option<&Value>) -> Option<&str> {
    value?.get("type")?.as_str()
}

fn check_thinking(
    asked: &Map<String, Value>,
    family: Family,
    headers: &HeaderMap,
) -> Result<(), String> {
    let thinking = match asked.get("thinking") {
        None | Some(Value::Null) => return Ok(()),
        Some(thinking) => thinking,
    };
    match kind(Some(thinking)) {
        // The SDK has `between_tools`, whose effect no page explains.
        Some("disabled" | "between_tools") => return Ok(()),
        Some("adaptive") if family.adapts() => {}
        Some("adaptive") => return Err("adaptive thinking is not supported on this model".into()),
        Some("enabled") => check_budget(asked, thinking, family, headers)?,
        Some(other) => {
            let other: String = other.chars().take(64).collect();
            return Err(format!(
                "thinking: Input tag '{other}' found using 'type' does not match any of the \
                 expected tags: 'adaptive', 'disabled', 'enabled'"
            ));
        }
        None => return Err("thinking.type: Field required".into()),
    }
    if forces_a_tool(asked) {
        return Err("Thinking may not be enabled when tool_choice forces tool use.".into());
    }
    let is_one = |temperature: &Value| temperature.as_f64() == Some(1.0);
    if asked.get("temperature").is_some_and(|temperature| !is_one(temperature)) {
        return Err(format!(
            "`temperature` may only be set to 1 when thinking is enabled. \
             {DOCS}#important-considerations-when-using-extended-thinking"
        ));
    }
    Ok(())
}

fn check_budget(
    asked: &Map<String, Value>,
    thinking: &Value,
    family: Family,
    headers: &HeaderMap,
) -> Result<(), String> {
    if !family.takes_a_budget() {
        return Err("\"thinking.type.enabled\" is not supported for this model. Use \
             \"thinking.type.adaptive\" and \"output_config.effort\" to control thinking behavior."
            .into());
    }
    let place = "thinking.enabled.budget_tokens";
    let budget = match thinking.get("budget_tokens") {
        None => return Err(format!("{place}: Field required")),
        Some(budget) if budget.is_i64() || budget.is_u64() => budget.as_u64().unwrap_or(0),
        Some(_) => return Err(format!("{place}: Input should be a valid integer")),
    };
    if budget < LEAST_BUDGET {
        return Err(format!("{place}: Input should be greater than or equal to {LEAST_BUDGET}"));
    }
    // With interleaved thinking, the budget is that of a whole turn with its calls.
    let is_interleaved = has_beta(asked, headers, "interleaved-thinking-");
    let most = asked.get("max_tokens").and_then(Value::as_u64);
    if most.is_some_and(|most| most <= budget) && !is_interleaved {
        return Err(format!(
            "`max_tokens` must be greater than `thinking.budget_tokens`. \
             {DOCS}#max-tokens-and-context-window-size"
        ));
    }
    Ok(())
}

fn check_tools(asked: &Map<String, Value>) -> Result<(), String> {
    let tools = match asked.get("tools") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Array(tools)) => tools,
        Some(_) => return Err("tools: Input should be a valid list".into()),
    };
    let mut names: Vec<&str> = Vec::new();
    for (index, tool) in tools.iter().enumerate() {
        let name = tool.get("name").and_then(Value::as_str);
        if is_own(tool) {
            let place = format!("tools.{index}.custom");
            let name = name.ok_or_else(|| format!("{place}.name: Field required"))?;
            let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
            if name.is_empty() || name.len() > 128 || !name.bytes().all(is_word) {
                return Err(format!(
                    "{place}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
                ));
            }
            let schema = tool.get("input_schema");
            let schema = schema.ok_or_else(|| format!("{place}.input_schema: Field required"))?;
            match schema.get("type") {
                Some(kind) if kind == "object" => {}
                Some(_) => {
                    return Err(format!("{place}.input_schema.type: Input should be 'object'"));
                }
                None => return Err(format!("{place}.input_schema.type: Field required")),
            }
        }
        names.extend(name);
    }
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("tools: Tool names must be unique.".into());
    }
    Ok(())
}

/// Whether the client runs the tool. The others are Anthropic's own, such as `web_search_20250305`,
/// which the emulator never calls.
pub(super) fn is_own(tool: &Value) -> bool {
    tool.get("type").is_none_or(|kind| kind.is_null() || kind == "custom")
}

fn check_choice(asked: &Map<String, Value>) -> Result<(), String> {
    let choice = match asked.get("tool_choice") {
        None | Some(Value::Null) => return Ok(()),
        Some(choice) => choice,
    };
    let tools = asked.get("tools").and_then(Value::as_array).filter(|tools| !tools.is_empty());
    match kind(Some(choice)) {
        Some("auto" | "any" | "none") => {}
        Some("tool") => {
            let name = choice.get("name").and_then(Value::as_str);
            let name = name.ok_or("tool_choice.tool.name: Field required")?;
            let is_named = |tool: &Value| tool.get("name").and_then(Value::as_str) == Some(name);
            if tools.is_some_and(|tools| !tools.iter().any(is_named)) {
                return Err(format!("Tool '{name}' not found in provided tools"));
            }
        }
        Some(other) => {
            let other: String = other.chars().take(64).collect();
            return Err(format!(
                "tool_choice: Input tag '{other}' found using 'type' does not match any of the \
                 expected tags: 'any', 'auto', 'none', 'tool'"
            ));
        }
        None => return Err("tool_choice: Input should be an object".into()),
    }
    if tools.is_none() {
        return Err("tool_choice may only be specified while providing tools.".into());
    }
    Ok(())
}

fn check_sampling(asked: &Map<String, Value>, family: Family) -> Result<(), String> {
    let given = |name: &str| asked.get(name).filter(|value| !value.is_null());
    for name in ["temperature", "top_p"] {
        match given(name).map(Value::as_f64) {
            None => {}
            Some(None) => return Err(format!("{name}: Input should be a valid number")),
            Some(Some(number)) if !(0.0..=1.0).contains(&number) => {
                return Err(format!("{name}: range: 0..1"));
            }
            Some(Some(_)) => {}
        }
    }
    let temperature = given("temperature").and_then(Value::as_f64);
    if family.has_fixed_temperature() && temperature.is_some_and(|number| number < 1.0) {
        return Err("`temperature` is deprecated for this model.".into());
    }
    let has_both = temperature.is_some() && given("top_p").is_some();
    if has_both && family.takes_one_of_temperature_and_top_p() {
        return Err("`temperature` and `top_p` cannot both be specified for this model. Please \
             use only one."
            .into());
    }
    Ok(())
}

fn check_effort(asked: &Map<String, Value>) -> Result<(), String> {
    let effort = asked.get("output_config").and_then(|config| config.get("effort"));
    match effort {
        None | Some(Value::Null) => Ok(()),
        Some(Value::String(effort))
            if matches!(effort.as_str(), "low" | "medium" | "high" | "xhigh" | "max") =>
        {
            Ok(())
        }
        Some(_) => Err("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' \
             or 'max'"
            .into()),
    }
}

/// The number of blocks with `cache_control` in a member of a request. A mark can be at a block, or
/// at a block of the content of one.
fn marks(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(marks).sum(),
        Value::Object(object) => {
            let own = object.get("cache_control").is_some_and(|mark| !mark.is_null());
            usize::from(own) + object.get("content").map_or(0, marks)
        }
        _ => 0,
    }
}
