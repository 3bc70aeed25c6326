//! Advice about a model that Vertex AI does not have: how to map its name, or where the right names are.

use http::Extensions;

use crate::model::{RequestedModel, is_foreign};

/// The longest name that advice repeats, in bytes.
const LONGEST: usize = 100;

/// Models that serve a kind of request, for examples.
const CHAT: &str = "google/gemini-2.5-flash";
const EMBEDDINGS: &str = "google/gemini-embedding-001";
const RESPONSES: &str = "xai/grok-4.1-fast-reasoning";

const WHERE_NAMES_ARE: &str = "At a gateway, GET /v1/models lists the names that clients can request, and \
     the Model Garden of Vertex AI shows where each model is served.";

/// A request for a model.
#[derive(Clone, Debug)]
pub(super) struct Requested {
    model: RequestedModel,
    /// A model that serves requests of this kind.
    example: &'static str,
}

impl Requested {
    /// The model of a request with this path and these extensions, if it is known.
    pub(super) fn of(path: &str, extensions: &Extensions) -> Option<Self> {
        let model = extensions.get::<RequestedModel>()?.clone();
        Some(Self { model, example: example_for(path) })
    }
}

fn example_for(path: &str) -> &'static str {
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.ends_with("/embeddings") {
        EMBEDDINGS
    } else if path.ends_with("/responses") {
        RESPONSES
    } else {
        CHAT
    }
}

/// The advice for a 404 with this message of Vertex AI, if the message is about a model.
pub(super) fn unknown_model(message: &str, requested: Option<&Requested>) -> Option<String> {
    let sent = sent_model(message)?;
    let Some(Requested { model, example }) = requested else {
        return Some(WHERE_NAMES_ARE.to_owned());
    };
    if let Some(default) = model.default_model() {
        return Some(format!(
            "{} is served by the gateway's default_model, and {} is none that Vertex AI has: set another \
             one. {WHERE_NAMES_ARE}",
            shown(model.as_str()),
            shown(default),
        ));
    }
    let requested = model.as_str();
    let bare = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    if sent.is_some_and(|sent| sent != bare(requested)) {
        return Some(format!(
            "The table of models maps {} to this model: correct its entry. {WHERE_NAMES_ARE}",
            shown(requested),
        ));
    }
    Some(how_to_map_to(requested, example))
}

/// The name of the model in a message of Vertex AI, which has its resource name in backquotes. `None` if
/// the message is not about a model, and `Some(None)` if it does not name the model in this way.
fn sent_model(message: &str) -> Option<Option<&str>> {
    let (name, _) = message.strip_prefix("Publisher Model `")?.split_once('`')?;
    Some(name.split_once("/models/").map(|(_, model)| model))
}

/// How a request for the chat model `requested`, which Vertex AI does not have, can be served: a sentence
/// about the setting of the client, and an entry for the configuration file of `vertex-gateway` that maps
/// this name. A name that looks like a misspelt one of Vertex AI's, such as `gemini-2.5-flsh`, gets the place
/// where the right names are.
///
/// ```
/// use tower_vertex::error_format::how_to_map;
///
/// let advice = how_to_map("gpt-4o");
/// assert!(advice.contains("\n[[model]]\nname = \"gpt-4o\"\nmodel = \"google/gemini-2.5-flash\"\n"));
/// assert!(!how_to_map("gemini-2.5-flsh").contains("[[model]]"));
/// ```
pub fn how_to_map(requested: &str) -> String {
    how_to_map_to(requested, CHAT)
}

