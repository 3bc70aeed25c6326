//! Parameters and their combinations.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{BARE, Chat, learn_more};

/// Google's page on the OpenAI library has this sentence. The text of the error is assumed.
pub(super) fn two_thinking_knobs(chat: &Chat<'_>) -> Option<String> {
    (chat.field("reasoning_effort").is_some() && chat.thinking_config().is_some()).then(|| {
        "Only one of `reasoning_effort` or `extra_body.google.thinking_config` may be specified."
            .into()
    })
}

/// Measured at Google AI Studio with this text (buxuku/SmartSub issue 439: `gemini-3.5-flash`
/// accepts `none`, while `gemini-3.6-flash` and `gemini-3.5-flash-lite` refuse it). Google's page on
/// the Gemini API says that only 2.5 without Pro accepts `none`.
pub(super) fn effort_none(chat: &Chat<'_>) -> Option<String> {
    let model = chat.model;
    let always_thinks = model.thinking
        && (model.is_gemini_since(3, 0) || model.name.starts_with("gemini-2.5-pro"))
        && model.name != "gemini-3.5-flash";
    (always_thinks && chat.effort().as_deref() == Some("none")).then(|| BARE.into())
}

/// gemini-cli issue 14025 for models before Gemini 3 (QwenLM/qwen-code issue 9019: even for the
/// unspecified level), and jenslys/opencode-gemini-auth issue 14 for a level. The levels are those of
/// Firebase's table, and of these two issues and vellum-assistant pull request 32687.
pub(super) fn thinking_level(chat: &Chat<'_>) -> Option<String> {
    let model = chat.model;
    let level = chat.thinking("thinking_level")?.as_str()?.to_ascii_uppercase();
    if !model.is_gemini_since(3, 0) {
        return Some(learn_more(
            "Unable to submit request because thinking_level is not supported by this model..",
        ));
    }
    let is_pro = model.name.contains("-pro") && !model.makes_images();
    let lacks = match level.as_str() {
        "MINIMAL" => is_pro || model.name.starts_with("gemini-3.7-flash"),
        "MEDIUM" => is_pro && model.generation == Some((3, 0)),
        _ => false,
    };
    lacks.then(|| {
        learn_more(&format!(
            "Unable to submit request because thinking_level {level} is not supported by this \
             model."
        ))
    })
}

/// lofcz/LLMTornado pull request 66, at the native API. The text has two full stops.
pub(super) fn thoughts_without_thinking(chat: &Chat<'_>) -> Option<String> {
    let wants = chat.thinking("include_thoughts").and_then(Value::as_bool) == Some(true);
    let thinks = chat.model.thinking
        && chat.thinking("thinking_budget").and_then(Value::as_i64) != Some(0)
        && chat.effort().as_deref() != Some("none");
    (wants && !thinks).then(|| {
        learn_more(
            "Unable to submit request because Thinking_config.include_thoughts is only enabled \
             when thinking is enabled..",
        )
    })
}

/// stackblitz-labs/bolt.diy issue 955 (8193), BerriAI/litellm pull request 10548 (65536).
pub(super) fn max_tokens(chat: &Chat<'_>) -> Option<String> {
    if chat.model.makes_images() {
        // Their limits are documented, but not the error.
        return None;
    }
    let end = match chat.model.generation? {
        (0..2, _) | (2, 0..5) => 8193,
        (2, _) => 65536,
        _ => 65537,
    };
    let names = ["max_completion_tokens", "max_tokens"];
    let asked = names.iter().find_map(|name| chat.field(name)?.as_i64())?;
    (!(1..end).contains(&asked)).then(|| {
        format!(
            "Unable to submit request because it has a maxOutputTokens value of {asked} but the \
             supported range is from 1 (inclusive) to {end} (exclusive). Update the value and try \
             again."
        )
    })
}

/// Inferred from the text for `maxOutputTokens`.
pub(super) fn temperature(chat: &Chat<'_>) -> Option<String> {
    let asked = chat.field("temperature")?.as_f64()?;
    (!(0.0..=2.0).contains(&asked)).then(|| {
        format!(
            "Unable to submit request because it has a temperature value of {asked} but the \
             supported range is from 0 (inclusive) to 2.0 (inclusive). Update the value and try \
             again."
        )
    })
}

/// Google's page on the OpenAI library: "passing multiple detail types in one request will throw an
/// error" before Gemini 3. The text of the error is assumed.
pub(super) fn image_details(chat: &Chat<'_>) -> Option<String> {
    if chat.model.is_gemini_since(3, 0) {
        return None;
    }
    let contents = chat.messages.iter().filter_map(|message| message.get("content")?.as_array());
    let details: BTreeSet<&str> =
        contents.flatten().filter_map(|part| part.pointer("/image_url/detail")?.as_str()).collect();
    (details.len() > 1).then(|| BARE.into())
}

/// Several reports for Gemini 2, such as openai/openai-agents-python issue 656. Gemini 3 is said to
/// allow it.
pub(super) fn tools_with_json(chat: &Chat<'_>) -> Option<String> {
    if chat.model.is_gemini_since(3, 0) {
        return None;
    }
    let is_named =
        |name| chat.field(name).and_then(Value::as_array).is_some_and(|tools| !tools.is_empty());
    let format = chat.field("response_format")?.get("type")?.as_str()?;
    let is_json = matches!(format, "json_object" | "json_schema" | "application/json");
    (is_json && (is_named("tools") || is_named("functions"))).then(|| {
        "Function calling with a response mime type: 'application/json' is unsupported".into()
    })
}
