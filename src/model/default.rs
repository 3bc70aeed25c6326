//! The default model, and the requests that it serves.

use std::sync::Arc;

use http::request::Parts;

use super::{ModelTable, entry::is_openapi, route::is_name};
use crate::error::ConfigError;

/// Whether this is the name of a chat model of OpenAI or Anthropic, without a publisher. The case of its
/// letters does not matter. `gpt-oss` is none of them: Vertex AI has it, as `openai/gpt-oss-120b-maas`.
pub(crate) fn is_foreign(name: &str) -> bool {
    const FAMILIES: [&str; 4] = ["gpt-", "chatgpt-", "codex-", "claude-"];
    let begins_with = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_of_a_family = FAMILIES.into_iter().any(begins_with) || is_reasoning_model(name);
    is_of_a_family && !name.contains('/') && !begins_with("gpt-oss")
}

/// Whether this is a name such as `o1`, `o3-mini` or `o4-mini-2025-04-16`.
fn is_reasoning_model(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(['o', 'O']) else { return false };
    let family = rest.split('-').next().unwrap_or_default();
    !family.is_empty() && family.bytes().all(|byte| byte.is_ascii_digit())
}

impl ModelTable {
    /// The model that serves chats whose own model Vertex AI does not have. `None` by default.
    pub fn default_model(&self) -> Option<&str> {
        self.inner.default_model.as_deref()
    }

    /// The [default model](Self::default_model), if it serves a chat for `requested`.
    ///
    /// It serves an empty name, and that of a chat model of OpenAI or Anthropic without a publisher: `gpt-…`
    /// except `gpt-oss…`, `chatgpt-…`, `codex-…`, `claude-…`, and `o1`, `o3-…` and the like. An entry for the
    /// name takes precedence. Any other name, such as a misspelt one of Gemini's, is sent to Vertex AI, which
    /// responds with its error.
    pub fn default_for(&self, requested: &str) -> Option<&str> {
        self.shared_default_for(requested).map(|default| &**default)
    }

    fn shared_default_for(&self, requested: &str) -> Option<&Arc<str>> {
        let default = self.inner.default_model.as_ref()?;
        let is_served = requested.is_empty() || is_foreign(requested);
        (is_served && self.find(requested).is_none()).then_some(default)
    }

    /// The default model, if it serves this request for `requested`: a chat completion or a text completion
    /// that goes to the models that Google runs. An endpoint of one's own ignores the name. Embeddings need
    /// a model of another kind, and Vertex AI has the Responses API for few models.
    pub(super) fn default_for_request(&self, head: &Parts, requested: &str) -> Option<Arc<str>> {
        let default = self.shared_default_for(requested)?;
        let path = head.uri.path();
        let is_chat = path.strip_suffix('/').unwrap_or(path).ends_with("/completions");
        (is_chat && is_openapi(self.upstream_of(&head.extensions))).then(|| Arc::clone(default))
    }

