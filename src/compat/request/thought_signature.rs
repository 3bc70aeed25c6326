//! The thought signatures of tool calls: those that are known are restored, and a placeholder takes the
//! place of the others.
//!
//! Gemini 3 sends a signature with the first tool call of each step, at
//! `extra_content.google.thought_signature`, and refuses the next request of the turn without it:
//! ``function call `default_api:f` in the 2. content block is missing a `thought_signature` ``. Most
//! clients keep only `id`, `type` and `function` of a call. See Google's page on thought signatures,
//! and JetBrains/koog 2113, BerriAI/litellm 16895 and many more.
//!
//! A signature is restored on the call that it came with, found by the id of the call. A signature
//! that is present is never changed. Google's page documents the placeholder "as a last resort as it
//! will negatively impact model performance". So it is sent only after Vertex AI has refused the
//! request, on the first call of each step of the current turn.

use std::sync::Arc;

use super::{Found, chat::Chat};
use crate::compat::{
    Signatures,
    json::{Edits, Object, Value, quote},
    signatures::SignatureOwner,
};

/// The placeholder that turns off the check of a signature, by Google's page. It stands for the
/// signature of a call of another model, or of a call that was never signed.
const PLACEHOLDER: &str = "skip_thought_signature_validator";

/// The signatures that the caller may get.
#[derive(Clone, Copy, Debug)]
pub(in crate::compat) struct Remembered<'a> {
    pub(in crate::compat) signatures: &'a Signatures,
    pub(in crate::compat) owner: SignatureOwner,
}

impl Remembered<'_> {
    /// The signature that came with a call: by its id, or else by its function and arguments,
    /// because some clients change ids.
    fn of(self, call: &Object<'_>) -> Option<Arc<str>> {
        let id = call.get("id").and_then(Value::string).filter(|id| !id.is_empty());
        let by_id = id.and_then(|id| self.signatures.find(self.owner, &id));
        by_id.or_else(|| {
            let function = call.get("function")?.object()?;
            let (name, arguments) = (function.get("name")?, function.get("arguments")?);
            let (name, arguments) = (name.string()?, arguments.string()?);
            self.signatures.find_by_arguments(self.owner, &name, &arguments)
        })
    }
}

/// Restores the signatures that are remembered. Returns their number, and the number of calls that
/// should have had one.
pub(super) fn restore(chat: &Chat<'_>, remembered: Remembered<'_>, edits: &mut Edits) -> Found {
    let mut found = Found::default();
    for step in chat.steps() {
        for (index, call) in step.calls.iter().enumerate() {
            let Some(call) = call.as_ref().filter(|call| !is_signed(call)) else { continue };
            match remembered.of(call) {
                Some(signature) => found.restored += u64::from(sign(call, &signature, edits)),
                None if index == 0 && step.is_current => found.missing += 1,
                None => {}
            }
        }
    }
    found
}

/// Puts the placeholder where a signature is demanded and missing. Returns the number of such places.
pub(super) fn place(chat: &Chat<'_>, edits: &mut Edits) -> u64 {
    let steps = chat.steps().filter(|step| step.is_current);
    let mut placed = 0;
    for step in steps {
        if let Some(Some(call)) = step.calls.first()
            && !is_signed(call)
        {
            placed += u64::from(sign(call, PLACEHOLDER, edits));
        }
    }
    placed
}

/// Whether a call has a signature.
fn is_signed(call: &Object<'_>) -> bool {
    let google = call.get("extra_content").and_then(|extra| extra.get("google"));
    let signature = google.and_then(|google| google.get("thought_signature"));
    signature.is_some_and(|signature| !signature.is_null() && !signature.is_string(""))
}

/// Signs a call that has no signature. Returns whether that was possible.
fn sign(call: &Object<'_>, signature: &str, edits: &mut Edits) -> bool {
    let signature = quote(signature);
    let Some(extra) = call.get_some("extra_content") else {
        let extra = format!(r#"{{"google":{{"thought_signature":{signature}}}}}"#);
        match call.get("extra_content") {
            Some(null) => edits.replace(null, extra),
            None => edits.insert_first(call, "extra_content", &extra),
        }
        return true;
    };
    let Some(extra) = extra.object() else { return false };
    let Some(google) = extra.get_some("google") else {
        edits.set(&extra, "google", &format!(r#"{{"thought_signature":{signature}}}"#));
        return true;
    };
    let Some(google) = google.object() else { return false };
    edits.set(&google, "thought_signature", &signature);
    true
}
