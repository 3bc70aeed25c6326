//! `generateContent` and `streamGenerateContent`.
//!
//! The members of a response are those that were recorded at Vertex AI: a stream repeats
//! `modelVersion`, `createTime` and `responseId` in each chunk, and its `usageMetadata` has only
//! `trafficType` before the last chunk.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::{
        chat::{
            ChatBehavior, ChoiceShape, Outcome, SignaturePlace, StreamEvent, UsageShape,
            choice::{Body, IMAGE, Part, PartKind},
        },
        pieces::Pieces,
        reply::Reply,
        sse::Script,
    },
    partial_args,
};

/// Number of chunks of the thoughts.
const THOUGHT_CHUNKS: usize = 2;

/// The members that every chunk of a response has.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) id: String,
    pub(super) create_time: String,
    /// Absent for a deployed endpoint, because no source shows it.
    pub(super) model_version: Option<String>,
}

impl Head {
    fn body(&self) -> Value {
        let mut body = json!({ "createTime": self.create_time, "responseId": self.id });
        if let Some(version) = &self.model_version {
            body["modelVersion"] = version.as_str().into();
        }
        body
    }
}

/// The settings of a response.
#[derive(Clone)]
pub(super) struct Style {
    pub(super) is_google: bool,
    pub(super) behavior: ChatBehavior,
    /// Whether the arguments of calls come in pieces.
    pub(super) streams_arguments: bool,
}

/// A response.
pub(super) struct Response {
    pub(super) head: Head,
    pub(super) outcome: Outcome,
    pub(super) style: Style,
}

/// The effect of [`ChatBehavior::finish_reason`].
enum Finish {
    Reason(String),
    /// The output is removed; a stream has sent it before.
    Withheld(String),
    /// The prompt is refused, so there are no candidates.
    Blocked(String),
}

impl Response {
    fn finish(&self) -> Finish {
        let usual = if self.outcome.is_cut { "MAX_TOKENS" } else { "STOP" };
        let Some(set) = &self.style.behavior.finish_reason else {
            return Finish::Reason(usual.into());
        };
        match set.split_once(':').map(|(kind, cause)| (kind, cause.trim())) {
            Some(("content_filter", "PROHIBITED_CONTENT")) => {
                Finish::Blocked("PROHIBITED_CONTENT".into())
            }
            Some((_, cause)) => Finish::Withheld(cause.into()),
            None => Finish::Reason(match set.as_str() {
                "stop" | "tool_calls" | "function_call" => "STOP".into(),
                "length" => "MAX_TOKENS".into(),
                other => other.to_ascii_uppercase(),
            }),
        }
    }

    fn usage(&self) -> Option<Value> {
        let modality = match self.outcome.body {
            Body::Nothing => None,
            Body::Image { .. } => Some("IMAGE"),
            _ => Some("TEXT"),
        };
        let mut usage = self.outcome.tally.gemini(modality);
        match self.style.behavior.usage {
            UsageShape::Missing => return None,
            UsageShape::Google => {}
            UsageShape::WithoutCounts => {
                if let Some(usage) = usage.as_object_mut() {
                    usage.remove("promptTokenCount");
                    usage.remove("candidatesTokenCount");
                }
            }
        }
        Some(usage)
    }

    fn blocked(&self, reason: &str) -> Value {
        let mut body = self.head.body();
        body["promptFeedback"] = json!({ "blockReason": reason });
        if self.style.behavior.usage != UsageShape::Missing {
            body["usageMetadata"] = self.outcome.tally.clone().without_response().gemini(None);
        }
        body
    }

    /// The `GenerateContentResponse`.
    pub(super) fn whole(&self) -> Value {
        let finish = self.finish();
        if let Finish::Blocked(reason) = &finish {
            return self.blocked(reason);
        }
        let candidates = (0..self.outcome.choices).map(|index| {
            let mut content = json!({ "role": "model" });
            let parts = match finish {
                Finish::Withheld(_) => Vec::new(),
                _ => parts(&self.outcome.body, &self.style),
            };
            if !parts.is_empty() {
                content["parts"] = parts.into();
            }
            let mut candidate = json!({ "content": content });
            if index > 0 {
                candidate["index"] = index.into();
            }
            match &finish {
                Finish::Reason(reason) | Finish::Blocked(reason) => {
                    candidate["finishReason"] = reason.as_str().into();
                }
                Finish::Withheld(reason) => {
                    candidate["finishReason"] = reason.as_str().into();
                    remove(&mut candidate, "content");
                }
            }
            match self.style.behavior.choice {
                ChoiceShape::Whole => {}
                ChoiceShape::WithoutMessage => remove(&mut candidate, "content"),
                ChoiceShape::OnlyRole => {
                    candidate["content"] = json!({ "role": "model" });
                    remove(&mut candidate, "finishReason");
                }
            }
            candidate
        });
        let mut body = self.head.body();
        body["candidates"] = candidates.collect();
        if let Some(usage) = self.usage() {
            body["usageMetadata"] = usage;
        }
        body
    }

