//! An attempt of Envoy's router: its token, and what its answer says of it.
//!
//! Envoy opens a stream for each attempt. With the head of the request comes the token that it was
//! given, by its own account; with that of the answer, what came of it. After a 401 the answer is held
//! until the refresh is decided. If there is a newer token, the answer gets the header
//! [`REPLAY`], which is what Envoy's router is told to retry for; the next attempt then comes here
//! with the old token, and gets the new one. The answer to that goes to the client, whatever it is.

use std::sync::Arc;

use envoy_types::pb::envoy::{
    config::core::v3::HeaderValue as EnvoyHeader,
    service::ext_proc::v3::{
        CommonResponse, HeaderMutation, HeadersResponse, HttpHeaders, ImmediateResponse,
        ProcessingRequest, ProcessingResponse, external_processor_server::ExternalProcessor,
        processing_request, processing_response,
    },
    r#type::v3::HttpStatus,
};
use http::{Uri, header};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{ExtAuthzState, proto};
use crate::{
    local_reply::LocalReply,
    outbound::{is_about_a_host, stream_headers},
};
use tower_vertex::{auth::RefreshOutcome, error::Error};

/// On a 401 that is worth another attempt.
const REPLAY: &str = "x-vertex-gateway-replay";
/// 1 for the first, if the virtual host has `include_request_attempt_count`.
const ATTEMPT: &str = "x-envoy-attempt-count";

/// Envoy's `ext_proc`, among the filters of an upstream.
pub(super) struct ExtProc(pub(super) Arc<ExtAuthzState>);

/// What a stream has to remember.
#[derive(Default)]
struct StreamState {
    /// Of the token, if it is from here.
    generation: Option<u64>,
    /// Of a request whose token was rejected.
    is_replay: bool,
}

#[tonic::async_trait]
impl ExternalProcessor for ExtProc {
    type ProcessStream = ReceiverStream<Result<ProcessingResponse, Status>>;

