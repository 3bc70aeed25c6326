//! `/v1/models` and its like: the models that a client may request, in the form of its protocol.
//!
//! | file | what it does |
//! |---|---|
//! | `question` | which requests are for a list, and in which form |
//! | `catalogue` | the table and Vertex AI's lists, as one list for a client |
//! | `format` | the response in each form |
//! | `probe` | the smallest request to each model |

mod catalogue;
mod format;
mod probe;
mod question;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

use self::catalogue::Catalogue;
pub(crate) use self::{
    probe::{Probe, probes},
    question::{Form, Question, protocol_of},
};
use crate::{
    local_reply::{LocalReply, clip},
    models::publishers::Listed,
};
use tower_vertex::{
    error::RouteError, error_format::how_to_map, model::ModelTable, route::Protocol,
};

/// The response to a request for models. It has only models for which `may` is true.
pub(crate) fn answer(
    question: &Question,
    method: &Method,
    table: &ModelTable,
    listed: &Listed,
    may: impl Fn(&str) -> bool,
    since: u64,
) -> Result<Response<Bytes>, LocalReply> {
    if method != Method::GET && method != Method::HEAD {
        let (method, allowed) = (method.as_str().chars().take(200).collect(), "GET, HEAD");
        return Err(RouteError::MethodNotAllowed { method, allowed }.into());
    }
    let catalogue = Catalogue { table, listed, may };
    let Some(name) = &question.name else {
        let items = match &question.form {
            Form::Vertex { publisher } => catalogue.of_publisher(publisher),
            form => catalogue.of_protocol(form.protocol()),
        };
        return Ok(found(&format::list(question, &items, since)));
    };
    let item = match &question.form {
        Form::Vertex { publisher } => catalogue
            .of_publisher(publisher)
            .into_iter()
            .find(|item| item.id == *name || item.model.id == *name),
        form => catalogue.find(name, form.protocol()),
    };
    match item {
        Some(item) => Ok(found(&format::describe(&question.form, &item, since))),
        None => {
            let name = clip(name);
            let message = format!(
                "the model {name:?} is neither in this gateway's table nor in Vertex AI's list; \
                 Vertex AI may serve it all the same. {}",
                how_to_map(&name)
            );
            Err(LocalReply::new(StatusCode::NOT_FOUND, "model_not_found", message))
        }
    }
}

impl Form {
    /// The protocol of the clients that read this form.
    pub(crate) fn protocol(&self) -> Protocol {
        match self {
            Self::OpenAi => Protocol::OpenAi,
            Self::Anthropic => Protocol::Anthropic,
            Self::Gemini | Self::Vertex { .. } => Protocol::Gemini,
        }
    }
}

fn found(body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
