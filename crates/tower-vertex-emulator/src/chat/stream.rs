//! The chunks of a streamed chat.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    super::{head::Head, pieces::Pieces, sse::Script},
    behavior::{
        ChatBehavior, ChoiceShape, SignaturePlace, StopAfterCalls, StreamEvent, ToolStream,
    },
    choice::{Body, Choice, NamedCall, Part, PartKind, function_call, image, signed},
    events,
};

/// Number of chunks of the thoughts.
const THOUGHT_CHUNKS: usize = 2;

/// Some deltas of one choice, made as they are sent.
struct Segment {
    count: usize,
    delta: Box<dyn Fn(usize) -> Value + Send>,
}

impl Segment {
    fn one(delta: Value) -> Self {
        Self { count: 1, delta: Box::new(move |_| delta.clone()) }
    }

    fn pieces(pieces: Pieces, delta: impl Fn(&Pieces, usize) -> Value + Send + 'static) -> Self {
        let count = pieces.count();
        Self { count, delta: Box::new(move |index| delta(&pieces, index)) }
    }
}

/// The settings that the choices of one response share.
pub(crate) struct Style {
    pub(crate) is_google: bool,
    pub(crate) behavior: ChatBehavior,
    pub(crate) tool_stream: ToolStream,
    pub(crate) chunks: Option<usize>,
    pub(crate) usage_place: UsagePlace,
}

/// The place of the usage in a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum UsagePlace {
    /// In the last chunk with a choice, as Google sends it.
    LastChoice,
    /// In a chunk of its own without choices, as OpenAI sends it if `include_usage` is set.
    Apart,
    Nowhere,
}

/// The place of a chunk in its stream.
struct Place {
    choice: usize,
    segment: usize,
    /// The number of the delta in its segment.
    delta: usize,
    is_first: bool,
    is_last: bool,
}

/// A stream of these choices, one after the other.
pub(crate) fn script(
    head: Head,
    choices: Vec<Choice>,
    usage: Option<Value>,
    style: Style,
) -> Script {
    let segments: Vec<Vec<Segment>> =
        choices.iter().map(|choice| segments(choice, &style)).collect();
    let reasons: Vec<Option<String>> =
        choices.iter().map(|choice| finish_reason(choice, &style.behavior)).collect();
    let deltas: usize = segments.iter().flatten().map(|segment| segment.count).sum();
    let usage_place = style.usage_place;
    let is_apart = usage_place == UsagePlace::Apart && usage.is_some();
    let chunks = deltas + usize::from(is_apart);
    let form = "chat.completion.chunk";
    let chunk = {
        let behavior = style.behavior.clone();
        let is_bare = behavior.choice == ChoiceShape::WithoutMessage;
        move |index: usize| {
            if index >= deltas {
                let mut body = head.body(form, json!([]));
                body["usage"] = usage.clone().unwrap_or_default();
                return body;
            }
            let place = place(&segments, index);
            let mut delta = (segments[place.choice][place.segment].delta)(place.delta);
            // Google's chunks all have the role; OpenAI's clients expect it once.
            if (style.is_google || place.is_first) && !is_bare {
                delta["role"] = "assistant".into();
            }
            let mut choice = json!({ "index": place.choice, "delta": delta, "logprobs": null });
            let reason = reasons[place.choice].as_deref().filter(|_| place.is_last);
            match reason {
                Some(reason) => choice["finish_reason"] = reason.into(),
                None if style.is_google => {}
                None => choice["finish_reason"] = Value::Null,
            }
            let mut body = head.body(form, json!([choice]));
            if index + 1 == deltas
                && usage_place == UsagePlace::LastChoice
                && let Some(usage) = &usage
            {
                body["usage"] = usage.clone();
            }
            if behavior.has(StreamEvent::NoFinish)
                && let Some(choice) = body["choices"][0].as_object_mut()
            {
                choice.remove("finish_reason");
            }
            body
        }
    };
    let behavior = style.behavior;
    let is_broken = behavior.has(StreamEvent::Error) || behavior.has(StreamEvent::BareError);
    let (before_error, chunks) =
        if is_broken { (deltas / 2, deltas / 2 + 1) } else { (usize::MAX, chunks) };
    let has_done = !is_broken && !behavior.has(StreamEvent::NoDone);
    let end = has_done.then(|| Bytes::from(events::frame("[DONE]", &behavior)));
    let text = move |index: usize| {
        if index == before_error {
            return Bytes::from(events::error(&behavior));
        }
        let is_edge = index == 0 || index + 1 == chunks;
        Bytes::from(events::chunk(&chunk(index), is_edge, &behavior))
    };
    Script { chunks, chunk: Box::new(text), end }
}

fn place(segments: &[Vec<Segment>], mut index: usize) -> Place {
    for (choice, of_choice) in segments.iter().enumerate() {
        let mut is_first = true;
        for (segment, Segment { count, .. }) in of_choice.iter().enumerate() {
            if index < *count {
                let is_last = segment + 1 == of_choice.len() && index + 1 == *count;
                let is_first = is_first && index == 0;
                return Place { choice, segment, delta: index, is_first, is_last };
            }
            index -= count;
            is_first = false;
        }
    }
    Place { choice: 0, segment: 0, delta: 0, is_first: false, is_last: false }
}

