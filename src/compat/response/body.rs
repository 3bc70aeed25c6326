use std::sync::LazyLock;

use bytes::Bytes;
use memchr::memmem::Finder;

use super::{
    Operation, ResponseContext,
    chunk::Choice,
    embeddings, finish_reason, missing_members, observe, thoughts,
    tool_calls::{self, Place},
    usage,
};
use crate::compat::{
    Cure,
    json::{Edits, Object, Value},
};

/// Cures a complete body. A body that is not JSON stays, and so does one with nothing to cure.
pub(crate) fn cure_body(context: &ResponseContext, body: Bytes) -> Bytes {
    if matches!(context.operation, Operation::Chat { .. }) && is_usual_text(context, &body) {
        return body;
    }
    cure_parsed(context, body)
}

fn cure_parsed(context: &ResponseContext, body: Bytes) -> Bytes {
    let root = std::str::from_utf8(&body).ok().and_then(Object::parse);
    let Some(root) = root else { return body };
    let mut edits = Edits::default();
    match context.operation {
        Operation::Embeddings { base64 } => {
            if context.is_on(Cure::Embeddings) {
                embeddings::cure(&root, base64, &mut edits);
            }
        }
        Operation::Chat { .. } => cure_chat(context, &root, &mut edits),
    }
    if edits.is_empty() {
        return body;
    }
    match std::str::from_utf8(&body) {
        Ok(text) => edits.apply(text).into(),
        Err(_) => body,
    }
}

/// Whether the body is Gemini's usual one: a single choice that is a text and nothing else. It needs no
/// cure, and is recognised without a parser. Quotation marks in the text are escaped, so none of these
/// byte strings can be in it.
fn is_usual_text(context: &ResponseContext, body: &[u8]) -> bool {
    const BEGIN: &[u8] = br#"{"choices":[{"finish_reason":""#;
    const MESSAGE: &[u8] = br#"","index":0,"logprobs":null,"message":{"content":""#;
    if context.is_on(Cure::ReasoningTokens) || context.is_on(Cure::Thoughts) {
        return false;
    }
    let Some(reason) = body.strip_prefix(BEGIN) else { return false };
    let rest = reason.strip_prefix(b"stop").or_else(|| reason.strip_prefix(b"length"));
    let Some(text) = rest.and_then(|rest| rest.strip_prefix(MESSAGE)) else { return false };
    let Some(end) = MESSAGE_END.find(text) else { return false };
    let rest = &text[end..];
    COUNTS.iter().all(|count| count.find(rest).is_some())
}

static MESSAGE_END: LazyLock<Finder<'static>> =
    LazyLock::new(|| Finder::new(r#"","role":"assistant"}}],"created":"#));

static COUNTS: LazyLock<[Finder<'static>; 3]> = LazyLock::new(|| {
    [r#""completion_tokens":"#, r#""prompt_tokens":"#, r#""total_tokens":"#].map(Finder::new)
});

fn cure_chat(context: &ResponseContext, root: &Object<'_>, edits: &mut Edits) {
    if context.is_on(Cure::MissingMembers) {
        missing_members::cure_root(root, edits);
    }
    let random_id;
    let id = root.get("id").and_then(Value::string).filter(|id| !id.is_empty());
    let response_id = match &id {
        Some(id) => id,
        None => {
            random_id = format!("{:x}", fastrand::u64(..));
            &*random_id
        }
    };
    let choices = root.get_some("choices").and_then(Value::array);
    for (position, object) in choices.iter().flat_map(|list| list.elements.iter().enumerate()) {
        let Some(object) = object.object() else { continue };
        let index = object.get("index").and_then(Value::number);
        let index = index.unwrap_or(u64::try_from(position).unwrap_or_default());
        let mut choice = Choice::default();
        let message = object.get_some("message").and_then(Value::object);
        if let Some(message) = &message {
            if let Some(calls) = message.get_some("tool_calls").and_then(Value::array) {
                let place = Place { context, response_id, choice: index, is_chunk: false };
                tool_calls::cure(&calls, &mut choice.calls, &place, edits);
            }
            if let Some(signature) = observe::signature(message) {
                choice.calls.sign(None, &signature, context);
            }
        }
        let is_thought = context.is_on(Cure::Thoughts)
            && message.as_ref().is_some_and(|message| thoughts::cure(message, edits));
        if context.is_on(Cure::MissingMembers) {
            missing_members::cure_choice(&object, choice.has_calls(), edits);
            if let Some(message) = message.filter(|_| is_thought) {
                edits.insert_last(&message, "content", "null");
            }
        }
        finish_reason::cure(&object, &choice, context.cures, edits);
    }
    usage::cure(root, context.cures, edits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Cures;

    /// A response with this content, and with these members after `role` and after the choice.
    fn response(content: &str, message: &str, choices: &str) -> Bytes {
        let content = serde_json::Value::from(content);
        format!(
            r#"{{"choices":[{{"finish_reason":"stop","index":0,"logprobs":null,"message":{{"content":{content},"role":"assistant"{message}}}}}{choices}],"created":1,"id":"x","model":"google/gemini-2.5-flash","object":"chat.completion","system_fingerprint":"","usage":{{"completion_tokens":1,"prompt_tokens":1,"total_tokens":2}}}}"#
        )
        .into()
    }

    #[test]
    fn only_a_response_that_the_parser_leaves_as_it_is_counts_as_usual() {
        let context = |cures| ResponseContext {
            cures,
            operation: Operation::Chat { usage_chunk: false },
            signatures: None,
        };
        let on = context(Cures::default());
        let hostile = response("x", "", "");
        let hostile = std::str::from_utf8(&hostile).unwrap();
        let call = r#","tool_calls":[{"function":{"arguments":"{}","name":"f"},"id":"","type":"function"}]"#;
        for (body, usual) in [
            (response("hello", "", ""), true),
            (response("", "", ""), true),
            (response(hostile, "", ""), true),
            (response(r#"","role":"assistant"}}],"created":"#, call, ""), false),
            (response("hello", call, ""), false),
            (
                response(
                    "hello",
                    r#","extra_content":{"google":{"thought_signature":"AA=="}}"#,
                    "",
                ),
                false,
            ),
            (
                response("hello", "", r#",{"index":1,"finish_reason":"content_filter: SAFETY"}"#),
                false,
            ),
        ] {
            assert_eq!(is_usual_text(&on, &body), usual, "{body:?}");
            assert!(!usual || cure_parsed(&on, body.clone()) == body, "{body:?}");
        }
        for without in ["\"prompt_tokens\":1,", "\"total_tokens\":2"] {
            let body = Bytes::from(hostile.replace(without, ""));
            assert!(!is_usual_text(&on, &body), "{body:?}");
        }
        for cures in [Cures::default().reasoning_tokens(true), Cures::default().thoughts(true)] {
            assert!(!is_usual_text(&context(cures), &response("hello", "", "")));
        }
    }
}
