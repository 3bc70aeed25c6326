//! The lists of models: `/v1/models` and its like, `vertex-gateway models` and `check --models`.

#[cfg(unix)]
mod cli;
mod default;
mod failures;
mod forms;
mod places;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_vertex_emulator::Emulator;

use crate::common::{gateway::Gateway, text};

/// The JSON of a response to a GET with these headers.
async fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    json_of(gateway, request.body(Full::default()).unwrap()).await
}

async fn post(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(path).header("content-type", "application/json");
    json_of(gateway, request.body(Full::from(body.to_string())).unwrap()).await
}

async fn json_of(gateway: &Gateway, request: Request<Full<Bytes>>) -> (u16, Value) {
    let response = gateway.call(request).await;
    let status = response.status();
    let body = text(response).await;
    (status.as_u16(), serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}")))
}

/// The names in a list.
fn names(list: &Value, field: &str, name: &str) -> Vec<String> {
    let models = list[field].as_array().unwrap_or_else(|| panic!("{list}")).iter();
    models.map(|model| model[name].as_str().unwrap().to_owned()).collect()
}

async fn openai_ids(gateway: &Gateway) -> Vec<String> {
    let (status, list) = get(gateway, "/v1/models", &[]).await;
    assert_eq!(status, StatusCode::OK);
    names(&list, "data", "id")
}

const ANTHROPIC: &[(&str, &str)] = &[("anthropic-version", "2023-06-01")];

async fn anthropic_ids(gateway: &Gateway) -> Vec<String> {
    let (status, list) = get(gateway, "/v1/models?limit=1000", ANTHROPIC).await;
    assert_eq!(status, StatusCode::OK);
    names(&list, "data", "id")
}

fn chat(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "x" }] })
}

/// The requests for lists that have arrived: their paths and hosts.
fn lists(vertex: &Emulator) -> Vec<String> {
    let requests = vertex.requests().into_iter();
    requests.map(|seen| seen.path).filter(|path| path.ends_with("/models")).collect()
}