fn how_to_map_to(requested: &str, example: &str) -> String {
    let bare = requested.rsplit('/').next().unwrap_or_default();
    let is_of_vertex = requested.contains('/') || bare.starts_with("gemini");
    if is_of_vertex && !is_foreign(bare) || !can_be_repeated(requested) {
        return WHERE_NAMES_ARE.to_owned();
    }
    let mut advice = format!(
        "In the client's setting for the model (a field or an option `model`, or a variable such as \
         OPENAI_MODEL), choose a model of Vertex AI, such as {example}. Or let the gateway serve this \
         name, by an entry in its configuration file (in Rust, a ModelRoute):\n\n\
         [[model]]\nname = \"{requested}\"\nmodel = \"{example}\"\n"
    );
    if example == CHAT && is_foreign(requested) {
        advice.push_str(&format!(
            "\nOr, for all chat models of OpenAI and Anthropic, at the top of that file: \
             default_model = \"{example}\""
        ));
    }
    advice
}

/// Whether a name can be in a message, and in quotation marks as the name of an entry.
fn can_be_repeated(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'*' | b'`');
    (1..=LONGEST).contains(&name.len()) && name.bytes().all(fits)
}

fn shown(name: &str) -> &str {
    if can_be_repeated(name) { name } else { "The requested model" }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn message(model: &str) -> String {
        format!(
            "Publisher Model `projects/p/locations/l/publishers/google/models/{model}` was not found or \
             your project does not have access to it."
        )
    }

    fn advice(path: &str, requested: RequestedModel, sent: &str) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(requested);
        let requested = Requested::of(path, &extensions);
        unknown_model(&message(sent), requested.as_ref()).unwrap()
    }

    fn for_name(path: &str, requested: &str) -> String {
        let sent = requested.rsplit('/').next().unwrap();
        advice(path, RequestedModel::new(requested), sent)
    }

    #[test]
    fn a_name_of_another_service_gets_an_entry_for_its_kind_of_request() {
        for (path, name, example, has_default) in [
            ("/v1/chat/completions", "gpt-4o", CHAT, true),
            ("/v1/chat/completions", "claude-sonnet-4-5", CHAT, true),
            ("/v1/chat/completions", "openai/gpt-4o", CHAT, false),
            ("/v1/chat/completions", "llama3.2:latest", CHAT, false),
            ("/v1/completions", "gpt-3.5-turbo-instruct", CHAT, true),
            ("/v1/embeddings", "text-embedding-3-small", EMBEDDINGS, false),
            ("/v1/responses/", "gpt-5-codex", RESPONSES, false),
        ] {
            let advice = for_name(path, name);
            let entry = format!("\n\n[[model]]\nname = \"{name}\"\nmodel = \"{example}\"\n");
            assert!(advice.contains(&entry), "{advice}");
            assert_eq!(advice.contains("default_model = "), has_default, "{advice}");
            assert!(advice.contains("the client's setting for the model"), "{advice}");
        }
    }

    #[test]
    fn a_misspelt_name_of_vertex_ai_gets_the_place_of_the_names() {
        for name in ["gemini-2.5-flsh", "google/gemini-9", "meta/llama", "a\"b", "a\nb", "*", ""] {
            assert_eq!(for_name("/v1/chat/completions", name), WHERE_NAMES_ARE, "{name}");
        }
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(for_name("/v1/chat/completions", &long), WHERE_NAMES_ARE);
        assert_eq!(unknown_model(&message("gpt-4o"), None).as_deref(), Some(WHERE_NAMES_ARE));
    }

    #[test]
    fn the_name_of_a_wrong_entry_or_default_model_is_given() {
        let renamed = advice("/v1/chat/completions", RequestedModel::new("fast"), "gemini-9");
        assert!(renamed.starts_with("The table of models maps fast to this model"), "{renamed}");
        let default: Arc<str> = "google/gemini-9".into();
        let served = RequestedModel::served_by("gpt-4o", &default);
        let wrong = advice("/v1/chat/completions", served, "gemini-9");
        let expected =
            "gpt-4o is served by the gateway's default_model, and google/gemini-9 is none";
        assert!(wrong.starts_with(expected), "{wrong}");
    }

    #[test]
    fn another_404_has_no_advice() {
        assert_eq!(unknown_model("The Endpoint does not exist.", None), None);
    }
}
