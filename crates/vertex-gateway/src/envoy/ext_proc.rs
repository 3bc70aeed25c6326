//! Replaces a rejected token for another attempt of Envoy's router.
//!
//! Envoy opens a stream for each attempt. The request headers contain the token of the attempt, and
//! the response headers contain the status. The response headers of a 401 are held until the
//! refresh has ended. If there is a newer token, the response gets the header [`REPLAY`], and
//! Envoy's router is configured to retry such responses. The next attempt arrives here with the old
//! token and gets the new one. The response to that attempt goes to the client, regardless of its
//! status.

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
use tower_vertex::{auth::RefreshOutcome, error::Error, route::Protocol};

/// Header of a 401 that is worth another attempt.
const REPLAY: &str = "x-vertex-gateway-replay";
/// The number of the attempt, from 1, if the virtual host has `include_request_attempt_count`.
const ATTEMPT: &str = "x-envoy-attempt-count";

/// Envoy's `ext_proc`, among the filters of an upstream.
pub(super) struct ExtProc(pub(super) Arc<ExtAuthzState>);

/// The state of one stream.
#[derive(Default)]
struct StreamState {
    /// Generation of the token, if this process issued it.
    generation: Option<u64>,
    /// Whether the attempt repeats a request whose token was rejected.
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
        // The task ends with the stream, which Envoy closes.
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
                let head = Head(head);
                match self.sending(&head, attempt).await {
                    Ok(mutation) => Ok(RequestHeaders(continue_with(mutation))),
                    Err(refusal) => Ok(ImmediateResponse(immediate(&refusal, head.protocol()))),
                }
            }
            Some(processing_request::Request::ResponseHeaders(head)) => {
                Ok(ResponseHeaders(continue_with(self.answered(&Head(head), attempt).await)))
            }
            _ => Err(Status::invalid_argument(
                "only headers are wanted: leave the modes of bodies at NONE and those of trailers \
                 at SKIP in Envoy's configuration",
            )),
        }
    }

    /// Handles the request headers of an attempt. A token that was replaced meanwhile is also
    /// replaced here.
    async fn sending(
        &self,
        head: &Head,
        attempt: &mut StreamState,
    ) -> Result<HeaderMutation, LocalReply> {
        let mut mutation = HeaderMutation::default();
        let token = head.value(header::AUTHORIZATION.as_str()).unwrap_or_default();
        // A token that was not issued here is not changed.
        let Some(given) = self.issued_tokens.generation(token) else { return Ok(mutation) };
        self.check_transport(head)?;
        attempt.generation = Some(given);
        match self.auth.cache().get().await {
            Ok(token) if token.generation() != given => {
                let generation = token.generation();
                attempt.generation = Some(generation);
                // Envoy may also retry a request for other reasons, but then with the same token.
                attempt.is_replay = head.value(ATTEMPT) != Some(b"1");
                let authorization = token.authorization().clone();
                self.issued_tokens.add(&authorization, generation);
                let name = header::AUTHORIZATION;
                mutation.set_headers.push(proto::set_raw(name.as_str(), authorization.as_bytes()));
            }
            // The token may still be valid.
            Ok(_) | Err(_) => {}
        }
        Ok(mutation)
    }

    /// Only Envoy knows whether it uses TLS to the upstream. It says so in `:scheme`.
    fn check_transport(&self, head: &Head) -> Result<(), LocalReply> {
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

    /// Handles the response headers of an attempt. After the first 401 for a token that was issued
    /// here, it waits until the token is replaced or the refresh fails.
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

/// The headers of a request or a response.
struct Head(HttpHeaders);

impl Head {
    fn value(&self, name: &str) -> Option<&[u8]> {
        let headers = &self.0.headers.as_ref()?.headers;
        let EnvoyHeader { value, raw_value, .. } =
            headers.iter().find(|header| header.key == name)?;
        Some(if raw_value.is_empty() { value.as_bytes() } else { raw_value })
    }

    /// The protocol of the client. The path is the one that this gateway set, which has the protocol
    /// of the client's path.
    fn protocol(&self) -> Protocol {
        let path = self.value(":path").and_then(|path| str::from_utf8(path).ok()).unwrap_or("");
        Protocol::of(path.split('?').next().unwrap_or(""))
    }

    /// The changes to the headers of every response before a client sees it. They remove a
    /// [`REPLAY`] header of the upstream, because only the gateway may request a replay.
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

fn continue_with(mutation: HeaderMutation) -> HeadersResponse {
    let response = CommonResponse { header_mutation: Some(mutation), ..Default::default() };
    HeadersResponse { response: Some(response) }
}

fn immediate(refusal: &LocalReply, protocol: Protocol) -> ImmediateResponse {
    let answer = refusal.to_response(protocol);
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
