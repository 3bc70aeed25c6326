//! The methods of Vertex AI that a publisher's model can be requested with.

use std::fmt;

use super::PublisherModel;
use crate::route::Protocol;

/// A method of Vertex AI that serves a model of a publisher.
///
/// Vertex AI's list of models does not name the methods. [`PublisherModel::methods`] derives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ModelMethod {
    /// OpenAI's `chat/completions` at the endpoint `openapi`.
    ChatCompletions,
    /// OpenAI's `embeddings` at the endpoint `openapi`.
    Embeddings,
    /// OpenAI's `responses`, at the endpoint `openapi` or at `publishers/openai`.
    Responses,
    /// `generateContent`, `streamGenerateContent` and `countTokens`.
    GenerateContent,
    /// `embedContent`.
    EmbedContent,
    /// `predict`, with `instances` that have a `content`.
    Predict,
    /// Anthropic's Messages, by `rawPredict` and `streamRawPredict`.
    Messages,
    /// `rawPredict` and `streamRawPredict` with the publisher's own body.
    RawPredict,
}

impl ModelMethod {
    /// The method's name, such as `chat/completions` or `generateContent`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Embeddings => "embeddings",
            Self::Responses => "responses",
            Self::GenerateContent => "generateContent",
            Self::EmbedContent => "embedContent",
            Self::Predict => "predict",
            Self::Messages => "messages",
            Self::RawPredict => "rawPredict",
        }
    }

    /// The protocol whose clients use the method.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::ChatCompletions | Self::Embeddings | Self::Responses => Protocol::OpenAi,
            Self::GenerateContent | Self::EmbedContent | Self::Predict | Self::RawPredict => {
                Protocol::Gemini
            }
            Self::Messages => Protocol::Anthropic,
        }
    }
}

impl fmt::Display for ModelMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Actions of the console that put the model's weights on an endpoint of one's own.
const DEPLOYMENTS: [&str; 3] = ["deploy", "multiDeployVertex", "deployGke"];
/// Actions that exist only for models that Google or the publisher runs.
const AS_A_SERVICE: [&str; 2] = ["openGenerationAiStudio", "requestAccess"];
/// The suffix of partners' and open models that run as a service.
const MAAS: &str = "-maas";
/// The first generation of Gemini that Google has not retired: all of 1.0, 1.5 and 2.0 are retired
/// since June 2026 (Google's page "Model versions and lifecycle").
const OLDEST_GENERATION: (u8, u8) = (2, 5);

/// The methods of a model, by its publisher, its name and its actions. [`PublisherModel::methods`]
/// documents the rules.
pub(super) fn methods(model: &PublisherModel) -> &'static [ModelMethod] {
    use ModelMethod::{
        ChatCompletions, EmbedContent, Embeddings, GenerateContent, Messages, Predict, RawPredict,
        Responses,
    };
    let id = model.id.as_str();
    let is_maas = id.ends_with(MAAS);
    if is_closed(model) || !is_maas && is_deployed_only(model) {
        return &[];
    }
    let is_for_vectors = has_word(id, &["embedding", "textembedding", "e5"]);
    match model.publisher.as_str() {
        "google" if id.starts_with("gemini-") => match () {
            // The rule of google-genai (`t_is_vertex_embed_content_model`).
            () if id == "gemini-embedding-001" => &[Predict],
            () if is_for_vectors => &[EmbedContent],
            // The Live API is a WebSocket, speech needs a voice, and computer use needs its tool.
            () if has_word(id, &["live", "audio", "tts", "computer"]) => &[],
            () if generation(id).is_some_and(|of| of < OLDEST_GENERATION) => &[],
            () => &[ChatCompletions, GenerateContent],
        },
        "google" if !is_maas => match id.starts_with("text-") && is_for_vectors {
            true => &[Predict],
            false => &[],
        },
        "anthropic" => {
            if id.starts_with("claude-") {
                &[Messages]
            } else {
                &[]
            }
        }
        "mistralai" => match has_word(id, &["ocr", "deploy"]) {
            true => &[],
            false => &[RawPredict],
        },
        "xai" => {
            if id.starts_with("grok-") {
                &[ChatCompletions, Responses]
            } else {
                &[]
            }
        }
        // OpenAI's own models, which only `publishers/openai` serves.
        "openai" if !is_maas => match id.starts_with("gpt-") && !id.starts_with("gpt-oss") {
            true => &[Responses],
            false => &[],
        },
        _ if !is_maas => &[],
        _ if is_for_vectors => &[Embeddings],
        _ if has_word(id, &["ocr", "guard", "image"]) => &[],
        _ => &[ChatCompletions],
    }
}

/// Whether the model is for invited projects alone.
fn is_closed(model: &PublisherModel) -> bool {
    matches!(model.launch_stage.as_str(), "DOGFOOD" | "PRIVATE_PREVIEW")
}

fn is_deployed_only(model: &PublisherModel) -> bool {
    let has = |wanted: &[&str]| {
        model.supported_actions.iter().any(|action| wanted.contains(&action.as_str()))
    };
    has(&DEPLOYMENTS) && !has(&AS_A_SERVICE)
}

/// Whether one of these is a word of the name, whose words are divided by hyphens.
fn has_word(id: &str, words: &[&str]) -> bool {
    id.split('-').any(|part| words.contains(&part))
}

