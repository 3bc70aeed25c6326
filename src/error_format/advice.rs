//! Advice about refusals of Vertex AI whose message does not say what the client can do.
//!
//! Each entry is about a text that Google documents or that users have reported; the issues are named
//! beside it. The advice is only for what no cure of the compat layer can mend without a loss.

use std::borrow::Cow;

use http::StatusCode;

use super::unknown_model::{Requested, unknown_model};

/// A part of the message of a 400, and the advice for it.
const ADVICE: [(&str, &str); 8] = [
    // docker/docker-agent#2469.
    (
        "The deployed model does not support ChatCompletions",
        "Vertex AI serves Claude and Mistral by their own protocols, not by OpenAI's: choose \
         another model here, or use the client of the model's publisher.",
    ),
    // Google documents this method for xAI's models alone. The text is assumed.
    (
        "The deployed model does not support Responses",
        "Vertex AI serves the Responses API for xAI's models: send a chat completion to \
         /chat/completions instead (in the OpenAI Agents SDK \
         set_default_openai_api(\"chat_completions\"), in the AI SDK .chat()).",
    ),
    // openai/openai-agents-python#656, googleapis/python-genai#867.
    (
        "a response mime type",
        "This model does not take tools and a JSON response_format in one request: leave out one \
         of them, or let the model return the object by a call of a tool.",
    ),
    // anomalyco/opencode#15795, BerriAI/litellm#11164.
    (
        "fields alongside any_of",
        "In the schema of a function, anyOf must stand alone: move members such as description and \
         default into its alternatives.",
    ),
    // google-gemini/gemini-cli#2282, vercel/ai#19002.
    (
        "didn't specify the schema type field",
        "In the schema of a function, each value needs a type.",
    ),
    // pydantic/pydantic-ai#580, microsoft/semantic-kernel#10597.
    (
        "number of function response parts is equal to the number of function call parts",
        "After an assistant message with tool calls, send one message with the role tool for each \
         of its calls.",
    ),
    // continuedev/continue#9575, mastra-ai/mastra#7231.
    (
        "function call turn comes immediately after a user turn",
        "An assistant message with tool calls must follow a message of the user or the results of \
         earlier calls.",
    ),
    // agno-agi/agno#9630.
    (
        "Requests ending with a model turn are not supported",
        "The last message must be one of the user or the result of a tool.",
    ),
];

/// The advice for an error with this message.
pub(super) fn advice(
    status: StatusCode,
    message: &str,
    requested: Option<&Requested>,
) -> Option<Cow<'static, str>> {
    match status {
        StatusCode::NOT_FOUND => unknown_model(message, requested).map(Cow::from),
        StatusCode::BAD_REQUEST => {
            let known = ADVICE.iter().find(|(part, _)| message.contains(part));
            known.map(|(_, advice)| Cow::from(*advice))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_refusals_have_advice_and_others_have_none() {
        for (status, message, word) in [
            (400, "The deployed model does not support ChatCompletions. endpoint_id: 1", "Claude"),
            (400, "The deployed model does not support Responses.", "/chat/completions"),
            (
                400,
                "Function calling with a response mime type: 'application/json' is unsupported",
                "leave out one",
            ),
            (400, "schema specified other fields alongside any_of. When using", "stand alone"),
            (400, "`f` parameters.x schema didn't specify the schema type field", "a type"),
            (
                400,
                "Please ensure that the number of function response parts is equal to the number \
                 of function call parts of the function call turn.",
                "for each",
            ),
            (
                400,
                "Please ensure that function call turn comes immediately after a user turn or \
                 after a function response turn.",
                "must follow",
            ),
            (400, "Requests ending with a model turn are not supported.", "last message"),
            (404, "Publisher Model `x` was not found", "/v1/models"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let advice = advice(status, message, None);
            assert!(
                advice.as_ref().is_some_and(|advice| advice.contains(word)),
                "{message}: {advice:?}"
            );
        }
        for (status, message) in [
            (400, "Request contains an invalid argument."),
            (403, "The deployed model does not support ChatCompletions."),
            (404, "The Endpoint does not exist."),
            (429, "Publisher Model `x`"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(advice(status, message, None), None, "{message}");
        }
    }
}
