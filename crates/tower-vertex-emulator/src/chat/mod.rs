//! Chat completions.
//!
//! | module | purpose |
//! |---|---|
//! | `behavior` | the settings |
//! | `content` | the content of a response |
//! | `calls` | the tools that are called |
//! | `signatures` | thought signatures |
//! | `thoughts` | thoughts in a response |
//! | `limits` | `max_tokens`, `stop` and `n` |
//! | `choice` | a choice, as a message |
//! | `stream`, `events` | the same as chunks, and their framing |

mod behavior;
pub(crate) mod calls;
pub(crate) mod choice;
pub(crate) mod content;
mod events;
pub(crate) mod limits;
mod signatures;
mod stream;
pub(crate) mod thoughts;

use std::sync::Mutex;

use serde_json::{Map, Value};

pub use self::behavior::{
    ChatBehavior, ChoiceShape, EmbeddingEncoding, ResponsesModels, SignatureCounts, SignaturePlace,
    StopAfterCalls, StreamEvent, ThoughtMark, ToolStream, UsageShape,
};
use self::{
    calls::{Call, Offer},
    choice::{Body, Choice, NamedCall},
    content::Content,
    limits::Limits,
    signatures::Signer,
    stream::{Style, UsagePlace},
};
use super::{
    head::{Head, uuid},
    models::Model,
    sse::Script,
    state::lock,
    usage::{Cost, Tally, google_options},
};

/// The settings of the chat responses, and the signatures.
pub(crate) struct ChatState {
    behavior: Mutex<ChatBehavior>,
    counts: Mutex<SignatureCounts>,
    signer: Signer,
}

impl ChatState {
    pub(crate) fn new(behavior: ChatBehavior) -> Self {
        Self { behavior: Mutex::new(behavior), counts: Mutex::default(), signer: Signer::new() }
    }

    pub(crate) fn behavior(&self) -> ChatBehavior {
        lock(&self.behavior).clone()
    }

    pub(crate) fn set_behavior(&self, behavior: ChatBehavior) {
        *lock(&self.behavior) = behavior;
    }

    pub(crate) fn counts(&self) -> SignatureCounts {
        *lock(&self.counts)
    }

    /// The signature of a text or of thoughts.
    pub(crate) fn sign_text(&self, model: &str, text: &str) -> String {
        self.signer.of_text(model, text)
    }

    /// Adds to the counts of signatures.
    pub(crate) fn count_signatures(&self, new: SignatureCounts) {
        let mut counts = lock(&self.counts);
        counts.valid += new.valid;
        counts.placeholder += new.placeholder;
        counts.missing += new.missing;
        counts.wrong += new.wrong;
    }

    pub(crate) fn reset_counts(&self) {
        *lock(&self.counts) = SignatureCounts::default();
    }
}

/// A request for a chat.
pub(crate) struct ChatRequest<'a> {
    pub(crate) state: &'a ChatState,
    /// The name in the request.
    pub(crate) name: &'a str,
    pub(crate) model: &'a Model,
    pub(crate) messages: &'a [Value],
    pub(crate) asked: &'a Map<String, Value>,
    pub(crate) cost: Cost,
}

impl ChatRequest<'_> {
    fn is_google(&self) -> bool {
        self.model.publisher == "google"
    }
}

/// A response to a chat.
pub(crate) struct Chat {
    head: Head,
    choices: Vec<Choice>,
    usage: Option<Value>,
    style: Style,
}

/// A response before it has the form of a protocol.
pub(crate) struct Outcome {
    pub(crate) body: Body,
    /// Whether the limit of tokens cut the response.
    pub(crate) is_cut: bool,
    /// The tokens of all choices.
    pub(crate) tally: Tally,
    pub(crate) choices: u64,
}

impl Outcome {
    fn finish_reason(&self) -> &'static str {
        match self.body {
            _ if self.is_cut => "length",
            Body::Calls { is_legacy: true, .. } => "function_call",
            Body::Calls { .. } => "tool_calls",
            _ => "stop",
        }
    }
}