    async fn process(
        &self,
        request: Request<Streaming<ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let (answers, stream) = mpsc::channel(1);
        let mut messages = request.into_inner();
        let shared = Arc::clone(&self.0);
        // Ends with the stream, by which Envoy ends it.
        tokio::spawn(async move {
            let mut attempt = StreamState::default();
            while let Ok(Some(message)) = messages.message().await {
                let answer = shared.process(message, &mut attempt).await;
                let answer = answer.map(|response| ProcessingResponse {
                    response: Some(response),
                    ..Default::default()
                });
                if answers.send(answer).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl ExtAuthzState {
    async fn process(
        &self,
        message: ProcessingRequest,
        attempt: &mut StreamState,
    ) -> Result<processing_response::Response, Status> {
        use processing_response::Response::{ImmediateResponse, RequestHeaders, ResponseHeaders};
        match message.request {
            Some(processing_request::Request::RequestHeaders(head)) => {
                match self.sending(&Head(head), attempt).await {
                    Ok(mutation) => Ok(RequestHeaders(go_on(mutation))),
                    Err(refusal) => Ok(ImmediateResponse(immediate(&refusal))),
                }
            }
            Some(processing_request::Request::ResponseHeaders(head)) => {
                Ok(ResponseHeaders(go_on(self.answered(&Head(head), attempt).await)))
            }
            _ => Err(Status::invalid_argument(
                "only headers are wanted: leave the modes of bodies at NONE and those of trailers \
                 at SKIP in Envoy's configuration",
            )),
        }
    }

    /// Before it is sent: a token that was replaced since is replaced here too.
    async fn sending(
        &self,
        head: &Head,
        attempt: &mut StreamState,
    ) -> Result<HeaderMutation, LocalReply> {
        let mut mutation = HeaderMutation::default();
        let token = head.value(header::AUTHORIZATION.as_str()).unwrap_or_default();
        // What was not given away here is none of our business, and gets nothing.
        let Some(given) = self.issued_tokens.generation(token) else { return Ok(mutation) };
        self.check_way(head)?;
        attempt.generation = Some(given);
        match self.auth.cache().get().await {
            Ok(token) if token.generation() != given => {
                let generation = token.generation();
                attempt.generation = Some(generation);
                // Envoy may send a request again for other reasons too, but with the same token.
                attempt.is_replay = head.value(ATTEMPT) != Some(b"1");
                let authorization = token.authorization().clone();
                self.issued_tokens.add(&authorization, generation);
                let name = header::AUTHORIZATION;
                mutation.set_headers.push(proto::set_raw(name.as_str(), authorization.as_bytes()));
            }
            // It may be good yet.
            Ok(_) | Err(_) => {}
        }
        Ok(mutation)
    }

    /// Envoy alone knows whether it speaks TLS to the upstream, and says so in `:scheme`.
    fn check_way(&self, head: &Head) -> Result<(), LocalReply> {
        let text = |name| head.value(name).and_then(|value| str::from_utf8(value).ok());
        let (scheme, host) = (text(":scheme").unwrap_or("http"), text(":authority"));
        let uri = Uri::builder().scheme(scheme).authority(host.unwrap_or("")).path_and_query("/");
        let Ok(uri) = uri.build() else {
            return Err(LocalReply::forward_proxy_request());
        };
        self.auth.check_host(&uri).map_err(|error| {
            let error = Error::from(error);
            tracing::warn!(
                %error,
                "Envoy was about to send the token there: its cluster needs TLS, and its \
                 connection manager `scheme_header_transformation` with `match_upstream`"
            );
            LocalReply::new(error.status(), error.code(), error.to_string())
        })
    }

    /// After a 401 to a token from here, once: waits until it is replaced, or cannot be.
    async fn answered(&self, head: &Head, attempt: &StreamState) -> HeaderMutation {
        let mut mutation = head.for_clients();
        let Some(generation) = attempt.generation.filter(|_| !attempt.is_replay) else {
            return mutation;
        };
        if head.value(":status") != Some(b"401") {
            return mutation;
        }
        let outcome = match self.auth.cache().rejected(generation).await {
            Ok(_) => RefreshOutcome::Replayed,
            Err(outcome) => outcome,
        };
        self.telemetry.token_replayed(outcome.as_str());
        tracing::info!(generation, outcome = outcome.as_str(), "Vertex AI rejected a token");
        if matches!(outcome, RefreshOutcome::Replayed) {
            mutation.remove_headers.retain(|name| name != REPLAY);
            mutation.set_headers.push(proto::set_raw(REPLAY, b"1"));
        }
        mutation
    }
}

/// The head of a request or an answer.
struct Head(HttpHeaders);

impl Head {
    fn value(&self, name: &str) -> Option<&[u8]> {
        let headers = &self.0.headers.as_ref()?.headers;
        let EnvoyHeader { value, raw_value, .. } =
            headers.iter().find(|header| header.key == name)?;
        Some(if raw_value.is_empty() { value.as_bytes() } else { raw_value })
    }

    /// What is to be done with the head of an answer, whatever it is, before a client sees it. That
    /// it is to be replayed, too, is nobody else's say.
    fn for_clients(&self) -> HeaderMutation {
        let headers = self.0.headers.as_ref().map_or(&[][..], |headers| &headers.headers);
        let mut removed: Vec<String> = headers.iter().map(|header| header.key.clone()).collect();
        removed.retain(|name| is_about_a_host(name));
        removed.dedup();
        let kind = self.value(header::CONTENT_TYPE.as_str());
        let has_cache_control = self.value(header::CACHE_CONTROL.as_str()).is_some();
        let set = stream_headers(kind, has_cache_control);
        HeaderMutation {
            set_headers: set
                .map(|(name, value)| proto::set_raw(name.as_str(), value.as_bytes()))
                .collect(),
            remove_headers: removed,
        }
    }
}

fn go_on(mutation: HeaderMutation) -> HeadersResponse {
    let response = CommonResponse { header_mutation: Some(mutation), ..Default::default() };
    HeadersResponse { response: Some(response) }
}

fn immediate(refusal: &LocalReply) -> ImmediateResponse {
    let answer = refusal.to_response();
    let headers = answer.headers().iter();
    let set = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        proto::set_raw(name.as_str(), value.as_bytes())
    };
    ImmediateResponse {
        status: Some(HttpStatus { code: answer.status().as_u16().into() }),
        headers: Some(HeaderMutation {
            set_headers: headers
                .filter(|(name, _)| *name != header::CONTENT_LENGTH)
                .map(set)
                .collect(),
            ..Default::default()
        }),
        body: answer.body().to_vec(),
        ..Default::default()
    }
}
