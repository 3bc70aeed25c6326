//! Settings of the chat responses: the shapes that Vertex AI sends, or is said to send.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The shapes of chat responses. The default is the shape that Google documents.
///
/// Each setting stands for a shape that Google documents or that users report. The manual
/// (`docs/emulator.md`) has the sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChatBehavior {
    /// How tool calls are streamed. `None` is [`ToolStream::Whole`] for Google's models, and
    /// [`ToolStream::OpenAi`] for others. A request of Google's models with
    /// `extra_body.google.stream_function_call_arguments` gets [`ToolStream::AsDocumented`]
    /// instead of the default.
    pub tool_stream: Option<ToolStream>,
    /// The place of the thought signature in a stream.
    pub signature: SignaturePlace,
    /// Whether requests without a valid thought signature are refused. `None` refuses them for
    /// Gemini 3, except its image models; `Some(true)` for every model of Google.
    pub demand_signatures: Option<bool>,
    /// Whether a stream ends with the finish reason `stop` after tool calls.
    pub stop_after_calls: StopAfterCalls,
    /// The finish reason of every response. Google's composite reasons also change the message:
    /// `content_filter: PROHIBITED_CONTENT` removes it, other reasons of `content_filter` keep only
    /// its role (a stream has sent its text before), and `function_call_filter` keeps its role and
    /// an empty `extra_content`.
    pub finish_reason: Option<String>,
    /// The completeness of a choice.
    pub choice: ChoiceShape,
    /// The completeness of the usage.
    pub usage: UsageShape,
    /// Events that a stream has besides its chunks, or lacks.
    pub stream_events: Vec<StreamEvent>,
    /// The encoding of embeddings.
    pub embeddings: EmbeddingEncoding,
    /// How thoughts are marked, if the request includes them and names no `thought_tag_marker`.
    pub thoughts: ThoughtMark,
    /// The models that `/responses` serves on `openapi`.
    pub responses: ResponsesModels,
}

impl ChatBehavior {
    pub(crate) fn has(&self, event: StreamEvent) -> bool {
        self.stream_events.contains(&event)
    }
}

/// The shape of streamed tool calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ToolStream {
    /// Each call is complete in a chunk of its own, with the right index.
    Whole,
    /// The first chunk of a call has its index, id and name; the others have the index and a piece
    /// of the arguments.
    #[serde(rename = "openai")]
    OpenAi,
    /// As [`Whole`](Self::Whole), without `index`, as Google's Gemini API sends it.
    NoIndex,
    /// As [`Whole`](Self::Whole), with `"index": null`.
    NullIndex,
    /// As [`Whole`](Self::Whole), with the index 0 for every call.
    IndexZero,
    /// As [`Whole`](Self::Whole), with empty ids, as Gemini sent them until the end of 2025.
    EmptyIds,
    /// Google's documented sample of `stream_function_call_arguments`: the arguments come in
    /// pieces, every chunk repeats the id, the type and the name, and the first chunk of a call has
    /// the index of the other call.
    AsDocumented,
}

/// The place of a thought signature in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SignaturePlace {
    /// On the first call of a step, and on the last chunk of a text.
    #[default]
    OnCall,
    /// In a last delta with an empty text, which Google's page about signatures announces.
    Trailing,
    /// In a last delta with a tool call that has neither index nor id, which users report.
    TrailingCall,
}

/// The finish reason of a stream that calls tools. `false`, `true` or `"two_chunks"` in JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopAfterCalls {
    /// The finish reason is `tool_calls`.
    #[default]
    No,
    /// The chunk of the last call has the finish reason `stop`.
    SameChunk,
    /// A chunk of its own, after the last call, has the finish reason `stop`.
    TwoChunks,
}

impl Serialize for StopAfterCalls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => serializer.serialize_bool(false),
            Self::SameChunk => serializer.serialize_bool(true),
            Self::TwoChunks => serializer.serialize_str("two_chunks"),
        }
    }
}

impl<'de> Deserialize<'de> for StopAfterCalls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "stop_after_calls must be true, false or \"two_chunks\"")]
        enum Form {
            Bool(bool),
            Word(Word),
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Word {
            TwoChunks,
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Bool(false) => Self::No,
            Form::Bool(true) => Self::SameChunk,
            Form::Word(Word::TwoChunks) => Self::TwoChunks,
        })
    }
}

/// The completeness of a choice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ChoiceShape {
    /// The choice has a message and a finish reason.
    #[default]
    Whole,
    /// The choice has no `message` (in a stream: an empty `delta`).
    WithoutMessage,
    /// The message has only its role, and there is no finish reason.
    OnlyRole,
}

/// The completeness of the usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UsageShape {
    /// The usage of Vertex AI, with reasoning tokens beside those of the completion.
    #[default]
    Google,
    /// Neither `prompt_tokens` nor `completion_tokens`.
    WithoutCounts,
    /// No `usage`.
    Missing,
}

/// A deviation of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StreamEvent {
    /// `data: : keepalive` before the first and the last chunk, as some partner models send it.
    KeepAlive,
    /// An event with empty data before the first and the last chunk.
    EmptyData,
    /// The JSON of each chunk is spread over several `data:` lines of one event.
    MultiLineData,
    /// Events are separated by one line break instead of an empty line.
    SingleNewlines,
    /// An error object in an event after half of the chunks, and then the end of the stream.
    Error,
    /// The same error object without `data:`, which one user reports.
    BareError,
    /// No `data: [DONE]`.
    NoDone,
    /// No finish reason.
    NoFinish,
    /// An event `vertex_event` with the usage in the streams of Claude, as some users report it.
    VertexEvent,
}

/// The encoding of embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmbeddingEncoding {
    /// Numbers or base64, as `encoding_format` says.
    #[default]
    AsAsked,
    /// Numbers, regardless of `encoding_format`.
    Floats,
    /// An error if `encoding_format` is `base64`.
    RefuseBase64,
}

/// The mark of thoughts without a `thought_tag_marker`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ThoughtMark {
    /// The deltas of a stream have `"extra_content": {"google": {"thought": true}}`. The thoughts
    /// of a complete response precede its text, without a mark.
    #[default]
    Flag,
    /// The thoughts precede the text, without a mark.
    Nothing,
}

/// The models that `/responses` serves on `openapi`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ResponsesModels {
    /// Only `xai/*`, for which Google documents it, and by Google's rules: no stored responses.
    #[default]
    Xai,
    /// All models, and stored responses.
    Any,
}

/// The thought signatures in the requests so far, one for each checked step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SignatureCounts {
    /// Signatures of this emulator, for this model, step and call.
    pub valid: u64,
    /// Google's placeholder `skip_thought_signature_validator`.
    pub placeholder: u64,
    /// Steps whose first call had no signature.
    pub missing: u64,
    /// Signatures that are damaged, or belong to another model, step or call.
    pub wrong: u64,
}
