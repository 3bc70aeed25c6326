//! Requests of Anthropic's Messages, whose model moves from the body into the path.

use bytes::Bytes;
use http::{HeaderMap, request::Parts};

use super::{
    ModelTable,
    body::{Edit, splice},
    named::{Named, uri_of},
    scan::Message,
};
use crate::{
    body_headers::describe_anew,
    error::ModelError,
    replay::Chunks,
    route::{ANTHROPIC, COUNT_TOKENS, ModelPath, PathTarget, Protocol},
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
        (false, false) => (&*resolved.name, "rawPredict"),
        (false, true) => (&*resolved.name, "streamRawPredict"),
    };
    let new = uri_of(&resolved, name, method, &path, uri.query())?;
    // The path of an endpoint of one's own, or of another publisher, does not tell the protocol.
    if resolved.publisher != Some(ANTHROPIC) {
        extensions.insert(Protocol::Anthropic);
    }
    *uri = new;

    let mut edits = if counts {
        let name = without_date(&resolved.name);
        if name == model.name {
            Vec::new()
        } else {
            let name = serde_json::Value::from(name).to_string();
            Edit::each(&model.spans, &Bytes::from(name))
        }
    } else {
        Edit::each(&cuts, &Bytes::new())
    };
    if !has_version {
        let comma = if is_empty && !counts { "" } else { "," };
        let member = [comma, MEMBER, version(headers), "\""].concat();
        edits.push(Edit { range: end..end, new: Bytes::from(member) });
    }
    let body = splice(body, &edits);
    describe_anew(headers, body.data.len());
    Ok(body)
}

/// The member that a request of Anthropic's own API lacks, up to its value.
const MEMBER: &str = r#""anthropic_version":""#;

/// The first version of Anthropic's API, in its own header and on Vertex AI.
/// <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/use-claude>
const FIRST: (&str, &str) = ("2023-06-01", "vertex-2023-10-16");

/// The version for a request with these headers: that of its header `anthropic-version`, on which the
/// shape of the request depends. Later versions than the first one have the same name on Vertex AI:
/// Anthropic's own client for Vertex AI (PyPI, `anthropic` 2.14.0) writes `2026-10-21` into the body. A
/// header that is no date, or that occurs twice, counts as none.
fn version(headers: &HeaderMap) -> &str {
    let mut values = headers.get_all("anthropic-version").iter();
    let value = values.next().filter(|_| values.next().is_none());
    let is_date = |text: &&str| {
        let digit = |(at, byte): (usize, u8)| match at {
            4 | 7 => byte == b'-',
            _ => byte.is_ascii_digit(),
        };
        text.len() == 10 && text.bytes().enumerate().all(digit)
    };
    let date = value.and_then(|value| value.to_str().ok()).filter(is_date);
    date.filter(|date| *date != FIRST.0).unwrap_or(FIRST.1)
}

/// The name without its date or version. Vertex AI counts tokens only for such a name: "NAME@default
/// is not supported for token counting" (litellm #25798).
fn without_date(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    match name.rsplit_once('-') {
        Some((model, date)) if is_date(date) && !model.is_empty() => model,
        _ => name,
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The model as Vertex AI names it: `claude-sonnet-4-5-20250929` of Anthropic's API is
/// `claude-sonnet-4-5@20250929` there.
pub(super) fn with_vertex_date(name: &str) -> Option<String> {
    let (model, date) = name.rsplit_once('-')?;
    (is_date(date) && !model.is_empty() && !name.contains('@')).then(|| [model, "@", date].concat())
}

#[cfg(test)]
mod tests;
