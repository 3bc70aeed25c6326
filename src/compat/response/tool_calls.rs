//! `index`, `id`, `type` and `name` of tool calls as in OpenAI's responses.
//!
//! **Evidence.** In Google's documentation of `stream_function_call_arguments`, every chunk of a call
//! repeats `id`, `type` and `function.name`, and the first chunk of each call has the `index` of the
//! other one. None of nine client libraries reads that stream (tried with these bytes):
//! openai-python 3.57 raises an `IndexError`, openai-node 6.49 gives both calls one id, LangChain
//! returns four calls. By default, the Gemini API sends a call in one chunk with no `index`
//! (openai/openai-python#2806, meilisearch/meilisearch#5684), `null`, or 0 for each, and it used to
//! send empty ids (vercel/ai#6663). Two calls with the same id have been seen.
//!
//! **Rule.** A call belongs to its id. `index` is its position among the calls of the choice, in the
//! order in which they began. The first fragment of a call has `id`, `type` and `function.name`, and
//! the others do not have them. All have a `function`, because the AI SDK (7.0, with each of three
//! providers) rejects the chunk of a signature that comes after its call without one. A fragment
//! without an id belongs to the call with its index, or else to the last one. A new name, or a new
//! object after complete arguments, begins another call. Its id gets a suffix if the id is in use.
//!
//! A call without an id gets one that consists of the id of the response and a number. It is unique
//! within a conversation, as clients and the store of signatures need it, and at most 40 bytes long,
//! as OpenAI's are. Vertex AI accepts any id.
//!
//! **Cost.** Chunks with `"tool_calls"` are parsed. A stream remembers its calls, and the arguments
//! of those whose signature is remembered, up to 64 KiB.

use std::borrow::Cow;

use super::{ResponseContext, observe};
use crate::compat::{
    Cure,
    canonical::LONGEST,
    json::{Array, Edits, Object, Progress, Value, quote},
};

/// More calls of a choice are not cured, which bounds the memory of a stream.
const MOST: usize = 256;

/// The longest part of a response's id within an id. OpenAI's own ids have 29 bytes, and some
/// clients accept 40.
const LONGEST_ID: usize = 26;

/// The calls of one choice, in the order in which they began.
#[derive(Debug, Default)]
pub(super) struct Calls {
    list: Vec<Call>,
    /// The bytes of arguments that are kept.
    kept: usize,
}

pub(super) struct Call {
    upstream_id: String,
    /// The id that the client gets.
    id: String,
    /// The last index that Vertex AI sent for this call.
    index: Option<u64>,
    pub(super) name: String,
    progress: Progress,
    /// `None` if they are too long to keep.
    arguments: Option<String>,
    pub(super) is_signed: bool,
    pub(super) has_known_arguments: bool,
}

/// An element of `tool_calls`: a call or a part of one.
struct Fragment<'a> {
    id: Option<Cow<'a, str>>,
    index: Option<u64>,
    function: Option<Object<'a>>,
    name: Option<Cow<'a, str>>,
    arguments: Cow<'a, str>,
}

/// The response that the calls are in.
pub(super) struct Place<'a> {
    pub(super) context: &'a ResponseContext,
    pub(super) response_id: &'a str,
    pub(super) choice: u64,
    /// The calls are those of a chunk, and not of a complete body.
    pub(super) is_chunk: bool,
}

pub(super) fn cure(list: &Array<'_>, calls: &mut Calls, place: &Place<'_>, edits: &mut Edits) {
    for element in list.elements.iter().filter_map(|element| element.object()) {
        let fragment = Fragment::read(&element);
        let signature = observe::signature(&element);
        let Some((at, is_new)) = calls.locate(&fragment, place) else { continue };
        if let Some(call) = calls.list.get(at).filter(|_| place.context.is_on(Cure::ToolCalls)) {
            if is_new {
                complete_first(&element, &fragment, call, edits);
            } else {
                shorten(&element, &fragment, call, edits);
            }
            if place.is_chunk {
                edits.set(&element, "index", &at.to_string());
            }
        }
        calls.add(at, &fragment);
        if let Some(signature) = signature {
            let is_named = fragment.id.is_some() || fragment.index.is_some() || is_new;
            calls.sign(is_named.then_some(at), &signature, place.context);
        }
        observe::arguments(calls, at, place.context);
    }
}

