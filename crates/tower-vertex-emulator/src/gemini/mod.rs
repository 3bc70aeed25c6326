//! Gemini's own API, and `predict` of publishers' models and of deployed endpoints.
//!
//! | module | purpose |
//! |---|---|
//! | `proto`, `messages` | requests, read as strictly as Google's front end does |
//! | `conversation` | a request as a chat, which the emulator's model reads |
//! | `content`, `partial_args` | responses, complete and in chunks |
//! | `tokens` | `countTokens` and `computeTokens` |
//! | `embeddings`, `endpoint` | `predict` and `embedContent` |

mod content;
mod conversation;
mod embeddings;
mod endpoint;
mod messages;
mod partial_args;
mod proto;
mod tokens;

use serde_json::{Map, Value};

use self::{
    content::{Head, Response, Style},
    conversation::Conversation,
};
use super::{
    api::{ApiRequest, invalid, ok},
    chat::{self, ChatRequest, ToolStream, calls::Offer, content as chat_content},
    google_errors::GoogleError,
    head,
    model_method::ModelMethod,
    models::{Kind, Model, Surface},
    path::{Call, decoded},
    refusals::{self, Refusals},
    reply::Reply,
    usage::Cost,
};

/// Returns the response, or the error.
pub(crate) async fn answer(mut request: ApiRequest<'_>) -> Result<Reply, GoogleError> {
    let (method, served) = match request.target.call {
        Call::Model { publisher, model, method } => {
            (method, Served::by_publisher(&request, publisher, &decoded(model), method))
        }
        Call::Endpoint(method) => (method, Ok(Served::by_endpoint(request.target.endpoint))),
        _ => return Err(GoogleError::not_emulated(request.target.method())),
    };
    // The front end reads the body before the service looks for the model.
    let body = request.json().await?;
    let version = request.target.version;
    match method {
        ModelMethod::GenerateContent | ModelMethod::StreamGenerateContent => {
            let body = proto::read(&messages::GENERATE_CONTENT, version, body)?;
            generate(&request, &served?, &body, method)
        }
        ModelMethod::CountTokens => {
            let body = proto::read(&messages::COUNT_TOKENS, version, body)?;
            served?;
            count(&body)
        }
        ModelMethod::ComputeTokens => {
            let body = proto::read(&messages::COMPUTE_TOKENS, version, body)?;
            served?;
            Ok(ok(tokens::compute(&body)))
        }
        ModelMethod::EmbedContent => {
            let body = proto::read(&messages::EMBED_CONTENT, version, body)?;
            embeddings::embed_content(&served?.model, &body).map(ok)
        }
        ModelMethod::BatchEmbedContents => {
            let body = proto::read(&messages::BATCH_EMBED_CONTENTS, version, body)?;
            embeddings::batch(&served?.model, &body).map(ok)
        }
        ModelMethod::Predict => {
            let body = proto::read(&messages::PREDICT, version, body)?;
            predict(&request, &served?, &body)
        }
        // The body is passed to the model as it is.
        ModelMethod::RawPredict | ModelMethod::StreamRawPredict => {
            let served = served?;
            if body.contains_key("instances") {
                return predict(&request, &served, &body);
            }
            if !served.is_endpoint {
                return Err(invalid("`instances` is required"));
            }
            Ok(ok(Value::Object(body)))
        }
    }
}

/// The model of a request.
struct Served {
    model: Model,
    /// The name that signatures are bound to.
    name: String,
    is_endpoint: bool,
}

impl Served {
    /// A model that is deployed to an endpoint. It is a tuned Gemini without thoughts.
    fn by_endpoint(id: &str) -> Self {
        Self { model: Model::new("google", ""), name: format!("endpoints/{id}"), is_endpoint: true }
    }

    /// A publisher's model, if it exists and has this method.
    fn by_publisher(
        request: &ApiRequest<'_>,
        publisher: &str,
        name: &str,
        method: ModelMethod,
    ) -> Result<Self, GoogleError> {
        let target = request.target;
        let Some(model) = request.shared.models.find(publisher, name) else {
            return Err(match method {
                // google-gemini/gemini-cli issue 1477.
                ModelMethod::CountTokens => {
                    let resource = target.resource();
                    GoogleError::invalid_argument(format!(
                        "countTokens is infeasible for {resource}"
                    ))
                }
                _ => GoogleError::unknown_model(target, publisher, name),
            });
        };
        if !model.surfaces.contains(&method.surface()) && !is_raw_predict(model, method) {
            return Err(not_served(model, method));
        }
        if method.surface() == Surface::RawPredict && !is_raw_predict(model, method) {
            // The protocols of other publishers.
            return Err(GoogleError::not_emulated(target.method()));
        }
        let name = format!("{publisher}/{name}");
        Ok(Self { model: model.clone(), name, is_endpoint: false })
    }
}

