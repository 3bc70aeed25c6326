//! Requests of Anthropic's Messages, whose model moves from the body into the path.

use bytes::Bytes;
use http::request::Parts;

use super::{
    ModelTable,
    body::{Edit, splice},
    named::{Named, keep_protocol, uri_of},
    scan::Message,
};
use crate::{
    body_headers::describe_anew,
    error::ModelError,
    replay::Chunks,
    route::{COUNT_TOKENS, ModelPath, PathTarget, Protocol},
};

/// Turns a request of Anthropic's Messages into one for Vertex AI: the model moves from the body into
/// the path, and the body gets the version if it has none. All other bytes stay.
pub(super) fn route_message(
    table: &ModelTable,
    head: &mut Parts,
    body: Chunks,
    message: Message,
) -> Result<Chunks, ModelError> {
    let Parts { uri, extensions, headers, .. } = head;
    let Some(path) = ModelPath::parse(uri.path(), table.base().prefix()) else { return Ok(body) };
    let Message { model, cuts, stream, has_version, end, is_empty } = message;
    let named = Named::in_message(&model.name);
    let resolved = table.resolve(named, None, extensions, headers);

    let counts = path.target() == PathTarget::CountTokens;
    let (name, method) = match (counts, stream) {
        // Vertex AI counts tokens for the model in the body.
        (true, _) => (COUNT_TOKENS, "rawPredict"),
        (false, false) => (resolved.name.as_str(), "rawPredict"),
        (false, true) => (resolved.name.as_str(), "streamRawPredict"),
    };
    let new = uri_of(&resolved, name, method, &path, uri.query())?;
    keep_protocol(Protocol::Anthropic, &new, extensions);
    *uri = new;

    let mut edits = if !counts {
        Edit::each(&cuts, &Bytes::new())
    } else if resolved.name == model.name {
        Vec::new()
    } else {
        let name = serde_json::Value::String(resolved.name).to_string();
        Edit::each(&model.spans, &Bytes::from(name))
    };
    if !has_version {
        let member = if is_empty && !counts { &VERSION_MEMBER[1..] } else { VERSION_MEMBER };
        edits.push(Edit { range: end..end, new: Bytes::from_static(member.as_bytes()) });
    }
    let body = splice(body, &edits);
    describe_anew(headers, body.data.len());
    Ok(body)
}

/// The member that a request of Anthropic's own API lacks. The version is that of Vertex AI, which
/// has only this one, and is not the version in the header `anthropic-version`.
/// <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>
const VERSION_MEMBER: &str = r#","anthropic_version":"vertex-2023-10-16""#;

/// The model as Vertex AI names it: `claude-sonnet-4-5-20250929` of Anthropic's API is
/// `claude-sonnet-4-5@20250929` there.
pub(super) fn with_vertex_date(name: &str) -> Option<String> {
    let (model, date) = name.rsplit_once('-')?;
    let is_date = date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit());
    (is_date && !model.is_empty() && !name.contains('@')).then(|| [model, "@", date].concat())
}

#[cfg(test)]
mod tests;
