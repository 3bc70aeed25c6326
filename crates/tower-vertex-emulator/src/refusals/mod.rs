//! The chats that Gemini refuses, in Google's words.
//!
//! Each rule is a function that returns the message of a 400 `INVALID_ARGUMENT`, and each has a
//! switch in [`Refusals`]. A rule is on by default if the error is documented or recorded, and off
//! if it is only inferred. Most texts were recorded at the native API, whose backend is the same.

mod functions;
mod ignored;
mod parameters;
mod turns;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub(crate) use self::ignored::ignored;
use super::{google_errors::GoogleError, models::Model};

/// The text for requests that the service refuses without a reason.
const BARE: &str = "Request contains an invalid argument.";

/// Appends the page to which Google's texts refer.
pub(crate) fn learn_more(text: &str) -> String {
    format!(
        "{text} Learn more: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/\
         gemini"
    )
}

/// The rules by which the emulator refuses a chat with Gemini on `openapi`. A rule is on if it is
/// `true`.
///
/// Other publishers and deployed endpoints have rules of their own, which the emulator does not
/// know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Refusals {
    /// The results of tools are as many as the calls before them, and follow them directly.
    pub tool_results: bool,
    /// A call of a tool follows a message of the user or the results of tools.
    pub call_order: bool,
    /// A message of the user or of the assistant has a content, and no text in it is empty.
    pub empty_content: bool,
    /// There is at least one message besides those of the system.
    pub no_contents: bool,
    /// The last message is not the assistant's (Gemini 3.7).
    pub model_turn_last: bool,
    /// A message of the assistant has either text or calls of tools (`gemini-3.6-flash` and
    /// `gemini-3.5-flash-lite`).
    pub text_beside_calls: bool,
    /// `reasoning_effort` and `thinking_config` are not both set.
    pub two_thinking_knobs: bool,
    /// `reasoning_effort` is not `none` (Gemini 2.5 Pro and Gemini 3).
    pub effort_none: bool,
    /// The model has the level of thinking that `thinking_level` selects (from Gemini 3 on).
    pub thinking_level: bool,
    /// `include_thoughts` is set only if the model thinks.
    pub thoughts_without_thinking: bool,
    /// `max_tokens` is within the range of the model.
    pub max_tokens: bool,
    /// `temperature` is 0 to 2. Off by default: the range is documented, the error is inferred.
    pub temperature: bool,
    /// All images have the same `detail` (before Gemini 3).
    pub image_details: bool,
    /// `tools` and a JSON `response_format` are not both set (before Gemini 3).
    pub tools_with_json: bool,
    /// The name of a function has the permitted characters and length.
    pub function_name: bool,
    /// Each schema in the parameters of a function has a `type`.
    pub schema_type: bool,
    /// A schema with `anyOf` has nothing else.
    pub schema_any_of: bool,
    /// The parameters of a function are of type `object`. Off by default: reported for Google AI
    /// Studio.
    pub schema_object: bool,
    /// A schema of type `object` has properties. Off by default: reported for Google AI Studio.
    pub schema_properties: bool,
    /// A schema of type `array` has `items`. Off by default: reported for Google AI Studio.
    pub schema_items: bool,
    /// Only a schema of type `string` has an `enum`. Off by default: reported for Google AI Studio.
    pub schema_enum: bool,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            tool_results: true,
            call_order: true,
            empty_content: true,
            no_contents: true,
            model_turn_last: true,
            text_beside_calls: true,
            two_thinking_knobs: true,
            effort_none: true,
            thinking_level: true,
            thoughts_without_thinking: true,
            max_tokens: true,
            temperature: false,
            image_details: true,
            tools_with_json: true,
            function_name: true,
            schema_type: true,
            schema_any_of: true,
            schema_object: false,
            schema_properties: false,
            schema_items: false,
            schema_enum: false,
        }
    }
}

impl Refusals {
    /// No rule: every chat is accepted that the emulator can read.
    pub fn none() -> Self {
        Self {
            tool_results: false,
            call_order: false,
            empty_content: false,
            no_contents: false,
            model_turn_last: false,
            text_beside_calls: false,
            two_thinking_knobs: false,
            effort_none: false,
            thinking_level: false,
            thoughts_without_thinking: false,
            max_tokens: false,
            temperature: false,
            image_details: false,
            tools_with_json: false,
            function_name: false,
            schema_type: false,
            schema_any_of: false,
            schema_object: false,
            schema_properties: false,
            schema_items: false,
            schema_enum: false,
        }
    }
}

/// A chat, for the rules.
#[derive(Clone, Copy)]
struct Chat<'a> {
    model: &'a Model,
    messages: &'a [Value],
    asked: &'a Map<String, Value>,
}

impl<'a> Chat<'a> {
    /// A field that is set.
    fn field(&self, name: &str) -> Option<&'a Value> {
        self.asked.get(name).filter(|value| !value.is_null())
    }

    /// A field of `extra_body.google.thinking_config`.
    fn thinking(&self, name: &str) -> Option<&'a Value> {
        self.thinking_config()?.get(name).filter(|value| !value.is_null())
    }

    fn thinking_config(&self) -> Option<&'a Value> {
        let config = self.field("extra_body")?.pointer("/google/thinking_config");
        config.filter(|config| !config.is_null())
    }

    /// The value of `reasoning_effort`, in small letters.
    fn effort(&self) -> Option<String> {
        Some(self.field("reasoning_effort")?.as_str()?.to_ascii_lowercase())
    }
}

/// A rule: it returns the message of the refusal.
type Rule = fn(&Chat<'_>) -> Option<String>;

/// Refuses a chat that Gemini would refuse.
pub(crate) fn check(
    refusals: &Refusals,
    model: &Model,
    messages: &[Value],
    asked: &Map<String, Value>,
) -> Result<(), GoogleError> {
    if model.generation.is_none() {
        return Ok(());
    }
    let rules: [(bool, Rule); 21] = [
        (refusals.no_contents, turns::no_contents),
        (refusals.empty_content, turns::empty_content),
        (refusals.call_order, turns::call_order),
        (refusals.tool_results, turns::tool_results),
        (refusals.model_turn_last, turns::model_turn_last),
        (refusals.text_beside_calls, turns::text_beside_calls),
        (refusals.two_thinking_knobs, parameters::two_thinking_knobs),
        (refusals.effort_none, parameters::effort_none),
        (refusals.thinking_level, parameters::thinking_level),
        (refusals.thoughts_without_thinking, parameters::thoughts_without_thinking),
        (refusals.max_tokens, parameters::max_tokens),
        (refusals.temperature, parameters::temperature),
        (refusals.image_details, parameters::image_details),
        (refusals.tools_with_json, parameters::tools_with_json),
        (refusals.function_name, functions::name),
        (refusals.schema_object, functions::schema_object),
        (refusals.schema_type, functions::schema_type),
        (refusals.schema_any_of, functions::schema_any_of),
        (refusals.schema_properties, functions::schema_properties),
        (refusals.schema_items, functions::schema_items),
        (refusals.schema_enum, functions::schema_enum),
    ];
    let chat = Chat { model, messages, asked };
    let refused = rules.iter().filter(|(on, _)| *on).find_map(|(_, rule)| rule(&chat));
    refused.map_or(Ok(()), |message| Err(GoogleError::invalid_argument(message)))
}
