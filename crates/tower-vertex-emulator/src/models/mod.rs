//! The catalogue of publisher models: which model names exist, and what serves them.
//!
//! The names are those of Google's pages on Gemini, partner models and open models, as LiteLLM
//! 1.110 lists them (`model_prices_and_context_window.json`, providers `vertex_ai*`). The catalogue
//! keeps models that Google has retired since, because it does not know the date of a test.

mod catalogue;

use std::fmt;

use serde::{Deserialize, Serialize};

pub(crate) use self::catalogue::Catalogue;

/// The purpose of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// It responds to messages.
    Chat,
    /// It turns texts into vectors.
    Embeddings,
}

/// A method that has a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Surface {
    /// `/chat/completions` of `openapi`.
    Chat,
    /// `/completions` of `openapi`. It is in the discovery document, but no page of Google names a model that it
    /// serves. The emulator serves every chat model there.
    Completions,
    /// `/responses` of `openapi`. Google's pages document it for xAI's Grok alone.
    Responses,
    /// `/embeddings` of `openapi`. Google's pages document it for the open E5 models alone. The
    /// emulator serves Google's own models for embeddings there as well.
    Embeddings,
    /// `publishers/…/models/MODEL:generateContent`, with `streamGenerateContent`, `countTokens` and
    /// `computeTokens`.
    GenerateContent,
    /// `publishers/…/models/MODEL:rawPredict` and `streamRawPredict`, with the protocol of the
    /// model's publisher.
    RawPredict,
    /// `publishers/…/models/MODEL:predict`.
    Predict,
    /// `publishers/…/models/MODEL:embedContent` and `batchEmbedContents`.
    EmbedContent,
    /// `publishers/openai/v1/responses`.
    #[serde(rename = "openai_responses")]
    OpenAiResponses,
}

impl Surface {
    /// The method in Google's error for a model that is not served here. Only `ChatCompletions` is
    /// recorded; the others follow the names of the methods (assumed).
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Chat => "ChatCompletions",
            Self::Completions => "Completions",
            Self::Responses => "Responses",
            Self::Embeddings => "Embeddings",
            Self::GenerateContent => "GenerateContent",
            Self::RawPredict => "RawPredict",
            Self::Predict => "Predict",
            Self::EmbedContent => "EmbedContent",
            Self::OpenAiResponses => "CreateResponse",
        }
    }
}

/// A publisher model.
///
/// In JSON it is either its name, as in `"google/gemini-2.5-flash"`, or an object such as
/// `{"model": "google/mine", "kind": "chat", "thinking": true, "generation": "3.1", "surfaces":
/// ["chat", "responses"]}`. The name determines the properties that the object omits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Described")]
#[non_exhaustive]
pub struct Model {
    /// The publisher, such as `google`.
    pub publisher: String,
    /// The name without its publisher, such as `gemini-2.5-flash`.
    pub name: String,
    /// The purpose of the model.
    pub kind: Kind,
    /// Whether the model can think before it responds.
    pub thinking: bool,
    /// The generation of a Gemini model: `(3, 1)` for Gemini 3.1.
    pub generation: Option<(u8, u8)>,
    /// The methods that serve the model. The models of `anthropic` and `mistralai` have only
    /// [`Surface::RawPredict`].
    pub surfaces: Vec<Surface>,
}

impl Model {
    /// A model of this publisher. Its properties follow from its name.
    pub fn new(publisher: impl Into<String>, name: impl Into<String>) -> Self {
        let (publisher, name) = (publisher.into(), name.into());
        let Traits { kind, thinking, generation } = Traits::of(&publisher, &name);
        let surfaces = surfaces(&publisher, &name, kind);
        Self { publisher, name, kind, thinking, generation, surfaces }
    }

    /// Sets the methods that serve the model.
    #[must_use]
    pub fn surfaces(mut self, surfaces: impl IntoIterator<Item = Surface>) -> Self {
        self.surfaces = surfaces.into_iter().collect();
        self
    }

    /// Sets the purpose of the model, and the methods that usually serve this purpose.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        if self.kind != kind {
            self.kind = kind;
            self.surfaces = surfaces(&self.publisher, &self.name, kind);
        }
        self
    }

    /// Whether the model makes images. Such models have rules of their own.
    pub(crate) fn makes_images(&self) -> bool {
        self.publisher == "google" && is_for_images(&self.name)
    }

    /// Whether the model is a Gemini of at least this generation.
    pub(crate) fn is_gemini_since(&self, major: u8, minor: u8) -> bool {
        self.generation.is_some_and(|generation| generation >= (major, minor))
    }
}

/// The name is `publisher/model`; the publisher is `google` if it is omitted.
impl From<&str> for Model {
    fn from(text: &str) -> Self {
        let (publisher, name) = text.split_once('/').unwrap_or(("google", text));
        Self::new(publisher, name)
    }
}

impl From<String> for Model {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Model {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.publisher, self.name)
    }
}

