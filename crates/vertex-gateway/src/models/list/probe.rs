//! The smallest request to each model of the lists.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::catalogue::{Catalogue, Item};
use crate::models::publishers::Listed;
use tower_vertex::{discover::ModelMethod, model::ModelTable, route::Protocol};

/// A request for one token, or for one vector.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Probe {
    /// The name of the model on the lists.
    pub(crate) name: String,
    pub(crate) method: ModelMethod,
    pub(crate) path: String,
    pub(crate) body: Value,
}

/// A request to each model that any client can see on a list. A model on several lists gets one.
pub(crate) fn probes(table: &ModelTable, listed: &Listed) -> Vec<Probe> {
    let catalogue = Catalogue { table, listed, may: |_: &str| true };
    let mut seen = HashSet::new();
    let mut is_new = |item: &Item| {
        let name = if item.is_alias { item.id.clone() } else { item.model.qualified_id() };
        seen.insert((item.is_alias, name))
    };
    let mut probes = Vec::new();
    for protocol in [Protocol::OpenAi, Protocol::Anthropic, Protocol::Gemini] {
        let items = catalogue.of_protocol(protocol).into_iter().filter(&mut is_new);
        probes.extend(items.map(|item| {
            let methods = item.model.methods().iter().copied();
            let method = methods.filter(|method| method.protocol() == protocol).min_by_key(rank);
            // An operator may have a name for a model that `openapi` serves, too.
            let usual = match item.model.methods() {
                [ModelMethod::Predict | ModelMethod::EmbedContent] => ModelMethod::Embeddings,
                _ => ModelMethod::ChatCompletions,
            };
            probe(method.unwrap_or(usual), &item.id, &item)
        }));
    }
    // No protocol's list has these: their clients know the names.
    for publisher in listed.publishers() {
        let items = catalogue.of_publisher(publisher).into_iter().filter(|item| !item.is_alias);
        for item in items.filter(&mut is_new) {
            if let Some(method) = item.model.methods().first() {
                probes.push(probe(*method, &item.model.model_id(), &item));
            }
        }
    }
    probes
}

/// A chat comes before all else: most clients send one.
fn rank(method: &ModelMethod) -> bool {
    *method != ModelMethod::ChatCompletions
}

fn probe(method: ModelMethod, id: &str, item: &Item) -> Probe {
    const TEXT: &str = "Say: yes";
    let messages = json!([{ "role": "user", "content": TEXT }]);
    let part = json!({ "role": "user", "parts": [{ "text": TEXT }] });
    let publisher = &item.owner;
    let (path, body) = match method {
        ModelMethod::Embeddings => ("/v1/embeddings".into(), json!({ "model": id, "input": TEXT })),
        ModelMethod::Responses => (
            format!("/v1/publishers/{publisher}/v1/responses"),
            // The least that OpenAI's models take.
            json!({ "model": id, "input": TEXT, "max_output_tokens": 16 }),
        ),
        ModelMethod::GenerateContent => (
            format!("/v1beta1/models/{id}:generateContent"),
            json!({ "contents": [part], "generationConfig": { "maxOutputTokens": 1 } }),
        ),
        ModelMethod::EmbedContent => {
            (format!("/v1beta1/models/{id}:embedContent"), json!({ "content": part }))
        }
        ModelMethod::Predict => {
            (format!("/v1beta1/models/{id}:predict"), json!({ "instances": [{ "content": TEXT }] }))
        }
        ModelMethod::Messages => {
            ("/v1/messages".into(), json!({ "model": id, "max_tokens": 1, "messages": messages }))
        }
        ModelMethod::RawPredict => (
            format!("/v1/publishers/{publisher}/models/{id}:rawPredict"),
            json!({ "model": id, "max_tokens": 1, "messages": messages }),
        ),
        _ => (
            "/v1/chat/completions".into(),
            json!({ "model": id, "max_tokens": 1, "messages": messages }),
        ),
    };
    let name = if item.is_alias { item.id.clone() } else { item.model.qualified_id() };
    Probe { name, method, path, body }
}
