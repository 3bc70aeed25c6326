//! The Responses API of a publisher: `publishers/openai/v1/responses`.
//!
//! OpenAI's own SDKs have a provider for Vertex AI that calls it (PyPI `openai` 3.57,
//! `openai/providers/vertex.py`). No page of Google describes it. It is assumed that the models have
//! their bare names here, that responses are stored as OpenAI stores them, and that the errors of
//! Vertex AI are Google's objects.

use serde_json::Value;

use super::{
    api::{ApiRequest, invalid},
    chat::ResponsesModels,
    google_errors::GoogleError,
    models::{Kind, Surface},
    path::{Call, ProviderCall},
    reply::Reply,
    responses::{self, Storage},
    usage::Cost,
};

/// Returns the response, or the error.
pub(crate) async fn answer(mut request: ApiRequest<'_>) -> Result<Reply, GoogleError> {
    let Call::Provider { publisher, call } = request.target.call else {
        return Err(GoogleError::not_emulated(request.target.method()));
    };
    match call {
        ProviderCall::GetResponse(id) => return responses::get(request.shared, id),
        ProviderCall::DeleteResponse(id) => return responses::delete(request.shared, id),
        ProviderCall::CreateResponse | ProviderCall::CompactResponse => {}
    }
    let asked = request.json().await?;
    let ApiRequest { shared, target, head, .. } = request;
    let name = asked.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(invalid("`model` is required"));
    }
    let model = shared
        .models
        .find(publisher, &name)
        .ok_or_else(|| GoogleError::unknown_model(target, publisher, &name))?;
    let serves_any = shared.chat.behavior().responses == ResponsesModels::Any;
    let is_served = match serves_any {
        true => model.kind == Kind::Chat,
        false => model.surfaces.contains(&Surface::OpenAiResponses),
    };
    if !is_served {
        return Err(GoogleError::not_served_by(Surface::OpenAiResponses));
    }
    if call == ProviderCall::CompactResponse {
        return responses::compact(shared, &asked);
    }
    let cost = Cost::asked(model, &asked, &head.headers);
    responses::create(shared, &name, asked, &cost, Storage::Kept)
}