/// Returns the outcome, or the refusal.
pub(crate) fn outcome(
    request: &ChatRequest<'_>,
    behavior: &ChatBehavior,
) -> Result<Outcome, Refusal> {
    let ChatRequest { name, model, asked, .. } = *request;
    // Google's models have a format of their own.
    let is_google = request.is_google();
    let is_signed = is_google && signs(model, behavior);
    if is_signed {
        check_signatures(request, behavior)?;
    }
    let stripped = if is_google { thoughts::strip(asked, request.messages) } else { None };
    let messages = stripped.as_deref().unwrap_or(request.messages);
    let offer = Offer::of(asked)?;
    let limits = Limits::of(asked)?;
    let (said, content) = content::choose(messages, asked, &offer, is_google)?;
    let content = match content {
        Content::Text(text) => Content::Text(limits.cut_at_stop(text)),
        calls @ Content::Calls(_) => calls,
    };
    let length = content.tokens();
    let tally = request.cost.tally(&said, length, limits.most_tokens);
    let signature = is_signed.then(|| sign(request, messages, &content)).flatten();
    let is_cut = tally.completion < length;
    let body = match content {
        // The thoughts took all tokens. It is assumed that a call which does not fit vanishes.
        _ if is_cut && tally.completion == 0 => Body::Nothing,
        Content::Calls(_) if is_cut => Body::OnlyRole,
        Content::Text(_) if is_google && asks_for_image(model, asked) => Body::Image { signature },
        Content::Text(mut text) => {
            Limits::shorten(&mut text, tally.completion);
            let parts = thoughts::parts(name, is_google, asked, &request.cost, behavior, text);
            Body::Text { parts, signature }
        }
        Content::Calls(calls) => {
            let calls = calls.into_iter().map(|call| named(call, is_google)).collect();
            Body::Calls { calls, signature, is_legacy: offer.is_legacy }
        }
    };
    let is_cut = is_cut && !matches!(body, Body::Image { .. });
    Ok(Outcome { body, is_cut, tally: tally.times(limits.choices), choices: limits.choices })
}

/// Returns the response, or the refusal.
pub(crate) fn respond(request: &ChatRequest<'_>) -> Result<Chat, Refusal> {
    let behavior = request.state.behavior();
    let is_google = request.is_google();
    let outcome = outcome(request, &behavior)?;
    let reason = outcome.finish_reason();
    let Outcome { body, tally, choices, .. } = outcome;
    let has_thought_only = matches!(body, Body::Nothing);
    let choice = Choice { body, finish_reason: Some(reason.into()), is_withheld: false };
    let choice = altered(choice, &behavior);
    let choices = (0..choices).map(|_| renamed(choice.clone(), is_google)).collect();
    let usage = usage(tally.chat(), has_thought_only, &choice, &behavior);
    let tool_stream = behavior.tool_stream.unwrap_or_else(|| default_tool_stream(request));
    let usage_place = usage_place(request);
    let style = Style { is_google, behavior, tool_stream, chunks: None, usage_place };
    Ok(Chat { head: Head::new(request.name), choices, usage, style })
}

/// The refusal of a request.
pub(crate) enum Refusal {
    /// A fault in the request, which the emulator describes.
    Fault(String),
    /// The service's own words.
    Text(String),
}

impl Refusal {
    /// The message of the 400.
    pub(crate) fn into_message(self) -> String {
        match self {
            Self::Fault(what) => format!("Request contains an invalid argument: {what}."),
            Self::Text(text) => text,
        }
    }
}

impl From<String> for Refusal {
    fn from(fault: String) -> Self {
        Self::Fault(fault)
    }
}

impl Chat {
    /// A `chat.completion`.
    pub(crate) fn whole(&self) -> Value {
        let is_google = self.style.is_google;
        let choices = self.choices.iter().enumerate();
        let choices = choices.map(|(index, choice)| choice.whole(index, is_google)).collect();
        let mut body = self.head.body("chat.completion", choices);
        if let Some(usage) = &self.usage {
            body["usage"] = usage.clone();
        }
        body
    }

    /// The same as `chat.completion.chunk`s.
    pub(crate) fn stream(self, chunks: Option<usize>) -> Script {
        let style = Style { chunks, ..self.style };
        stream::script(self.head, self.choices, self.usage, style)
    }
}

/// Whether the responses of a model of Google carry thought signatures.
fn signs(model: &Model, behavior: &ChatBehavior) -> bool {
    model.is_gemini_since(3, 0) || behavior.demand_signatures == Some(true)
}

