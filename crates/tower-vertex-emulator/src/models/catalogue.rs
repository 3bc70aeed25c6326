//! The names of the models that exist.

use super::Model;

/// The models by their publishers.
const MODELS: [(&str, &[&str]); 13] = [
    (
        "google",
        &[
            "gemini-2.0-flash",
            "gemini-2.0-flash-001",
            "gemini-2.0-flash-lite",
            "gemini-2.0-flash-lite-001",
            "gemini-2.5-flash",
            "gemini-2.5-flash-image",
            "gemini-2.5-flash-lite",
            "gemini-2.5-flash-lite-preview-09-2025",
            "gemini-2.5-flash-preview-09-2025",
            "gemini-2.5-flash-tts",
            "gemini-2.5-pro",
            "gemini-2.5-pro-tts",
            "gemini-3-flash-preview",
            "gemini-3-pro-image",
            "gemini-3-pro-image-preview",
            "gemini-3-pro-preview",
            "gemini-3.1-flash-image",
            "gemini-3.1-flash-image-preview",
            "gemini-3.1-flash-lite",
            "gemini-3.1-flash-lite-image",
            "gemini-3.1-flash-lite-preview",
            "gemini-3.1-pro-preview",
            "gemini-3.1-pro-preview-customtools",
            "gemini-3.5-flash",
            "gemini-3.5-flash-lite",
            "gemini-3.6-flash",
            "gemini-3.7-flash",
            "gemini-3.8-flash",
            "gemini-nano-banana-2.1",
            "gemma-4-26b-a4b-it-maas",
            "gemini-embedding-001",
            "gemini-embedding-2",
            "gemini-embedding-2-preview",
            "text-embedding-004",
            "text-embedding-005",
            "text-multilingual-embedding-002",
        ],
    ),
    (
        "meta",
        &[
            "llama-3.1-405b-instruct-maas",
            "llama-3.1-70b-instruct-maas",
            "llama-3.1-8b-instruct-maas",
            "llama-3.2-90b-vision-instruct-maas",
            "llama-3.3-70b-instruct-maas",
            "llama-4-maverick-17b-128e-instruct-maas",
            "llama-4-scout-17b-16e-instruct-maas",
        ],
    ),
    ("openai", &["gpt-oss-120b-maas", "gpt-oss-20b-maas", "gpt-5", "gpt-5-mini", "gpt-5.4"]),
    (
        "deepseek-ai",
        &[
            "deepseek-r1-0528-maas",
            "deepseek-v3.1-maas",
            "deepseek-v3.2-maas",
            "deepseek-v4.1-flash-maas",
        ],
    ),
    (
        "qwen",
        &[
            "qwen3-235b-a22b-instruct-2507-maas",
            "qwen3-coder-480b-a35b-instruct-maas",
            "qwen3-next-80b-a3b-instruct-maas",
            "qwen3-next-80b-a3b-thinking-maas",
        ],
    ),
    (
        "xai",
        &[
            "grok-4.1-fast-non-reasoning",
            "grok-4.1-fast-reasoning",
            "grok-4.20-non-reasoning",
            "grok-4.20-reasoning",
            "grok-4.3",
            "grok-4.6",
            "grok-4.7",
        ],
    ),
    ("moonshotai", &["kimi-k2-thinking-maas"]),
    ("minimaxai", &["minimax-m2-maas"]),
    ("zai-org", &["glm-4.7-maas", "glm-5-maas", "glm-5.2-maas"]),
    // Google's pages name the two E5 models under these two publishers.
    ("e5", &["multilingual-e5-large-instruct-maas"]),
    ("intfloat", &["multilingual-e5-large-instruct-maas", "multilingual-e5-small-maas"]),
    (
        "anthropic",
        &[
            "claude-fable-5",
            "claude-haiku-4-5",
            "claude-haiku-4-5@20251001",
            "claude-opus-4-1",
            "claude-opus-4-1@20250805",
            "claude-opus-4-5",
            "claude-opus-4-5@20251101",
            "claude-opus-4-6",
            "claude-opus-4-7",
            "claude-opus-4-8",
            "claude-opus-5",
            "claude-sonnet-4-5",
            "claude-sonnet-4-5@20250929",
            "claude-sonnet-4-6",
            "claude-sonnet-5",
        ],
    ),
    ("mistralai", &["codestral-2", "mistral-medium-3", "mistral-ocr-2505", "mistral-small-2503"]),
];

/// The models that exist.
#[derive(Clone, Debug)]
pub(crate) struct Catalogue(Vec<Model>);

impl Default for Catalogue {
    fn default() -> Self {
        let of = |(publisher, names): &(&str, &[&str])| -> Vec<Model> {
            names.iter().map(|name| Model::new(*publisher, *name)).collect()
        };
        Self(MODELS.iter().flat_map(of).collect())
    }
}

impl Catalogue {
    pub(crate) fn new(models: impl IntoIterator<Item = Model>) -> Self {
        Self(models.into_iter().collect())
    }

    /// Adds a model, or replaces the one with the same name.
    pub(crate) fn add(&mut self, model: Model) {
        self.0.retain(|known| known.publisher != model.publisher || known.name != model.name);
        self.0.push(model);
    }

    pub(crate) fn find(&self, publisher: &str, name: &str) -> Option<&Model> {
        self.0.iter().find(|model| model.publisher == publisher && model.name == name)
    }

    pub(crate) fn all(&self) -> &[Model] {
        &self.0
    }
}
