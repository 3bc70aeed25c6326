//! Thought signatures of responses.
//!
//! **Evidence.** Gemini 3 returns a `thought_signature` with the first tool call of a step, and Vertex
//! AI refuses the next request of the turn with a 400 if the call comes back without it. Google
//! documents the member `extra_content.google.thought_signature` of a tool call, and that a stream
//! may have the signature in a part with empty text. Most OpenAI clients drop it.
//! <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures>
//!
//! **Rule.** The signature of a call is remembered under the id that the client gets, and under the
//! name and the arguments of the call. A signature in a later delta that names no call belongs to
//! the first call of the choice, if that has none. The response stays as it is.
//!
//! **Cost.** Chunks with `"thought_signature"` are parsed for this cure.

use std::borrow::Cow;

use super::{ResponseContext, tool_calls::Calls};
use crate::compat::{
    Cure,
    json::{Object, Value},
};

/// The signature of a tool call, of a delta or of a message.
pub(super) fn signature<'a>(object: &Object<'a>) -> Option<Cow<'a, str>> {
    let google = object.get("extra_content")?.get("google")?;
    google.get("thought_signature").and_then(Value::string)
}

/// Remembers the signature of the call at this position.
pub(super) fn signed(calls: &mut Calls, at: usize, signature: &str, context: &ResponseContext) {
    let Some((signatures, owner)) = store(context) else { return };
    let Some(call) = calls.get_mut(at) else { return };
    signatures.remember(*owner, call.client_id(context), signature);
    call.is_signed = true;
    arguments(calls, at, context);
}

/// Remembers the arguments of the call at this position, once they are complete.
pub(super) fn arguments(calls: &mut Calls, at: usize, context: &ResponseContext) {
    let Some((signatures, owner)) = store(context) else { return };
    let call = calls.get_mut(at).filter(|call| call.is_signed && !call.has_known_arguments);
    let Some(call) = call else { return };
    let Some(arguments) = call.complete_arguments() else { return };
    signatures.remember_arguments(*owner, call.client_id(context), &call.name, arguments);
    call.has_known_arguments = true;
}

fn store(
    context: &ResponseContext,
) -> Option<&(crate::compat::Signatures, crate::compat::SignatureOwner)> {
    context.signatures.as_ref().filter(|_| context.is_on(Cure::Signatures))
}
