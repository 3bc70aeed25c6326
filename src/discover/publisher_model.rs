//! Vertex AI's description of a publisher's model. A missing field is empty, and an unknown field
//! is ignored: both come with versions of the API.

use std::borrow::Cow;

use serde_json::Value;

use super::{ModelMethod, model_method};

/// A model of a publisher, as `publishers.models.list` describes it (the message `PublisherModel`
/// of the API v1beta1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublisherModel {
    /// The publisher in its name, such as `google`.
    pub publisher: String,
    /// The last segment of its name, such as `gemini-2.5-flash`: letters, digits, and any of `.`,
    /// `_`, `-` and `@`.
    pub id: String,
    /// The version of the model: `default`, a number such as `001`, or a date such as `20251001`.
    pub version_id: String,
    /// How mature the model is: `GA`, `PUBLIC_PREVIEW`, `PRIVATE_PREVIEW`, `EXPERIMENTAL` or
    /// `DOGFOOD`.
    pub launch_stage: String,
    /// The state of the version, such as `VERSION_STATE_STABLE`. Vertex AI rarely sets it.
    pub version_state: String,
    /// The model's licence, such as `PROPRIETARY` or `THIRD_PARTY_OWNED_OSS`.
    pub open_source_category: String,
    /// The names of the actions that the console offers, such as `openGenerationAiStudio` or
    /// `deploy`, in alphabetical order.
    pub supported_actions: Vec<String>,
    /// The name of the resource that serves the model, with the braces of a template. Empty for
    /// most models.
    pub publisher_model_template: String,
    /// The display name of the model that this one was made from. Empty for most models.
    pub parent: String,
}

impl PublisherModel {
    /// A model that is known by its name alone, such as `google` and `gemini-2.5-flash`. All other
    /// fields are empty.
    pub fn new(publisher: impl Into<String>, id: impl Into<String>) -> Self {
        Self { publisher: publisher.into(), id: id.into(), ..Self::default() }
    }

    /// The name of the model in requests, such as `gemini-2.5-flash` or
    /// `claude-haiku-4-5@20251001`.
    ///
    /// Vertex AI documents the names of Claude models whose version is a date with that date. All
    /// other models are requested by their [`id`](Self::id) alone.
    pub fn model_id(&self) -> Cow<'_, str> {
        let date = Some(&self.version_id)
            .filter(|date| date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()));
        match date {
            Some(date) if self.publisher == "anthropic" && !self.id.contains('@') => {
                format!("{}@{date}", self.id).into()
            }
            _ => self.id.as_str().into(),
        }
    }

    /// The name of the model in requests to `openapi`, such as `google/gemini-2.5-flash`.
    pub fn qualified_id(&self) -> String {
        format!("{}/{}", self.publisher, self.model_id())
    }

    /// The methods that serve the model. Empty if there is none, or if none is known.
    ///
    /// Vertex AI's list has every model of the console, without the methods that serve it, so they
    /// follow from the publisher, the name and the actions:
    ///
    /// | models | methods |
    /// |---|---|
    /// | whose only use is a deployment of one's own: the action `deploy`, `multiDeployVertex` or `deployGke`, neither `openGenerationAiStudio` nor `requestAccess`, and no name that ends with `-maas` | none |
    /// | for invited projects: the launch stages `DOGFOOD` and `PRIVATE_PREVIEW` | none |
    /// | `google/gemini-…` from generation 2.5 on | `chat/completions`, `generateContent` |
    /// | of these, for the Live API, for speech and for computer use | none |
    /// | `google/gemini-embedding-001`, `google/text-…embedding-…` | `predict` |
    /// | all other `google/gemini-embedding-…` | `embedContent` |
    /// | `anthropic/claude-…` | `messages` |
    /// | `mistralai/…`, except for OCR | `rawPredict` |
    /// | `xai/grok-…` | `chat/completions`, `responses` |
    /// | `openai/gpt-…`, except `gpt-oss` | `responses` |
    /// | any other `…-maas`: the E5 models, and all others except for OCR, images and guards | `embeddings`, `chat/completions` |
    /// | anything else: media, vision, older families | none |
    ///
    /// # What is not known
    ///
    /// - Whether the project has enabled the model, and whether the location has it: the list is
    ///   the same for all projects, and its regions are empty.
    /// - Models in preview that Google does not list, although they serve requests.
    /// - The models of `publishers/openai`, which are in private preview. Their rule is a guess.
    /// - Whether a model in the stage `EXPERIMENTAL` serves everyone. Some do, such as `glm-5-maas`.
    pub fn methods(&self) -> &'static [ModelMethod] {
        model_method::methods(self)
    }

    /// Parses a description. `None` if its name cannot be part of a request.
    pub(super) fn parse(value: &Value) -> Option<Self> {
        let name = value.get("name")?.as_str()?.strip_prefix("publishers/")?;
        let (publisher, id) = name.split_once("/models/")?;
        if !is_name(publisher) || !is_name(id) {
            return None;
        }
        let text = |value: &Value, field: &str| {
            value.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let actions = value.get("supportedActions").and_then(Value::as_object);
        let mut actions: Vec<String> =
            actions.into_iter().flat_map(|all| all.keys().cloned()).collect();
        actions.sort();
        let parent = value.get("parent").map(|parent| text(parent, "displayName"));
        Some(Self {
            publisher: publisher.to_owned(),
            id: id.to_owned(),
            version_id: text(value, "versionId"),
            launch_stage: text(value, "launchStage"),
            version_state: text(value, "versionState"),
            open_source_category: text(value, "openSourceCategory"),
            supported_actions: actions,
            publisher_model_template: text(value, "publisherModelTemplate"),
            parent: parent.unwrap_or_default(),
        })
    }
}