/// The generation in `gemini-2.5-flash`; `None` for a name without one.
fn generation(id: &str) -> Option<(u8, u8)> {
    let version = id.split('-').nth(1)?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn methods_of(name: &str, stage: &str, actions: &[&str]) -> Vec<&'static str> {
        let actions = actions.iter().map(|action| ((*action).to_owned(), json!({})));
        let value = json!({
            "name": name,
            "launchStage": stage,
            "supportedActions": actions.collect::<serde_json::Map<_, _>>(),
        });
        let model = PublisherModel::parse(&value).expect(name);
        model.methods().iter().map(|method| method.as_str()).collect()
    }

    #[test]
    fn each_model_has_the_methods_that_serve_it() {
        const GEMINI: &[&str] = &["chat/completions", "generateContent"];
        const CHAT: &[&str] = &["chat/completions"];
        for (name, expected) in [
            ("google/gemini-2.5-flash", GEMINI),
            ("google/gemini-2.5-flash-preview-09-2025", GEMINI),
            ("google/gemini-3-pro-image-preview", GEMINI),
            ("google/gemini-3.1-pro-preview-customtools", GEMINI),
            ("google/gemini-nano-banana-2.1", GEMINI),
            ("google/gemini-10-flash", GEMINI),
            ("google/gemini-2.0-flash-001", &[]),
            ("google/gemini-1.5-pro-002", &[]),
            ("google/gemini-1.0-pro", &[]),
            ("google/gemini-live-2.5-flash-native-audio", &[]),
            ("google/gemini-2.5-flash-tts", &[]),
            ("google/gemini-2.5-computer-use-preview-10-2025", &[]),
            ("google/gemini-embedding-001", &["predict"]),
            ("google/gemini-embedding-2-preview", &["embedContent"]),
            ("google/text-embedding-005", &["predict"]),
            ("google/text-multilingual-embedding-002", &["predict"]),
            ("google/textembedding-gecko", &[]),
            ("google/text-bison", &[]),
            ("google/multimodalembedding", &[]),
            ("google/imagen-4.0-generate-001", &[]),
            ("google/veo-3.1-generate-preview", &[]),
            ("google/gemma-3-27b-it", &[]),
            ("google/gemma-4-26b-a4b-it-maas", CHAT),
            ("anthropic/claude-opus-4-8", &["messages"]),
            ("anthropic/claude-haiku-4-5@20251001", &["messages"]),
            ("anthropic/count-tokens", &[]),
            ("mistralai/mistral-medium-3", &["rawPredict"]),
            ("mistralai/codestral-2", &["rawPredict"]),
            ("mistralai/codestral-2501-self-deploy", &[]),
            ("mistralai/mistral-ocr-2505", &[]),
            ("mistral-ai/ministral-3", &[]),
            ("meta/llama-4-scout-17b-16e-instruct-maas", CHAT),
            ("meta/llama-guard-3-8b-maas", &[]),
            ("meta/llama3_1", &[]),
            ("qwen/qwen3-coder-480b-a35b-instruct-maas", CHAT),
            ("qwen/qwen-image", &[]),
            ("deepseek-ai/deepseek-ocr-maas", &[]),
            ("intfloat/multilingual-e5-small-maas", &["embeddings"]),
            ("xai/grok-4.6", &["chat/completions", "responses"]),
            ("openai/gpt-oss-120b-maas", CHAT),
            ("openai/gpt-oss", &[]),
            ("openai/gpt-6-astra", &["responses"]),
            ("openai/whisper-large", &[]),
            ("ai21/jamba-large-1.6", &[]),
        ] {
            let (publisher, id) = name.split_once('/').unwrap();
            let name = format!("publishers/{publisher}/models/{id}");
            for actions in [&[][..], &["openGenerationAiStudio"], &["requestAccess", "deploy"]] {
                assert_eq!(methods_of(&name, "GA", actions), expected, "{name} {actions:?}");
                assert_eq!(methods_of(&name, "EXPERIMENTAL", actions), expected, "{name}");
            }
            for stage in ["DOGFOOD", "PRIVATE_PREVIEW"] {
                assert_eq!(methods_of(&name, stage, &[]), [""; 0], "{name} {stage}");
            }
        }
    }

    #[test]
    fn a_model_that_can_only_be_deployed_has_no_method() {
        for action in DEPLOYMENTS {
            let of =
                |id: &str| methods_of(&format!("publishers/{id}"), "GA", &["viewRestApi", action]);
            assert_eq!(of("mistralai/models/mistral-large-3"), [""; 0]);
            assert_eq!(of("google/models/gemini-3.5-flash"), [""; 0]);
            assert_eq!(of("zai-org/models/glm-5-maas"), ["chat/completions"]);
        }
    }

    #[test]
    fn each_method_has_the_protocol_of_its_clients() {
        for (method, protocol) in [
            (ModelMethod::ChatCompletions, Protocol::OpenAi),
            (ModelMethod::Messages, Protocol::Anthropic),
            (ModelMethod::GenerateContent, Protocol::Gemini),
            (ModelMethod::RawPredict, Protocol::Gemini),
        ] {
            assert_eq!(method.protocol(), protocol, "{method}");
        }
    }
}
