//! A service that records its requests and returns the responses of a script.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_vertex::{
    BoxError,
    compat::{RequestBody, VertexCompatLayer},
};

pub(super) const MODEL: &str = "google/gemini-3.1-pro-preview";

/// A request as the service received it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Whether the layer has read the body.
    pub(super) read: bool,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

/// The requests that arrived, and the responses to the next ones.
#[derive(Clone, Debug, Default)]
pub(super) struct Script {
    seen: Arc<Mutex<Vec<Seen>>>,
    next: Arc<Mutex<VecDeque<Response<Full<Bytes>>>>>,
}

impl Script {
    /// The next requests get these statuses and bodies; all later ones get 200.
    pub(super) fn respond(&self, responses: &[(u16, &str)]) {
        let responses = responses.iter().map(|(status, body)| {
            let response = Response::builder().status(*status);
            response.body(Full::from((*body).to_owned())).unwrap()
        });
        self.next.lock().unwrap().extend(responses);
    }

    pub(super) fn respond_with(&self, response: Response<Full<Bytes>>) {
        self.next.lock().unwrap().push_back(response);
    }

    /// The requests since the last call.
    pub(super) fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// The bodies of the requests since the last call.
    pub(super) fn bodies(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.body).collect()
    }

    /// Sends a request through the layer.
    pub(super) async fn send<B>(
        &self,
        layer: &VertexCompatLayer,
        request: Request<B>,
    ) -> Response<Bytes>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let response = layer.layer(self.service()).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    pub(super) fn service<B>(
        &self,
    ) -> impl Service<
        Request<RequestBody<B>>,
        Response = Response<Full<Bytes>>,
        Error = BoxError,
        Future: Send,
    > + Clone
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let Self { seen, next } = self.clone();
        service_fn(move |request: Request<RequestBody<B>>| {
            let (seen, next) = (Arc::clone(&seen), Arc::clone(&next));
            async move {
                let read = format!("{:?}", request.body()) == "RequestBody(read)";
                let (head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let body = String::from_utf8(body.to_vec()).unwrap();
                seen.lock().unwrap().push(Seen { read, headers: head.headers, body });
                Ok(next.lock().unwrap().pop_front().unwrap_or_default())
            }
        })
    }
}

/// A request for a chat with this body.
pub(super) fn chat(body: impl Into<String>) -> Request<Full<Bytes>> {
    let body = body.into();
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("content-length", body.len())
        .body(Full::from(body))
        .unwrap()
}

/// The names of the cures in the header of a response.
pub(super) fn cures<B>(response: &Response<B>) -> Option<&str> {
    Some(response.headers().get("x-vertex-compat")?.to_str().unwrap())
}

/// A conversation whose last step called a tool with this id, and lost its signature.
pub(super) fn conversation(model: &str, id: &str) -> String {
    format!(
        r#"{{"model": "{model}", "messages": [{{"role": "user", "content": "hi"}}, {{"role": "assistant", "tool_calls": [{{"id": "{id}", "type": "function", "function": {{"name": "f", "arguments": "{{}}"}}}}]}}, {{"role": "tool", "tool_call_id": "{id}", "content": "1"}}]}}"#
    )
}

/// The same with a signature on the call.
pub(super) fn signed(conversation: &str, signature: &str) -> String {
    let extra =
        format!(r#"{{"extra_content":{{"google":{{"thought_signature":"{signature}"}}}},"id""#);
    conversation.replace(r#"{"id""#, &extra)
}

/// The 400 of Vertex AI for a missing signature.
pub(super) const MISSING: &str = r#"{"error":{"message":"Unable to submit request because function call `default_api:f` in the 2. content block is missing a `thought_signature`. Learn more: https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures","type":"invalid_request_error","code":"400"}}"#;

/// The status of a response, and the cures that it names.
pub(super) fn outcome(response: &Response<Bytes>) -> (StatusCode, Option<&str>) {
    (response.status(), cures(response))
}