    /// Checks a default model against the entries.
    pub(super) fn check_default_model(&self) -> Result<(), ConfigError> {
        let Some(default) = self.default_model() else { return Ok(()) };
        let advice = if !is_name(default) {
            "give a name without control characters and without `*`"
        } else if is_foreign(default) && self.find(default).is_none() {
            "give a model that Vertex AI has, such as google/gemini-2.5-flash, or a name in the table"
        } else {
            return Ok(());
        };
        Err(ConfigError::invalid("default model", default, advice))
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::{
        model::ModelRoute,
        route::{Endpoint, Upstream},
    };

    fn base() -> Upstream {
        Upstream::new("p", "global").unwrap()
    }

    #[test]
    fn names_of_openais_and_anthropics_chat_models_are_known() {
        for name in [
            "gpt-4o",
            "gpt-4o-mini",
            "GPT-5.1",
            "gpt-3.5-turbo-instruct",
            "chatgpt-4o-latest",
            "codex-mini-latest",
            "o1",
            "o3",
            "o3-pro",
            "o4-mini-2025-04-16",
            "claude-sonnet-4-5",
            "claude-3-5-sonnet-latest",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        for name in [
            "",
            "gpt",
            "gpt4",
            "gpt-oss-120b-maas",
            "openai/gpt-4o",
            "gpt-4o/x",
            "anthropic/claude-sonnet-5",
            "google/gpt-4o",
            "gemini-2.5-flsh",
            "o",
            "o-1",
            "omni",
            "o1x",
            "olmo-2",
            "text-embedding-3-small",
            "llama-3.3",
            "é",
        ] {
            assert!(!is_foreign(name), "{name}");
        }
    }

    #[test]
    fn an_entry_takes_precedence_over_the_default_model() {
        let table = ModelTable::builder(base())
            .default_model("google/gemini-2.5-flash")
            .route("gpt-4o", ModelRoute::new().model("gemini-2.5-pro"))
            .route("claude-*", ModelRoute::new().publisher("anthropic"))
            .build()
            .unwrap();
        for (requested, default) in [
            ("gpt-4o-mini", true),
            ("", true),
            ("gpt-4o", false),
            ("claude-sonnet-5", false),
            ("gemini-2.5-flsh", false),
            ("google/gemini-2.5-pro", false),
        ] {
            let expected = default.then_some("google/gemini-2.5-flash");
            assert_eq!(table.default_for(requested), expected, "{requested}");
        }
        assert_eq!(ModelTable::new(base()).default_for("gpt-4o-mini"), None);
        let everything = ModelTable::builder(base())
            .default_model("google/gemini-2.5-flash")
            .route("*", ModelRoute::new());
        assert_eq!(everything.build().unwrap().default_for("gpt-4o"), None);
    }

    #[test]
    fn the_default_model_serves_chats_at_googles_models_alone() {
        let table = ModelTable::builder(base()).default_model("fast").build().unwrap();
        let deployed = || {
            let endpoint = Endpoint::Deployed { id: "1".into() };
            Upstream::builder().project("p").location("eu").endpoint(endpoint).build().unwrap()
        };
        let default = |path: &str, upstream: Option<Upstream>| {
            let (mut head, ()) = Request::post(path).body(()).unwrap().into_parts();
            if let Some(upstream) = upstream {
                head.extensions.insert(upstream);
            }
            table.default_for_request(&head, "gpt-4o").as_deref() == Some("fast")
        };
        for (path, serves) in [
            ("/v1/chat/completions", true),
            ("/chat/completions/", true),
            ("/v1/completions", true),
            ("/v1/embeddings", false),
            ("/v1/responses", false),
            ("/v1/messages", false),
            ("/v1/mycompletions", false),
        ] {
            assert_eq!(default(path, None), serves, "{path}");
        }
        assert!(!default("/v1/chat/completions", Some(deployed())));
        let own = ModelTable::builder(deployed()).default_model("fast").build().unwrap();
        let (head, ()) = Request::post("/v1/chat/completions").body(()).unwrap().into_parts();
        assert_eq!(own.default_for_request(&head, "gpt-4o"), None);
    }

    #[test]
    fn a_default_model_that_vertex_ai_does_not_have_is_refused() {
        let built = |name: &str| ModelTable::builder(base()).default_model(name).build();
        for (name, advice) in [
            ("gpt-4o", "that Vertex AI has"),
            ("claude-sonnet-5", "that Vertex AI has"),
            ("", "without control characters"),
            ("gemini-*", "without `*`"),
        ] {
            let error = built(name).unwrap_err();
            assert_eq!(error.setting(), "default model");
            assert!(error.to_string().contains(advice), "{error}");
        }
        let entry = ModelRoute::new().model("google/gemini-2.5-flash");
        let table = ModelTable::builder(base()).default_model("gpt-4o").route("gpt-4o", entry);
        assert_eq!(table.build().unwrap().default_for("gpt-4"), Some("gpt-4o"));
    }
}
