//! The messages of requests.
//!
//! The fields are those of google-cloud-aiplatform 2.7 (`aiplatform_v1beta1`), and those that
//! google-genai 3.6 sends to Vertex AI besides. Parts of a request that have no effect in the
//! emulator, such as the configuration of a grounding tool, may have any fields.

mod tools;

use self::tools::{SCHEMA, TOOL, TOOL_CONFIG};
use super::proto::{
    Enum, Field,
    Kind::{self, Any, Bool, Bytes, Double, Float, Int32, Struct, Text},
    Message,
};

/// One field: its name and its type.
const fn one(name: &'static str, kind: Kind) -> Field {
    Field::one(name, kind)
}

const fn list(name: &'static str, kind: Kind) -> Field {
    Field::list(name, kind)
}

const fn of(message: &'static Message) -> Kind {
    Kind::Message(message)
}

const fn data(name: &'static str, kind: Kind) -> Field {
    Field::one(name, kind).oneof("data")
}

pub(super) static GENERATE_CONTENT: Message = Message {
    name: "GenerateContentRequest",
    fields: &[
        one("model", Text),
        list("contents", of(&CONTENT)),
        one("system_instruction", of(&CONTENT)),
        one("cached_content", Text),
        list("tools", of(&TOOL)),
        one("tool_config", of(&TOOL_CONFIG)),
        Field::map("labels", Text),
        list("safety_settings", of(&SAFETY_SETTING)),
        one("model_armor_config", of(&MODEL_ARMOR_CONFIG)),
        one("generation_config", of(&GENERATION_CONFIG)),
        one("service_tier", Text),
        one("continuation_token", Bytes),
        one("output_config", Any),
    ],
};

pub(super) static COUNT_TOKENS: Message = Message {
    name: "CountTokensRequest",
    fields: &[
        one("endpoint", Text),
        one("model", Text),
        list("instances", Any),
        list("contents", of(&CONTENT)),
        one("system_instruction", of(&CONTENT)),
        list("tools", of(&TOOL)),
        one("generation_config", of(&GENERATION_CONFIG)),
    ],
};

pub(super) static COMPUTE_TOKENS: Message = Message {
    name: "ComputeTokensRequest",
    fields: &[
        one("endpoint", Text),
        one("model", Text),
        list("instances", Any),
        list("contents", of(&CONTENT)),
    ],
};

pub(super) static EMBED_CONTENT: Message = Message {
    name: "EmbedContentRequest",
    fields: &[
        one("model", Text),
        one("content", of(&CONTENT)),
        one("title", Text),
        one("task_type", Kind::Enum(&EMBEDDING_TASK_TYPE)),
        one("output_dimensionality", Int32),
        one("auto_truncate", Bool),
        one("embed_content_config", of(&EMBED_CONTENT_CONFIG)),
    ],
};

/// The definition is not published. google-genai 3.6 sends these requests, and the libraries for the
/// Gemini API send the name of the model in each one.
pub(super) static BATCH_EMBED_CONTENTS: Message = Message {
    name: "BatchEmbedContentsRequest",
    fields: &[one("model", Text), list("requests", of(&EMBED_CONTENT))],
};

static EMBED_CONTENT_CONFIG: Message = Message {
    name: "EmbedContentRequest.EmbedContentConfig",
    fields: &[
        one("title", Text),
        one("task_type", Kind::Enum(&EMBEDDING_TASK_TYPE)),
        one("auto_truncate", Bool),
        one("output_dimensionality", Int32),
        one("document_ocr", Bool),
        one("audio_track_extraction", Bool),
    ],
};

static EMBEDDING_TASK_TYPE: Enum = Enum {
    name: "EmbedContentRequest.EmbeddingTaskType",
    values: &[
        "UNSPECIFIED",
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    ],
};

pub(super) static PREDICT: Message = Message {
    name: "PredictRequest",
    fields: &[
        one("endpoint", Text),
        list("instances", Any),
        one("parameters", Any),
        Field::map("labels", Text),
    ],
};

static CONTENT: Message =
    Message { name: "Content", fields: &[one("role", Text), list("parts", of(&PART))] };

static PART: Message = Message {
    name: "Part",
    fields: &[
        data("text", Text),
        data("inline_data", of(&BLOB)),
        data("file_data", of(&FILE_DATA)),
        data("function_call", of(&FUNCTION_CALL)),
        data("function_response", of(&FUNCTION_RESPONSE)),
        data("executable_code", of(&EXECUTABLE_CODE)),
        data("code_execution_result", of(&CODE_EXECUTION_RESULT)),
        one("video_metadata", of(&VIDEO_METADATA)),
        one("thought", Bool),
        one("thought_signature", Bytes),
        one("media_resolution", of(&PART_MEDIA_RESOLUTION)),
        one("audio_transcription", Any),
        one("media_processing", Any),
        one("speech_metadata", Any),
        one("document_metadata", Any),
        one("spreadsheet_metadata", Any),
        one("audio_metadata", Any),
    ],
};

static BLOB: Message = Message {
    name: "Blob",
    fields: &[one("mime_type", Text), one("data", Bytes), one("display_name", Text)],
};

static FILE_DATA: Message = Message {
    name: "FileData",
    fields: &[one("mime_type", Text), one("file_uri", Text), one("display_name", Text)],
};

static FUNCTION_CALL: Message = Message {
    name: "FunctionCall",
    fields: &[
        one("id", Text),
        one("name", Text),
        one("args", Struct),
        list("partial_args", Any),
        one("will_continue", Bool),
    ],
};

