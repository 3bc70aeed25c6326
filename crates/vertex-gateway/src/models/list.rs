//! `/v1/models` lists the table of models in OpenAI's format. Vertex AI has no such method.

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::local_reply::{LocalReply, clip};
use tower_vertex::{
    error::RouteError,
    model::{ModelEntry, ModelTable},
};

/// The response, if the request is for models. It lists only models for which `may` is true.
pub(crate) fn answer(
    method: &Method,
    path: &str,
    table: &ModelTable,
    may: impl Fn(&str) -> bool,
    since: u64,
) -> Option<Result<Response<Bytes>, LocalReply>> {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let name = match path.strip_prefix("/models")? {
        "" | "/" => None,
        name => Some(name.strip_prefix('/')?),
    };
    if method != Method::GET && method != Method::HEAD {
        let (method, allowed) = (method.as_str().chars().take(200).collect(), "GET, HEAD");
        return Some(Err(RouteError::MethodNotAllowed { method, allowed }.into()));
    }
    let Some(name) = name else {
        // A wildcard pattern is not a name that a client could use.
        let entries = table.entries().filter(|entry| !entry.is_wildcard() && may(entry.pattern()));
        let data: Vec<Value> =
            entries.map(|entry| describe(entry.pattern(), entry, table, since)).collect();
        return Some(Ok(found(&json!({ "object": "list", "data": data }))));
    };
    let name = percent_decode_str(name).decode_utf8_lossy();
    Some(match table.find(&name).filter(|_| may(&name)) {
        Some(entry) => Ok(found(&describe(&name, entry, table, since))),
        None => {
            let name = clip(&name);
            let message = format!(
                "the model {name:?} is not in this gateway's table; Vertex AI may serve it all the \
                 same. {NAME_OF_ANOTHER}"
            );
            Err(LocalReply::new(StatusCode::NOT_FOUND, "model_not_found", message))
        }
    })
}

const NAME_OF_ANOTHER: &str = "For a client with a name of its own, such as gpt-4o-mini, map it: an \
     entry [[model]] with name = \"gpt-*\" and model = \"gemini-2.5-flash\" in the configuration file.";

fn describe(name: &str, entry: &ModelEntry, table: &ModelTable, since: u64) -> Value {
    let sent = entry.upstream_model(name, entry.upstream().unwrap_or(table.base()));
    // A model on its own endpoint has no publisher.
    let owner = sent.split_once('/').map_or("vertex-ai", |(publisher, _)| publisher);
    json!({ "id": name, "object": "model", "created": since, "owned_by": owner })
}

fn found(body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