/// The properties that follow from the name of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Traits {
    kind: Kind,
    thinking: bool,
    generation: Option<(u8, u8)>,
}

impl Traits {
    /// Derives the properties of a model from its name. All rules about names are here.
    fn of(publisher: &str, name: &str) -> Self {
        let is_for_vectors = name.contains("embedding") || name.contains("-e5-");
        let kind = if is_for_vectors { Kind::Embeddings } else { Kind::Chat };
        let is_gemini = publisher == "google";
        let generation = name.strip_prefix("gemini-").filter(|_| is_gemini).and_then(generation);
        let speaks = ["-tts", "-audio", "-live"].iter().any(|other| name.contains(other));
        let thinking = match publisher {
            _ if is_for_vectors => false,
            "google" => {
                generation.is_some_and(|of| of >= (2, 5)) && !speaks && !is_for_images(name)
            }
            _ => {
                let reasons = name.contains("reasoning") && !name.contains("non-reasoning");
                let families = ["deepseek-r1", "gpt-oss-", "glm-", "grok-4.3", "grok-4.6"];
                reasons
                    || name.contains("thinking")
                    || families.iter().any(|family| name.starts_with(family))
            }
        };
        Self { kind, thinking, generation }
    }
}

/// The methods that usually serve a model.
fn surfaces(publisher: &str, name: &str, kind: Kind) -> Vec<Surface> {
    match kind {
        _ if NOT_ON_OPENAPI.contains(&publisher) => vec![Surface::RawPredict],
        _ if is_of_openai_itself(publisher, name) => vec![Surface::OpenAiResponses],
        // google-genai 3.6 calls `embedContent` for the names with `gemini` and `maas`, and `predict`
        // for the others. `gemini-embedding-001` has both (vercel/ai pull request 16238).
        Kind::Embeddings if name == "gemini-embedding-001" => {
            vec![Surface::Embeddings, Surface::Predict, Surface::EmbedContent]
        }
        Kind::Embeddings if name.contains("gemini") || name.contains("maas") => {
            vec![Surface::Embeddings, Surface::EmbedContent]
        }
        Kind::Embeddings => vec![Surface::Embeddings, Surface::Predict],
        // Clients call `generateContent` for Grok (superagent-ai/grok-cli pull request 287). That the
        // other open models have it is assumed.
        Kind::Chat if publisher == "xai" => {
            vec![Surface::Chat, Surface::Completions, Surface::Responses, Surface::GenerateContent]
        }
        Kind::Chat => vec![Surface::Chat, Surface::Completions, Surface::GenerateContent],
    }
}

fn is_for_images(name: &str) -> bool {
    name.contains("-image") || name.contains("nano-banana")
}

/// Whether a model is one of OpenAI's own, which is not open. Which of them Vertex AI serves is not
/// known.
fn is_of_openai_itself(publisher: &str, name: &str) -> bool {
    publisher == "openai" && !name.ends_with("-maas")
}

/// The generation in `2.5-flash` or `3-pro-preview`.
fn generation(name: &str) -> Option<(u8, u8)> {
    let version = name.split('-').next()?;
    let (major, minor) = version.split_once('.').unwrap_or((version, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The publishers whose models `openapi` refuses, because they have a protocol of their own
/// (docker/docker-agent issue 2469 for `anthropic`; Google's page on Mistral).
pub(crate) const NOT_ON_OPENAPI: [&str; 2] = ["anthropic", "mistralai"];

/// A model in a file.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Described(Described),
}

/// A model as an object.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    model: String,
    kind: Option<Kind>,
    thinking: Option<bool>,
    generation: Option<String>,
    surfaces: Option<Vec<Surface>>,
}

impl TryFrom<Written> for Model {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let described = match written {
            Written::Described(described) => described,
            Written::Name(model) => {
                Described { model, kind: None, thinking: None, generation: None, surfaces: None }
            }
        };
        let Described { model: name, kind, thinking, generation, surfaces } = described;
        let mut model = Self::from(&name);
        if model.publisher.is_empty() || model.name.is_empty() || model.name.contains('/') {
            return Err(format!("the model {name:?} must be named publisher/model"));
        }
        if let Some(kind) = kind {
            model = model.kind(kind);
        }
        if let Some(thinking) = thinking {
            model.thinking = thinking;
        }
        if let Some(text) = generation {
            let error = || format!("the generation {text:?} must be like \"3.1\"");
            model.generation = Some(self::generation(&text).ok_or_else(error)?);
        }
        if let Some(surfaces) = surfaces {
            model.surfaces = surfaces;
        }
        Ok(model)
    }
}

impl From<Model> for Described {
    fn from(model: Model) -> Self {
        Self {
            model: model.to_string(),
            kind: Some(model.kind),
            thinking: Some(model.thinking),
            generation: model.generation.map(|(major, minor)| format!("{major}.{minor}")),
            surfaces: Some(model.surfaces),
        }
    }
}

#[cfg(test)]
mod tests;