/// The first fragment of a call has `id` and `type`.
fn complete_first(element: &Object<'_>, fragment: &Fragment<'_>, call: &Call, edits: &mut Edits) {
    if fragment.id.as_deref() != Some(&*call.id) {
        edits.set(element, "id", &quote(&call.id));
    }
    if element.get_some("type").is_none() {
        edits.set(element, "type", r#""function""#);
    }
}

/// The others do not have `id`, `type` and `name`, which clients would join to those that they have.
fn shorten(element: &Object<'_>, fragment: &Fragment<'_>, call: &Call, edits: &mut Edits) {
    for key in ["id", "type"] {
        if element.get_some(key).is_some() {
            edits.remove(element, key);
        }
    }
    if element.get_some("function").is_none() {
        edits.set(element, "function", r#"{"arguments":""}"#);
    }
    // A name that comes after the first fragment stays.
    let function = fragment.function.as_ref().filter(|_| !call.name.is_empty());
    if let Some(function) = function.filter(|function| function.get_some("name").is_some()) {
        edits.remove(function, "name");
    }
}

impl<'a> Fragment<'a> {
    fn read(element: &Object<'a>) -> Self {
        let text = |object: &Object<'a>, key| object.get(key).and_then(Value::string);
        let function = element.get("function").and_then(Value::object);
        let of_function = |key| function.as_ref().and_then(|function| text(function, key));
        Self {
            id: text(element, "id").filter(|id| !id.is_empty()),
            index: element.get("index").and_then(Value::number),
            name: of_function("name").filter(|name| !name.is_empty()),
            arguments: of_function("arguments").unwrap_or_default(),
            function,
        }
    }

    /// Whether this cannot be the next part of `call`, which has the same id or index.
    fn begins_another(&self, call: &Call) -> bool {
        let has_other_name = self.name.as_ref().is_some_and(|name| *name != call.name);
        let is_after_end = call.progress.is_complete()
            && self.name.is_some()
            && self.arguments.trim_start().starts_with(['{', '[']);
        (has_other_name && !call.name.is_empty()) || is_after_end
    }

    /// Whether there is anything here that a call consists of.
    fn is_empty(&self) -> bool {
        self.id.is_none() && self.name.is_none() && self.arguments.is_empty()
    }
}

impl Calls {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Call> {
        self.list.get_mut(at)
    }

    /// The position of the call that the fragment is a part of, and whether the call is new.
    fn locate(&mut self, fragment: &Fragment<'_>, place: &Place<'_>) -> Option<(usize, bool)> {
        if let Some(at) = self.current(fragment).filter(|_| place.is_chunk) {
            return Some((at, false));
        }
        if fragment.is_empty() || self.list.len() == MOST {
            return None;
        }
        let at = self.list.len();
        let upstream_id = fragment.id.as_deref().unwrap_or_default().to_owned();
        let is_used = self.list.iter().any(|call| call.id == upstream_id);
        let id = match &*upstream_id {
            "" => new_id(place, at),
            id if is_used => format!("{id}_{at}"),
            id => id.to_owned(),
        };
        self.list.push(Call {
            upstream_id,
            id,
            index: None,
            name: String::new(),
            progress: Progress::default(),
            arguments: Some(String::new()),
            is_signed: false,
            has_known_arguments: false,
        });
        Some((at, true))
    }

    /// The position of the call that the fragment continues.
    fn current(&self, fragment: &Fragment<'_>) -> Option<usize> {
        let last = |is_it: &dyn Fn(&Call) -> bool| self.list.iter().rposition(is_it);
        let of_index = |call: &Call| fragment.index.is_some() && call.index == fragment.index;
        let at = match &fragment.id {
            Some(id) => last(&|call| call.upstream_id == **id).or_else(|| {
                // The id of a call that began without one.
                let is_late = |call: &Call| call.upstream_id.is_empty() && of_index(call);
                last(&is_late).filter(|_| fragment.name.is_none())
            }),
            None => last(&of_index).or_else(|| {
                // A name with an index that is not in use begins a call.
                let is_next = fragment.index.is_some() && fragment.name.is_some();
                self.list.len().checked_sub(1).filter(|_| !is_next)
            }),
        };
        at.filter(|at| self.list.get(*at).is_some_and(|call| !fragment.begins_another(call)))
    }

    /// Takes over the properties of the fragment.
    fn add(&mut self, at: usize, fragment: &Fragment<'_>) {
        let Some(call) = self.list.get_mut(at) else { return };
        call.index = fragment.index.or(call.index);
        if let Some(id) = fragment.id.as_deref().filter(|_| call.upstream_id.is_empty()) {
            id.clone_into(&mut call.upstream_id);
        }
        if let Some(name) = fragment.name.as_deref().filter(|_| call.name.is_empty()) {
            name.clone_into(&mut call.name);
        }
        call.progress.feed(fragment.arguments.as_bytes());
        self.kept += fragment.arguments.len();
        if self.kept > LONGEST {
            call.arguments = None;
        }
        if let Some(arguments) = &mut call.arguments {
            arguments.push_str(&fragment.arguments);
        }
    }

    /// Remembers the signature of a call. Without a position it is that of the first call, if that
    /// has none: of parallel calls, only the first one has a signature.
    pub(super) fn sign(&mut self, at: Option<usize>, signature: &str, context: &ResponseContext) {
        if at.is_some() || self.list.first().is_some_and(|call| !call.is_signed) {
            observe::signed(self, at.unwrap_or_default(), signature, context);
        }
    }
}

impl Call {
    /// The id that the client sends back.
    pub(super) fn client_id(&self, context: &ResponseContext) -> &str {
        if context.is_on(Cure::ToolCalls) { &self.id } else { &self.upstream_id }
    }

    /// The arguments, if they are complete.
    pub(super) fn complete_arguments(&self) -> Option<&str> {
        self.arguments.as_deref().filter(|_| self.progress.is_complete())
    }
}

/// Shows no names, ids and arguments.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("index", &self.index).finish_non_exhaustive()
    }
}

fn new_id(place: &Place<'_>, at: usize) -> String {
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || *c == '-' || *c == '_';
    let response: String = place.response_id.chars().filter(is_plain).take(LONGEST_ID).collect();
    format!("call_{response}_{}_{at}", place.choice)
}