/// `rawPredict` of a model with `predict` takes the same body.
fn is_raw_predict(model: &Model, method: ModelMethod) -> bool {
    method == ModelMethod::RawPredict && model.surfaces.contains(&Surface::Predict)
}

/// The error for a model that exists but does not have the method.
fn not_served(model: &Model, method: ModelMethod) -> GoogleError {
    let is_embedder = model.kind == Kind::Embeddings;
    match method.surface() {
        // vercel/ai pull request 16238 and maximhq/bifrost pull request 6016, for
        // `gemini-embedding-2`.
        Surface::Predict | Surface::RawPredict if is_embedder => {
            GoogleError::failed_precondition("Precondition check failed.")
        }
        // googleapis/google-cloud-dotnet issue 11576. That other publishers' models get it is
        // assumed.
        Surface::Predict | Surface::RawPredict => GoogleError::failed_precondition(
            "Gemini cannot be accessed through Vertex Predict/RawPredict API. Please follow \
             https://cloud.google.com/vertex-ai/docs/generative-ai/start/quickstarts/\
             quickstart-multimodal for Gemini usage.",
        ),
        // egoist/chatwise-releases issue 1009, langchain-ai/deepagents issue 4485, both for Claude.
        // That the models for embeddings and the other methods get it is assumed.
        _ => GoogleError::failed_precondition(format!(
            "{} is not supported in the {} API.",
            model.name,
            method.verb()
        )),
    }
}

fn generate(
    request: &ApiRequest<'_>,
    served: &Served,
    body: &Map<String, Value>,
    method: ModelMethod,
) -> Result<Reply, GoogleError> {
    let ApiRequest { shared, target, head, .. } = request;
    let Conversation { messages, asked } =
        Conversation::of(body).map_err(GoogleError::invalid_argument)?;
    let Served { model, name, is_endpoint } = served;
    let mut rules = shared.refusals();
    // Reported for `openapi` alone.
    rules.text_beside_calls = false;
    check_contents(&rules, model, &messages, &asked)?;
    let cost = Cost::asked(model, &asked, &head.headers);
    let state = &shared.chat;
    let behavior = state.behavior();
    let chat = ChatRequest { state, name, model, messages: &messages, asked: &asked, cost };
    let outcome = chat::outcome(&chat, &behavior)
        .map_err(|refusal| GoogleError::invalid_argument(refusal.into_message()))?;
    let is_google = model.publisher == "google";
    let streams_arguments = match behavior.tool_stream {
        None => is_google && conversation::streams_arguments(body),
        Some(stream) => stream == ToolStream::AsDocumented,
    };
    let style = Style { is_google, behavior, streams_arguments };
    let head = Head {
        id: head::google_id(head::now()),
        create_time: shared.now().rfc3339_micros(),
        model_version: (!is_endpoint).then(|| model.name.clone()),
    };
    let response = Response { head, outcome, style };
    if method == ModelMethod::StreamGenerateContent {
        return Ok(response.stream(shared.stream_behavior().chunks, target.alt_sse));
    }
    Ok(ok(response.whole()))
}

/// The rules for Gemini models. Each model needs a content.
fn check_contents(
    rules: &Refusals,
    model: &Model,
    messages: &[Value],
    asked: &Map<String, Value>,
) -> Result<(), GoogleError> {
    refusals::check(rules, model, messages, asked)?;
    if messages.iter().all(|message| message["role"] == "system") {
        return Err(invalid("`contents` must not be empty"));
    }
    Ok(())
}

/// The prompt of a request, as the usage of its response counts it.
fn prompt(conversation: &Conversation) -> Result<String, String> {
    let Conversation { messages, asked } = conversation;
    let offer = Offer::of(asked)?;
    chat_content::choose(messages, asked, &offer, true).map(|(prompt, _)| prompt)
}

fn count(body: &Map<String, Value>) -> Result<Reply, GoogleError> {
    let conversation = Conversation::of(body).map_err(GoogleError::invalid_argument)?;
    if conversation.messages.is_empty() {
        return Err(invalid("`contents` must not be empty"));
    }
    Ok(ok(tokens::count(&prompt(&conversation).map_err(|why| invalid(&why))?)))
}

fn predict(
    request: &ApiRequest<'_>,
    served: &Served,
    body: &Map<String, Value>,
) -> Result<Reply, GoogleError> {
    if served.is_endpoint {
        return endpoint::predict(request.target, body).map(ok);
    }
    embeddings::predict(&served.model, body).map(ok)
}

#[cfg(test)]
mod tests;
