//! Anthropic's Messages, as Vertex AI serves them by `rawPredict` and `streamRawPredict`.
//!
//! The body is that of Anthropic's API without `model`, and with `anthropic_version`. Vertex AI
//! reports faults of the credential, the project, the model and the quota in Google's form. The
//! model's own server reports faults of the body in Anthropic's form, with a `request_id` that
//! begins with `req_vrtx_`. The words of the errors are those that users of Vertex AI or of
//! Anthropic's API report; `docs/emulator.md` has the sources and the doubts.
//!
//! | module | purpose |
//! |---|---|
//! | `answer` | the calls of the API, and the form of errors |
//! | `fields` | the members of a request, except its messages |
//! | `version` | the version of the protocol, and its rules |
//! | `options` | `thinking`, `tools`, `tool_choice` and sampling |
//! | `turns` | the roles and the content of messages |
//! | `pairs` | the pairs of `tool_use` and `tool_result` |
//! | `thinking` | thinking blocks that come back |
//! | `input` | a request in the form of Chat Completions |
//! | `cache` | the prompt cache |
//! | `message` | the message of a response, and its usage |
//! | `stream` | the same as events |
//! | `family` | the abilities of a model, by its name |

mod answer;
mod cache;
mod family;
mod fields;
mod input;
mod message;
mod options;
mod pairs;
mod stream;
mod thinking;
mod turns;
mod version;

use http::HeaderMap;
use serde_json::{Map, Value, json};

pub(crate) use self::{
    answer::{answer, error},
    cache::PromptCache,
};
use self::{
    cache::Tokens,
    family::Family,
    message::{Message, Outcome},
};
use super::{
    chat::{
        ChatBehavior, ChatState,
        calls::Offer,
        content::{self, Content},
    },
    models::{Catalogue, Model},
    sse::Script,
    state::lock,
};

/// The publisher of the models.
pub(crate) const PUBLISHER: &str = "anthropic";
/// The name in the path that counts tokens instead of a model.
pub(crate) const COUNT_TOKENS: &str = "count-tokens";

/// The state and the settings that a request needs.
pub(crate) struct Context<'a> {
    pub(crate) chat: &'a ChatState,
    pub(crate) cache: &'a std::sync::Mutex<PromptCache>,
    pub(crate) models: &'a Catalogue,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) project: &'a str,
    /// The time of the emulator's clock, in seconds.
    pub(crate) now: i64,
}

/// The response to a request for a message.
pub(crate) struct Reply {
    message: Message,
    behavior: ChatBehavior,
}

impl Reply {
    pub(crate) fn whole(&self) -> Value {
        self.message.whole()
    }

    pub(crate) fn stream(self, chunks: Option<usize>) -> Script {
        stream::script(&self.message, chunks, &self.behavior)
    }
}

/// The model with this name. `@default` names the version of a model that has no date.
pub(crate) fn find<'a>(models: &'a Catalogue, name: &str) -> Option<&'a Model> {
    let plain = name.strip_suffix("@default").filter(|plain| !plain.contains('@'));
    models.find(PUBLISHER, name).or_else(|| models.find(PUBLISHER, plain?))
}

/// Responds to a request for a message, or returns the message of a 400.
pub(crate) fn respond(
    context: &Context<'_>,
    name: &str,
    asked: &Map<String, Value>,
) -> Result<Reply, String> {
    let behavior = context.chat.behavior();
    let family = Family::of(name);
    let full_name = full_name(context.models, name);
    fields::check(asked, context.headers)?;
    options::check(asked, family, context.headers)?;
    let messages = turns::check(asked, family)?;
    version::check_blocks(asked, messages)?;
    pairs::check(messages)?;
    thinking::check(context.chat, &behavior, &full_name, asked, messages)?;

    let options = input::options(asked);
    let chat = input::messages(asked, messages);
    let offer = Offer::of(&options)?;
    let (said, content) = content::choose(&chat, &options, &offer, false)?;
    let is_forced = options::forces_a_tool(asked);
    let outcome = match content {
        Content::Text(text) => Outcome { text: Some(text), calls: Vec::new() },
        Content::Calls(mut calls) => {
            if asked.get("tool_choice").and_then(|choice| choice.get("disable_parallel_tool_use"))
                == Some(&Value::Bool(true))
            {
                calls.truncate(1);
            }
            // Claude says something before a call that it was not forced to make.
            Outcome { text: (!is_forced).then(|| content::echo(&said)), calls }
        }
    };
    let thoughts = thinking::thoughts(context.chat, &full_name, asked, family);
    let scope = format!("{}\n{full_name}", context.project);
    let tokens = lock(context.cache).count(&scope, asked, context.now);
    let mut message = Message::new(full_name, asked, outcome, thoughts, tokens);
    if let Some(reason) = &behavior.finish_reason {
        message.stop_reason.clone_from(reason);
    }
    Ok(Reply { message, behavior })
}

/// Counts the tokens of a request, or returns the message of a 400.
///
/// The endpoint takes no version in the name of a model (BerriAI/litellm issue 25798). It needs no
/// `anthropic_version`, and the SDKs send one (BerriAI/litellm pull request 39597).
pub(crate) fn count_tokens(
    models: &Catalogue,
    headers: &HeaderMap,
    asked: &Map<String, Value>,
) -> Result<Value, String> {
    let name = match asked.get("model") {
        None => return Err("model: Field required".into()),
        Some(Value::String(name)) => name,
        Some(_) => return Err("model: Input should be a valid string".into()),
    };
    let is_known = |name: &str| {
        let dated = |model: &&Model| {
            model.publisher == PUBLISHER && model.name.split('@').next() == Some(name)
        };
        models.all().iter().any(|model| dated(&model))
    };
    if name.contains('@') || !is_known(name) {
        return Err(format!("{name} is not supported for token counting"));
    }
    fields::check_for_count(asked, headers)?;
    let family = Family::of(name);
    options::check(asked, family, headers)?;
    let messages = turns::check(asked, family)?;
    version::check_blocks(asked, messages)?;
    pairs::check(messages)?;
    Ok(json!({ "input_tokens": Tokens::of(asked).all() }))
}

/// The name of a model in its responses: with a hyphen before its date, which the request may
/// omit.
fn full_name(models: &Catalogue, name: &str) -> String {
    let name = name.strip_suffix("@default").unwrap_or(name);
    let dated = |model: &Model| {
        let is_dated = model.publisher == PUBLISHER && model.name.split('@').next() == Some(name);
        (is_dated && model.name.contains('@')).then(|| model.name.clone())
    };
    let dated = models.all().iter().filter_map(dated).max();
    dated.unwrap_or_else(|| name.to_owned()).replace('@', "-")
}