/// Whether the text is a segment of a path that no other parser reads differently.
pub(super) fn is_name(text: &str) -> bool {
    let is_fit =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'@');
    (1..=200).contains(&text.len())
        && text.bytes().all(is_fit)
        && text.bytes().any(|byte| byte.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn missing_fields_are_empty_and_unknown_fields_are_ignored() {
        let whole = PublisherModel::parse(&json!({
            "name": "publishers/qwen/models/qwen3-next-80b-a3b-instruct-maas",
            "versionId": "001",
            "openSourceCategory": "THIRD_PARTY_OWNED_OSS",
            "parent": { "displayName": "Qwen", "reference": {} },
            "supportedActions": { "requestAccess": {}, "openNotebook": { "references": {} } },
            "frameworks": ["x"],
            "launchStage": "GA",
            "versionState": "VERSION_STATE_STABLE",
            "publisherModelTemplate": "projects/{project}/locations/{location}/publishers/x/models/y@001",
            "somethingNew": [1],
        }));
        let whole = whole.unwrap();
        assert_eq!(whole.qualified_id(), "qwen/qwen3-next-80b-a3b-instruct-maas");
        assert_eq!(whole.supported_actions, ["openNotebook", "requestAccess"]);
        assert_eq!(
            (&*whole.version_id, &*whole.launch_stage, &*whole.parent),
            ("001", "GA", "Qwen")
        );
        assert_eq!(whole.version_state, "VERSION_STATE_STABLE");
        assert!(whole.publisher_model_template.ends_with("y@001"));

        let bare =
            PublisherModel::parse(&json!({ "name": "publishers/a/models/b", "versionId": 7 }));
        assert_eq!(bare.unwrap(), PublisherModel::new("a", "b"));
    }

    #[test]
    fn a_name_that_cannot_be_part_of_a_request_is_left_out() {
        for name in [
            json!(null),
            json!(1),
            json!(""),
            json!("gemini-2.5-flash"),
            json!("models/gemini-2.5-flash"),
            json!("publishers/google"),
            json!("publishers/google/models"),
            json!("publishers/google/models/"),
            json!("publishers//models/x"),
            json!("publishers/google/models/.."),
            json!("publishers/../models/x"),
            json!("publishers/google/models/a/b"),
            json!("publishers/google/models/a b"),
            json!("publishers/google/models/a:predict"),
            json!("publishers/google/models/a%2Fb"),
            json!("publishers/google/models/a\u{1b}[31m"),
            json!(format!("publishers/google/models/{}", "x".repeat(201))),
        ] {
            assert_eq!(PublisherModel::parse(&json!({ "name": name })), None, "{name}");
        }
    }

    #[test]
    fn only_a_dated_claude_is_requested_with_its_version() {
        let id = |publisher: &str, id: &str, version: &str| {
            let name = format!("publishers/{publisher}/models/{id}");
            let model = PublisherModel::parse(&json!({ "name": name, "versionId": version }));
            model.unwrap().model_id().into_owned()
        };
        let dated = "claude-haiku-4-5@20251001";
        assert_eq!(id("anthropic", "claude-haiku-4-5", "20251001"), dated);
        assert_eq!(id("anthropic", dated, "20251001"), dated);
        for version in ["default", "001", "2025100x", ""] {
            assert_eq!(id("anthropic", "claude-opus-5", version), "claude-opus-5");
        }
        assert_eq!(id("google", "gemini-2.5-flash", "20251001"), "gemini-2.5-flash");
    }
}