static FUNCTION_RESPONSE: Message = Message {
    name: "FunctionResponse",
    fields: &[
        one("id", Text),
        one("name", Text),
        one("response", Struct),
        list("parts", Any),
        one("will_continue", Bool),
        one("scheduling", Text),
    ],
};

static EXECUTABLE_CODE: Message = Message {
    name: "ExecutableCode",
    fields: &[one("language", Kind::Enum(&LANGUAGE)), one("code", Text)],
};

static LANGUAGE: Enum =
    Enum { name: "ExecutableCode.Language", values: &["LANGUAGE_UNSPECIFIED", "PYTHON"] };

static CODE_EXECUTION_RESULT: Message = Message {
    name: "CodeExecutionResult",
    fields: &[one("outcome", Kind::Enum(&OUTCOME)), one("output", Text)],
};

static OUTCOME: Enum = Enum {
    name: "CodeExecutionResult.Outcome",
    values: &["OUTCOME_UNSPECIFIED", "OUTCOME_OK", "OUTCOME_FAILED", "OUTCOME_DEADLINE_EXCEEDED"],
};

static VIDEO_METADATA: Message = Message {
    name: "VideoMetadata",
    fields: &[
        one("start_offset", Text),
        one("end_offset", Text),
        one("fps", Double),
        list("content_layers", Any),
    ],
};

static PART_MEDIA_RESOLUTION: Message = Message {
    name: "PartMediaResolution",
    fields: &[one("level", Text), one("num_tokens", Int32)],
};

static SAFETY_SETTING: Message = Message {
    name: "SafetySetting",
    fields: &[
        one("category", Kind::Enum(&HARM_CATEGORY)),
        one("threshold", Kind::Enum(&HARM_BLOCK_THRESHOLD)),
        one("method", Kind::Enum(&HARM_BLOCK_METHOD)),
    ],
};

static HARM_CATEGORY: Enum = Enum {
    name: "HarmCategory",
    values: &[
        "HARM_CATEGORY_UNSPECIFIED",
        "HARM_CATEGORY_HATE_SPEECH",
        "HARM_CATEGORY_DANGEROUS_CONTENT",
        "HARM_CATEGORY_HARASSMENT",
        "HARM_CATEGORY_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_CIVIC_INTEGRITY",
        "HARM_CATEGORY_IMAGE_HATE",
        "HARM_CATEGORY_IMAGE_DANGEROUS_CONTENT",
        "HARM_CATEGORY_IMAGE_HARASSMENT",
        "HARM_CATEGORY_IMAGE_SEXUALLY_EXPLICIT",
        "HARM_CATEGORY_JAILBREAK",
    ],
};

static HARM_BLOCK_THRESHOLD: Enum = Enum {
    name: "SafetySetting.HarmBlockThreshold",
    values: &[
        "HARM_BLOCK_THRESHOLD_UNSPECIFIED",
        "BLOCK_LOW_AND_ABOVE",
        "BLOCK_MEDIUM_AND_ABOVE",
        "BLOCK_ONLY_HIGH",
        "BLOCK_NONE",
        "OFF",
    ],
};

static HARM_BLOCK_METHOD: Enum = Enum {
    name: "SafetySetting.HarmBlockMethod",
    values: &["HARM_BLOCK_METHOD_UNSPECIFIED", "SEVERITY", "PROBABILITY"],
};

static MODEL_ARMOR_CONFIG: Message = Message {
    name: "ModelArmorConfig",
    fields: &[one("prompt_template_name", Text), one("response_template_name", Text)],
};

static GENERATION_CONFIG: Message = Message {
    name: "GenerationConfig",
    fields: &[
        one("temperature", Float),
        one("top_p", Float),
        one("top_k", Float),
        one("candidate_count", Int32),
        one("max_output_tokens", Int32),
        list("stop_sequences", Text),
        one("response_logprobs", Bool),
        one("logprobs", Int32),
        one("presence_penalty", Float),
        one("frequency_penalty", Float),
        one("seed", Int32),
        one("response_mime_type", Text),
        one("response_schema", of(&SCHEMA)),
        one("response_json_schema", Any),
        one("routing_config", Any),
        one("audio_timestamp", Bool),
        list("response_modalities", Kind::Enum(&MODALITY)),
        one("media_resolution", Kind::Enum(&MEDIA_RESOLUTION)),
        one("speech_config", Any),
        one("thinking_config", of(&THINKING_CONFIG)),
        one("model_config", Any),
        one("image_config", Any),
        one("enable_affective_dialog", Bool),
        list("response_format", Any),
        one("translation_config", Any),
        one("audio_transcription_config", Any),
    ],
};

static MODALITY: Enum = Enum {
    name: "GenerationConfig.Modality",
    values: &["MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO", "VIDEO"],
};

static MEDIA_RESOLUTION: Enum = Enum {
    name: "GenerationConfig.MediaResolution",
    values: &[
        "MEDIA_RESOLUTION_UNSPECIFIED",
        "MEDIA_RESOLUTION_LOW",
        "MEDIA_RESOLUTION_MEDIUM",
        "MEDIA_RESOLUTION_HIGH",
    ],
};

static THINKING_CONFIG: Message = Message {
    name: "GenerationConfig.ThinkingConfig",
    fields: &[
        one("include_thoughts", Bool),
        one("thinking_budget", Int32),
        one("thinking_level", Kind::Enum(&THINKING_LEVEL)),
    ],
};

static THINKING_LEVEL: Enum = Enum {
    name: "GenerationConfig.ThinkingConfig.ThinkingLevel",
    values: &["THINKING_LEVEL_UNSPECIFIED", "LOW", "MEDIUM", "HIGH", "MINIMAL", "XHIGH"],
};