fn check_signatures(request: &ChatRequest<'_>, behavior: &ChatBehavior) -> Result<(), Refusal> {
    let ChatRequest { state, name, model, messages, .. } = *request;
    let checked = state.signer.check(name, messages);
    state.count_signatures(checked.counts);
    // Google's page exempts the image model of Gemini 3.
    let demands = behavior.demand_signatures.unwrap_or_else(|| !model.makes_images());
    match checked.refusal.filter(|_| demands) {
        Some(text) => Err(Refusal::Text(text)),
        None => Ok(()),
    }
}

/// The signature of a response.
fn sign(request: &ChatRequest<'_>, messages: &[Value], content: &Content) -> Option<String> {
    let (signer, name) = (&request.state.signer, request.name);
    match content {
        Content::Text(text) => Some(signer.of_text(name, text)),
        Content::Calls(calls) => calls.first().map(|call| {
            let step = signatures::steps_taken(messages);
            signer.of_call(name, step, &call.name, &call.arguments)
        }),
    }
}

fn usage_place(request: &ChatRequest<'_>) -> UsagePlace {
    let options = request.asked.get("stream_options");
    match options.and_then(|options| options.get("include_usage")) {
        // Google's models do not know `stream_options`, and always send the usage.
        _ if request.is_google() => UsagePlace::LastChoice,
        Some(Value::Bool(true)) => UsagePlace::Apart,
        _ => UsagePlace::Nowhere,
    }
}

fn asks_for_image(model: &Model, asked: &Map<String, Value>) -> bool {
    let modalities = asked.get("modalities").and_then(Value::as_array);
    model.makes_images() && modalities.is_some_and(|all| all.contains(&"image".into()))
}

fn default_tool_stream(request: &ChatRequest<'_>) -> ToolStream {
    if !request.is_google() {
        return ToolStream::OpenAi;
    }
    let google = google_options(request.asked);
    let asks = google.and_then(|google| google.get("stream_function_call_arguments"));
    if asks == Some(&Value::Bool(true)) { ToolStream::AsDocumented } else { ToolStream::Whole }
}

fn named(call: Call, is_google: bool) -> NamedCall {
    let id = if is_google {
        format!("function-call-{}", uuid())
    } else {
        format!("call_{}", uuid().replace('-', ""))
    };
    NamedCall { id, call }
}

/// The same choice with calls of its own.
fn renamed(mut choice: Choice, is_google: bool) -> Choice {
    if let Body::Calls { calls, .. } = &mut choice.body {
        for call in calls {
            *call = named(call.call.clone(), is_google);
        }
    }
    choice
}

/// The choice with the finish reason and the completeness that the settings say.
fn altered(mut choice: Choice, behavior: &ChatBehavior) -> Choice {
    if let Some(reason) = &behavior.finish_reason {
        match reason.split_once(':').map(|(kind, cause)| (kind, cause.trim())) {
            Some(("content_filter", "PROHIBITED_CONTENT")) => choice.body = Body::Nothing,
            Some(("content_filter", _)) => choice.is_withheld = true,
            Some(("function_call_filter", _)) => choice.body = Body::FilteredCall,
            _ => {}
        }
        choice.finish_reason = Some(reason.clone());
    }
    match behavior.choice {
        ChoiceShape::Whole => {}
        ChoiceShape::WithoutMessage => choice.body = Body::Nothing,
        ChoiceShape::OnlyRole => {
            choice.body = Body::OnlyRole;
            choice.finish_reason = None;
        }
    }
    choice
}

fn usage(
    mut usage: Value,
    has_thought_only: bool,
    choice: &Choice,
    behavior: &ChatBehavior,
) -> Option<Value> {
    let is_empty = matches!(choice.body, Body::Nothing | Body::OnlyRole | Body::FilteredCall);
    if let Some(counts) = usage.as_object_mut() {
        if has_thought_only {
            counts.remove("completion_tokens");
        } else if is_empty {
            let completion = counts.get("completion_tokens").and_then(Value::as_u64);
            let total = counts.get("total_tokens").and_then(Value::as_u64);
            let rest = total.unwrap_or_default().saturating_sub(completion.unwrap_or_default());
            counts.insert("completion_tokens".into(), 0.into());
            counts.insert("total_tokens".into(), rest.into());
        }
        if behavior.usage == UsageShape::WithoutCounts {
            counts.remove("completion_tokens");
            counts.remove("prompt_tokens");
        }
    }
    (behavior.usage != UsageShape::Missing).then_some(usage)
}