    /// The same in chunks: as server-sent events, or as the elements of an array.
    pub(super) fn stream(self, chunks: Option<usize>, as_events: bool) -> Reply {
        let (count, chunk) = self.chunks(chunks);
        if !as_events {
            return Reply::array(count, chunk);
        }
        let event = move |index: usize| Bytes::from(format!("data: {}\r\n\r\n", chunk(index)));
        Reply::events(Script { chunks: count, chunk: Box::new(event), end: None })
    }

    /// The number of chunks, and each chunk.
    fn chunks(self, chunks: Option<usize>) -> (usize, impl Fn(usize) -> Value + Send + 'static) {
        let finish = self.finish();
        let usage = self.usage();
        let blocked = match &finish {
            Finish::Blocked(reason) => Some(self.blocked(reason)),
            _ => None,
        };
        let Self { head, outcome, style } = self;
        let segments = match blocked {
            Some(_) => Vec::new(),
            None => segments(&outcome.body, &style, chunks),
        };
        let each: usize = segments.iter().map(|segment| segment.count).sum();
        let candidates = usize::try_from(outcome.choices).unwrap_or(1);
        let all = if blocked.is_some() { 1 } else { each * candidates };
        let behavior = &style.behavior;
        let is_broken = behavior.has(StreamEvent::Error) || behavior.has(StreamEvent::BareError);
        let (before_error, count) =
            if is_broken { (all / 2, all / 2 + 1) } else { (usize::MAX, all) };
        let has_finish =
            !behavior.has(StreamEvent::NoFinish) && behavior.choice != ChoiceShape::OnlyRole;
        let is_bare = behavior.choice == ChoiceShape::WithoutMessage;
        let tally = outcome.tally;
        let chunk = move |index: usize| {
            if index == before_error {
                return error();
            }
            if let Some(blocked) = &blocked {
                return blocked.clone();
            }
            let (candidate, within) = (index / each, index % each);
            let mut content = json!({ "role": "model" });
            content["parts"] = json!([part_at(&segments, within)]);
            let mut choice = json!({ "content": content });
            if candidate > 0 {
                choice["index"] = candidate.into();
            }
            if is_bare {
                remove(&mut choice, "content");
            }
            if let (Finish::Reason(reason) | Finish::Withheld(reason), true) =
                (&finish, within + 1 == each && has_finish)
            {
                choice["finishReason"] = reason.as_str().into();
            }
            let mut body = head.body();
            body["candidates"] = json!([choice]);
            if let Some(usage) = &usage {
                let is_last = index + 1 == all;
                body["usageMetadata"] =
                    if is_last { usage.clone() } else { tally.gemini_before_end() };
            }
            body
        };
        (count, chunk)
    }
}

fn remove(object: &mut Value, name: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(name);
    }
}

/// The error that ends a stream. No source shows its bytes at Vertex AI; it has the form of an
/// error response.
fn error() -> Value {
    let message = "The service is currently unavailable.";
    json!({ "error": { "code": 503, "message": message, "status": "UNAVAILABLE" } })
}

fn signed(mut part: Value, signature: Option<&str>) -> Value {
    if let Some(signature) = signature {
        part["thoughtSignature"] = signature.into();
    }
    part
}

fn text(kind: PartKind, text: &str, is_google: bool) -> Value {
    let is_thought = match kind {
        PartKind::Text => false,
        PartKind::Thought { .. } => is_google,
        PartKind::Reasoning => true,
    };
    let mut part = json!({ "text": text });
    if is_thought {
        part["thought"] = true.into();
    }
    part
}

