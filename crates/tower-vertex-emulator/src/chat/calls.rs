//! The tools that a request makes the model call.
//!
//! `tool_choice` demands a call, or a sentence of the user's last message does:
//!
//! - `call the tool A, then call the tool B`: one call for each step. The number of the step is the
//!   number of the assistant's messages with calls since that message.
//! - `call the tools A and B at once`: one step with parallel calls.

use serde_json::{Map, Value, json};

use super::super::{said::role, schema};

/// The value of arguments that may be any text. It is harmless, because a tool may be a shell.
const TEXT: &str = "example";
/// The phrases in a prompt that call tools; the names follow them.
const ONE: &str = "call the tool ";
const SEVERAL: &str = "call the tools ";
/// The word before the phrases of all steps but the first.
const THEN: &str = "then ";
/// The words after the names of parallel calls.
const AT_ONCE: &str = " at once";
/// The largest number of occurrences of the phrases that are checked. Each one is compared with all
/// tools.
const MOST_PHRASES: usize = 100;

/// A call of a function.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: String,
    /// JSON.
    pub(crate) arguments: String,
}

/// The functions that a request offers.
pub(crate) struct Offer<'a> {
    functions: Vec<&'a Value>,
    choice: Option<&'a Value>,
    /// Whether the request uses the fields that `tools` has replaced: `functions` and
    /// `function_call`.
    pub(crate) is_legacy: bool,
}

impl<'a> Offer<'a> {
    pub(crate) fn of(asked: &'a Map<String, Value>) -> Result<Self, String> {
        let list = |name: &str| match asked.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(format!("`{name}` must be an array")),
        };
        let (tools, functions) = (list("tools")?, list("functions")?);
        let is_legacy = tools.is_none() && functions.is_some();
        let functions: Vec<&Value> = match (tools, functions) {
            (Some(tools), _) => tools.iter().filter_map(|tool| tool.get("function")).collect(),
            (None, Some(functions)) => functions.iter().collect(),
            (None, None) => Vec::new(),
        };
        if functions.iter().any(|function| name(function).is_none()) {
            return Err("`tools` has a function without a name".into());
        }
        let choice = asked.get(if is_legacy { "function_call" } else { "tool_choice" });
        Ok(Self { functions, choice: choice.filter(|choice| !choice.is_null()), is_legacy })
    }

    /// The calls of the next step; none if the model responds with a text.
    pub(crate) fn calls(&self, messages: &[Value], prompt: &str) -> Result<Vec<Call>, String> {
        match self.choice {
            None => self.told(messages, prompt),
            Some(Value::String(choice)) => {
                match choice.as_str() {
                    "none" => Ok(Vec::new()),
                    // Google adds `validated`: the model may call tools, and their arguments fit.
                    "auto" | "validated" => self.told(messages, prompt),
                    // The prompt chooses the tool, if it names one.
                    "required" => {
                        let first = self.functions.first().ok_or_else(no_tool)?;
                        let told = self.told(messages, prompt)?;
                        if told.is_empty() { Ok(vec![call(first)?]) } else { Ok(told) }
                    }
                    _ => Err("`tool_choice` must be none, auto, required, validated or a function"
                        .into()),
                }
            }
            Some(choice) => {
                let pointer = if self.is_legacy { "/name" } else { "/function/name" };
                let named = choice.pointer(pointer).ok_or("`tool_choice` must name a function")?;
                let is_named = |function: &&&Value| function.get("name") == Some(named);
                let named = self.functions.iter().find(is_named).ok_or_else(no_tool)?;
                Ok(vec![call(named)?])
            }
        }
    }

    /// The calls that the prompt demands for the step that is due.
    fn told(&self, messages: &[Value], prompt: &str) -> Result<Vec<Call>, String> {
        if self.functions.is_empty() {
            return Ok(Vec::new());
        }
        let steps = self.steps(prompt);
        let due = steps.into_iter().nth(steps_taken(messages)).unwrap_or_default();
        due.into_iter().map(call).collect()
    }

    /// The steps that a prompt names.
    fn steps(&self, prompt: &str) -> Vec<Vec<&'a Value>> {
        let lower = prompt.to_ascii_lowercase();
        let mut steps = Vec::new();
        let found = lower.match_indices(ONE.trim_end()).take(MOST_PHRASES);
        for (at, _) in found {
            let is_next = lower[..at].ends_with(THEN);
            if !steps.is_empty() && !is_next {
                continue;
            }
            let rest = &prompt[at..];
            let named = match lower[at..].strip_prefix(SEVERAL) {
                Some(_) => self.several(&rest[SEVERAL.len()..]),
                None => lower[at..]
                    .strip_prefix(ONE)
                    .and_then(|_| self.named(&rest[ONE.len()..]))
                    .map(|(function, _)| vec![function]),
            };
            steps.extend(named);
        }
        steps
    }

    /// `A and B at once`, or `A, B and C at once`.
    fn several(&self, mut rest: &str) -> Option<Vec<&'a Value>> {
        let mut functions = Vec::new();
        loop {
            let (function, after) = self.named(rest)?;
            functions.push(function);
            if after.to_ascii_lowercase().starts_with(AT_ONCE) {
                return (functions.len() > 1).then_some(functions);
            }
            rest = [" and ", ", "].iter().find_map(|word| after.strip_prefix(word))?;
        }
    }

    /// The function with the longest name that the text begins with, and the text after it.
    fn named<'t>(&self, text: &'t str) -> Option<(&'a Value, &'t str)> {
        let is_end = |rest: &str| {
            let rest = rest.strip_prefix('.').unwrap_or(rest);
            !rest.starts_with(|c: char| c.is_alphanumeric() || "_-.:".contains(c))
        };
        let named = self.functions.iter().filter_map(|function| {
            let rest = text.strip_prefix(name(function)?).filter(|rest| is_end(rest))?;
            Some((*function, rest))
        });
        named.min_by_key(|(_, rest)| rest.len())
    }
}

/// The number of steps with calls since the user's last message. A result without a call counts as
/// one, so that no tool is called twice for one prompt.
pub(crate) fn steps_taken(messages: &[Value]) -> usize {
    let since = messages.iter().rev().take_while(|message| role(message) != Some("user"));
    let (mut steps, mut results) = (0, 0);
    for message in since {
        // Some clients send an empty list with a text.
        let is_call = |name: &str| match message.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::Array(calls)) => !calls.is_empty(),
            Some(_) => true,
        };
        match role(message) {
            Some("assistant") if is_call("tool_calls") || is_call("function_call") => steps += 1,
            Some("tool" | "function") => results = 1,
            _ => {}
        }
    }
    steps.max(results)
}

fn call(function: &Value) -> Result<Call, String> {
    let none = json!({ "type": "object" });
    // The second name is Gemini's own.
    let parameters = function.get("parameters").or_else(|| function.get("parametersJsonSchema"));
    let parameters = parameters.filter(|schema| !schema.is_null());
    let arguments = schema::example(parameters.unwrap_or(&none), TEXT)?;
    let name = name(function).unwrap_or_default().to_owned();
    Ok(Call { name, arguments: arguments.to_string() })
}

fn name(function: &Value) -> Option<&str> {
    function.get("name").and_then(Value::as_str).filter(|name| !name.is_empty())
}

fn no_tool() -> String {
    "`tool_choice` requires a function that is not in `tools`".into()
}