fn finish_reason(choice: &Choice, behavior: &ChatBehavior) -> Option<String> {
    let stops = behavior.stop_after_calls != StopAfterCalls::No;
    let reason = choice.finish_reason.clone()?;
    Some(if stops && reason == "tool_calls" { "stop".into() } else { reason })
}

fn segments(choice: &Choice, style: &Style) -> Vec<Segment> {
    match &choice.body {
        Body::Nothing | Body::OnlyRole => vec![Segment::one(json!({}))],
        Body::FilteredCall => vec![Segment::one(json!({ "extra_content": { "google": {} } }))],
        Body::Image { signature } => vec![Segment::one(image(signature.as_deref()))],
        Body::Text { parts, signature } => text_segments(parts, signature.as_deref(), style),
        Body::Calls { calls, is_legacy: true, .. } => {
            vec![Segment::one(json!({ "function_call": function_call(calls) }))]
        }
        Body::Calls { calls, signature, .. } => call_segments(calls, signature.as_deref(), style),
    }
}

fn text_segments(parts: &[Part], signature: Option<&str>, style: &Style) -> Vec<Segment> {
    let on_call = signature.filter(|_| style.behavior.signature == SignaturePlace::OnCall);
    let mut segments: Vec<Segment> = Vec::new();
    for (nth, Part { kind, text }) in parts.iter().enumerate() {
        let kind = *kind;
        let chunks = if kind == PartKind::Text { style.chunks } else { Some(THOUGHT_CHUNKS) };
        let signature = on_call.filter(|_| nth + 1 == parts.len()).map(str::to_owned);
        let pieces = Pieces::new(text.as_str(), chunks);
        segments.push(Segment::pieces(pieces, move |pieces, index| {
            let member = if kind == PartKind::Reasoning { "reasoning_content" } else { "content" };
            let mut delta = json!({ member: pieces.get(index) });
            if kind == (PartKind::Thought { flag: true }) {
                delta["extra_content"] = json!({ "google": { "thought": true } });
            }
            if let Some(signature) = signature.as_deref()
                && index + 1 == pieces.count()
            {
                delta["extra_content"] = signed(signature);
            }
            delta
        }));
    }
    if let (Some(signature), None) = (signature, on_call) {
        segments.push(trailing_text(signature));
    }
    segments
}

fn trailing_text(signature: &str) -> Segment {
    Segment::one(json!({ "content": "", "extra_content": signed(signature) }))
}

fn call_segments(calls: &[NamedCall], signature: Option<&str>, style: &Style) -> Vec<Segment> {
    let place = style.behavior.signature;
    let on_call = signature.filter(|_| place == SignaturePlace::OnCall);
    let all = calls.len();
    let mut segments: Vec<Segment> = calls
        .iter()
        .enumerate()
        .map(|(nth, call)| {
            let signature = on_call.filter(|_| nth == 0).map(str::to_owned);
            call_segment(call.clone(), nth, all, signature, style)
        })
        .collect();
    match (signature, place) {
        (None, _) | (_, SignaturePlace::OnCall) => {}
        (Some(signature), SignaturePlace::Trailing) => segments.push(trailing_text(signature)),
        (Some(signature), SignaturePlace::TrailingCall) => {
            let call = json!({ "extra_content": signed(signature) });
            segments.push(Segment::one(json!({ "tool_calls": [call] })));
        }
    }
    if style.behavior.stop_after_calls == StopAfterCalls::TwoChunks {
        segments.push(Segment::one(json!({ "content": "" })));
    }
    segments
}

/// The deltas of the call with the number `nth` of `all`.
fn call_segment(
    call: NamedCall,
    nth: usize,
    all: usize,
    signature: Option<String>,
    style: &Style,
) -> Segment {
    let mode = style.tool_stream;
    let is_in_pieces = matches!(mode, ToolStream::OpenAi | ToolStream::AsDocumented);
    let pieces = Pieces::new(
        call.call.arguments.as_str(),
        if is_in_pieces { style.chunks } else { Some(1) },
    );
    Segment::pieces(pieces, move |pieces, index| {
        let is_first = index == 0;
        let signature = signature.as_deref().filter(|_| is_first);
        let piece = pieces.get(index);
        let mut delta = if mode == ToolStream::OpenAi && !is_first {
            json!({ "function": { "arguments": piece } })
        } else {
            call.piece(piece, signature)
        };
        match mode {
            ToolStream::NoIndex => {}
            ToolStream::NullIndex => delta["index"] = Value::Null,
            ToolStream::IndexZero => delta["index"] = 0.into(),
            // Google's sample has two calls. The index for another number of calls is assumed.
            ToolStream::AsDocumented if is_first => {
                delta["index"] = if all == 1 { 1 } else { (nth + 1) % all }.into();
            }
            _ => delta["index"] = nth.into(),
        }
        if mode == ToolStream::EmptyIds {
            delta["id"] = "".into();
        }
        json!({ "tool_calls": [delta] })
    })
}