fn image() -> Value {
    json!({ "inlineData": { "mimeType": "image/png", "data": IMAGE } })
}

/// The parts of a complete response.
fn parts(body: &Body, style: &Style) -> Vec<Value> {
    match body {
        Body::Nothing | Body::OnlyRole | Body::FilteredCall => Vec::new(),
        Body::Image { signature } => vec![signed(image(), signature.as_deref())],
        Body::Text { parts, signature } => {
            let last = parts.len().saturating_sub(1);
            let each = parts.iter().enumerate().map(|(nth, part)| {
                let signature = signature.as_deref().filter(|_| nth == last);
                signed(text(part.kind, &part.text, style.is_google), signature)
            });
            each.collect()
        }
        Body::Calls { calls, signature, .. } => {
            let each = calls.iter().enumerate().map(|(nth, named)| {
                let arguments = partial_args::parsed(&named.call.arguments);
                let call = json!({ "name": named.call.name, "args": arguments });
                let signature = signature.as_deref().filter(|_| nth == 0);
                signed(json!({ "functionCall": call }), signature)
            });
            each.collect()
        }
    }
}

/// Some parts in succession, made as they are sent.
struct Segment {
    count: usize,
    part: Box<dyn Fn(usize) -> Value + Send>,
}

impl Segment {
    fn one(part: Value) -> Self {
        Self { count: 1, part: Box::new(move |_| part.clone()) }
    }
}

fn part_at(segments: &[Segment], mut index: usize) -> Value {
    for Segment { count, part } in segments {
        if index < *count {
            return part(index);
        }
        index -= count;
    }
    json!({ "text": "" })
}

fn segments(body: &Body, style: &Style, chunks: Option<usize>) -> Vec<Segment> {
    let is_trailing = style.behavior.signature != SignaturePlace::OnCall;
    let place = |signature: &Option<String>| match signature {
        Some(signature) if is_trailing => (None, Some(signature.clone())),
        other => (other.clone(), None),
    };
    let (mut segments, trailing) = match body {
        Body::Text { parts, signature } => {
            let (on_text, trailing) = place(signature);
            let last = parts.len().saturating_sub(1);
            let each = parts.iter().enumerate().map(|(nth, part)| {
                let signature = on_text.clone().filter(|_| nth == last);
                text_segment(part, signature, style.is_google, chunks)
            });
            (each.collect(), trailing)
        }
        Body::Calls { calls, signature, .. } if style.streams_arguments => {
            let (on_call, trailing) = place(signature);
            let each = calls.iter().enumerate().flat_map(|(nth, named)| {
                let signature = on_call.as_deref().filter(|_| nth == 0);
                let parts = partial_args::parts(&named.call.name, &named.call.arguments, chunks);
                let parts = parts.into_iter().enumerate();
                let signed = parts.map(|(at, part)| signed(part, signature.filter(|_| at == 0)));
                signed.map(Segment::one).collect::<Vec<_>>()
            });
            (each.collect(), trailing)
        }
        Body::Calls { .. } | Body::Image { .. } => {
            let mut parts = parts(body, style);
            let trailing = parts
                .first_mut()
                .filter(|_| is_trailing)
                .and_then(Value::as_object_mut)
                .and_then(|part| part.remove("thoughtSignature"));
            let trailing = trailing.as_ref().and_then(Value::as_str).map(str::to_owned);
            (parts.into_iter().map(Segment::one).collect(), trailing)
        }
        // The last chunk has an empty text.
        Body::Nothing | Body::OnlyRole | Body::FilteredCall => {
            (vec![Segment::one(json!({ "text": "" }))], None)
        }
    };
    if trailing.is_some() {
        segments.push(Segment::one(signed(json!({ "text": "" }), trailing.as_deref())));
    }
    segments
}

fn text_segment(
    part: &Part,
    signature: Option<String>,
    is_google: bool,
    chunks: Option<usize>,
) -> Segment {
    let kind = part.kind;
    let chunks = if kind == PartKind::Text { chunks } else { Some(THOUGHT_CHUNKS) };
    let pieces = Pieces::new(part.text.as_str(), chunks);
    let count = pieces.count();
    let part = move |index: usize| {
        let signature = signature.as_deref().filter(|_| index + 1 == count);
        signed(text(kind, pieces.get(index), is_google), signature)
    };
    Segment { count, part: Box::new(part) }
}
