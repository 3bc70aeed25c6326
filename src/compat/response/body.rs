use bytes::Bytes;

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
    let Some(root) = Value::parse_bytes(&body).and_then(Value::object) else { return body };
    let mut edits = Edits::default();
    match context.operation {
        Operation::Embeddings { base64 } => {
            if context.is_on(Cure::Embeddings) {
                embeddings::cure(&root, base64, &mut edits);
            }
        }
        Operation::Chat => cure_chat(context, &root, &mut edits),
    }
    if edits.is_empty() {
        return body;
    }
    match std::str::from_utf8(&body) {
        Ok(text) => edits.apply(text).into(),
        Err(_) => body,
    }
}

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
