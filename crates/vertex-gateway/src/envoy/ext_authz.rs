//! Decides on a request: its upstream and its token, or an error. The layers of the gateway decide,
//! with [`echo`] as the innermost service.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use bytes::Bytes;
use envoy_types::pb::envoy::{
    config::core::v3::{address::Address, socket_address::PortSpecifier},
    service::auth::v3::{
        CheckRequest, CheckResponse,
        attribute_context::{HttpRequest, Peer},
        authorization_server::Authorization,
    },
};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header,
    uri::PathAndQuery,
};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use super::{ExtAuthzState, proto};
use crate::{
    inbound::{
        body_limit::asks_for_upgrade,
        browser::{Cors, Listener, answer_options, is_options},
    },
    local_reply::{LocalReply, clip},
    models::list::protocol_of,
    proxy::{
        admission::{admit_head, admit_model},
        errors,
        handler::{QUOTA_PROJECT, request_id, strip_client},
        recorded_body::RequestRecord,
        resource::PREFIX,
    },
    telemetry::access_log::End,
};
use tower_vertex::{
    BoxError, Error,
    error::RouteError,
    model::{RequestedModel, UpstreamModel, VertexModelLayer},
    retry::Attempts,
    route::{ModelPath, PathTarget, Upstream, VertexRouteLayer},
};

/// `true` if Envoy sends a part of the body, and `false` if it sends all of it. The header is
/// missing if Envoy is not configured to send bodies. A client cannot set it.
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

/// Longest path and query of a `Uri`, in bytes.
const LONGEST: usize = (u16::MAX - 1) as usize;

/// The decision that is returned to Envoy.
pub(super) enum Decision {
    /// Forward the request with these headers.
    Pass(Passed),
    /// Return this response at once.
    Reply(Response<Bytes>),
}

/// The head of a request that may be forwarded.
pub(super) struct Passed {
    pub(super) uri: Uri,
    /// Headers to set: new ones, and those whose value differs from the client's.
    pub(super) set: HeaderMap,
    /// Headers of the client that must not be forwarded.
    pub(super) removed: Vec<HeaderName>,
    /// The CORS headers for Vertex AI's response.
    pub(super) cors: Cors,
}

/// Envoy's `ext_authz`.
pub(super) struct ExtAuthz(pub(super) Arc<ExtAuthzState>);

#[tonic::async_trait]
impl Authorization for ExtAuthz {
    async fn check(
        &self,
        request: tonic::Request<CheckRequest>,
    ) -> Result<tonic::Response<CheckResponse>, tonic::Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let listener = listener(attributes.destination.as_ref());
        let peer = attributes.source.and_then(address).filter(|_| self.0.log_peer_address);
        let http = attributes.request.and_then(|request| request.http);
        let http = http.ok_or_else(|| {
            tonic::Status::invalid_argument(
                "no HTTP request to check: this serves envoy.filters.http.ext_authz",
            )
        })?;
        Ok(tonic::Response::new(self.0.check(http, listener, peer).await))
    }
}

impl ExtAuthzState {
    async fn check(
        &self,
        mut asked: HttpRequest,
        listener: Listener,
        peer: Option<SocketAddr>,
    ) -> CheckResponse {
        let is_extended = has_protocol(&asked);
        let (headers, all) = headers(&mut asked);
        let cors = self.browsers.cors(&headers);
        let id = request_id(&headers);
        // An invalid method is refused below.
        let method = Method::from_bytes(asked.method.as_bytes()).unwrap_or(Method::CONNECT);
        let path = PathAndQuery::try_from(asked.path.as_str()).ok();
        let query = path.as_ref().and_then(PathAndQuery::query);
        let path = path.as_ref().map_or("", PathAndQuery::path);
        let protocol = protocol_of(path, &headers, query);
        let mut record = RequestRecord::new(id.clone(), method, path, Arc::clone(&self.telemetry));
        record.log.peer_address = peer;
        let verdict = if all {
            // Over HTTP/2, an upgrade is a CONNECT (RFC 8441), which Envoy shows as a CONNECT or
            // as a GET.
            let is_upgrade = is_extended || asks_for_upgrade(&headers);
            self.decide(asked, headers, is_upgrade, listener, &cors, &mut record).await
        } else {
            Err(too_many_headers())
        };
        record.log.end = End::Complete;
        match verdict {
            Ok(Decision::Pass(passed)) => {
                record.log.status = Some(StatusCode::OK);
                proto::pass(&passed)
            }
            Ok(Decision::Reply(mut answer)) => {
                cors.put_on(answer.headers_mut());
                record.log.status = Some(answer.status());
                proto::answer(&answer, &id)
            }
            Err(refusal) => {
                record.log.refuse(&refusal);
                let mut answer = refusal.to_response(protocol);
                cors.put_on(answer.headers_mut());
                record.log.status = Some(answer.status());
                proto::answer(&answer, &id)
            }
        }
    }

    async fn decide(
        &self,
        asked: HttpRequest,
        came: HeaderMap,
        is_upgrade: bool,
        listener: Listener,
        cors: &Cors,
        record: &mut RequestRecord,
    ) -> Result<Decision, LocalReply> {
        let refused = |error: BoxError| errors::local_reply(&error, &self.upstream);
        if asked.path.len() > LONGEST {
            return Err(refused(Error::from(RouteError::TooLong).into()));
        }
        let uri = path(&asked.path).filter(|_| record.log.method != Method::CONNECT || is_upgrade);
        let uri = uri.ok_or_else(LocalReply::forward_proxy_request)?;
        if !self.clients.load().have_keys() {
            let mut seen = came.clone();
            // Envoy passes the host apart from the headers.
            let host = HeaderValue::try_from(asked.host.as_str());
            seen.insert(header::HOST, host.unwrap_or(HeaderValue::from_static("")));
            self.browsers.admit(&uri, &seen, listener)?;
        }
        if is_options(&record.log.method) {
            return answer_options(&came, cors).map(Decision::Reply);
        }
        let query = uri.query();
        let protocol = protocol_of(uri.path(), &came, query);
        let client = self.clients.load().authenticate(&came, query, protocol)?;
        if let Some(client) = &client {
            let _ = record.context.client.set(Arc::clone(client));
        }
        if is_upgrade {
            return Err(LocalReply::upgrade_required());
        }
        let table = self.models.table();
        let mut request = Request::new(());
        *request.method_mut() = record.log.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = came.clone();
        let (publishers, since) = (&self.publishers, self.since);
        let models = admit_head(&mut request, &table, publishers, client.as_deref(), since).await?;
        if let Some(models) = models {
            return Ok(Decision::Reply(models));
        }
        let place = ModelPlace::of(request.uri().path())?;
        let body = match place {
            ModelPlace::Path => Bytes::new(),
            ModelPlace::Body => whole_body(asked, &came)?,
        };
        let mut request = request.map(|()| Full::new(body));
        strip_client(request.headers_mut(), table.base());
        // The request uses this table, even if a reload replaces it meanwhile.
        let models = VertexModelLayer::new(table.clone()).body_limit(self.max_request_bytes);
        let request = models.layer(service_fn(echo)).oneshot(request).await.map_err(refused)?;
        let request = request.into_body().map(drop);
        admit_model(request.extensions(), &record.context)?;
        let upstream = request.extensions().get::<Upstream>().unwrap_or(&self.upstream).clone();
        if place == ModelPlace::Body
            && let Some(model) = request.extensions().get::<RequestedModel>()
        {
            let published = model.with_publisher();
            let found = request.extensions().get::<UpstreamModel>();
            let sent = match published.zip(found) {
                // A body whose path names the publisher keeps its name unless it is renamed.
                Some((asked, sent)) if asked == sent.as_str() => model.as_str().into(),
                Some((_, sent)) => sent.as_str().into(),
                None => {
                    table.upstream_model(model.default_model().unwrap_or(model.as_str()), &upstream)
                }
            };
            // A body without a model requests the default model, which would have to be added.
            let is_missing = model.default_model() == Some(model.as_str());
            same_name(if is_missing { "" } else { model.as_str() }, &sent)?;
        }
        let route = VertexRouteLayer::new(self.upstream.clone()).layer(service_fn(echo));
        let routed = route.oneshot(request).await.map_err(refused)?.into_body();
        let (mut head, ()) = routed.into_parts();
        let generation = self.auth.authorize(&head.uri, &mut head.headers).await;
        let generation = generation.map_err(|error| refused(error.into()))?;
        if let Some(authorization) = head.headers.get(header::AUTHORIZATION) {
            self.issued_tokens.add(authorization, generation);
        }
        let attempts = Attempts::new();
        attempts.begin(Some(&upstream), std::time::Duration::ZERO);
        let _ = record.context.attempts.set(attempts);
        let mut set = head.headers;
        let removed = came.keys().filter(|name| !set.contains_key(*name)).cloned().collect();
        for name in came.keys() {
            let same = set.get_all(name).iter().eq(came.get_all(name));
            if same && name != header::AUTHORIZATION && name != QUOTA_PROJECT {
                set.remove(name);
            }
        }
        Ok(Decision::Pass(Passed { uri: head.uri, set, removed, cors: cors.clone() }))
    }
}

/// The kind of Envoy's listener that accepted the client.
fn listener(destination: Option<&Peer>) -> Listener {
    let address = || match destination?.address.as_ref()?.address.as_ref()? {
        Address::SocketAddress(socket) => socket.address.parse::<IpAddr>().ok(),
        _ => None,
    };
    match address().map(Listener::at) {
        Some(Listener::Loopback) => Listener::Loopback,
        // Envoy protects such a listener itself, and clients reach it under Envoy's names.
        _ => Listener::Foreign,
    }
}

/// The innermost service of a stack, which returns the request.
async fn echo<B>(request: Request<B>) -> Result<Response<Request<B>>, Infallible> {
    Ok(Response::new(request))
}

/// Whether Envoy passes the protocol of an extended CONNECT.
fn has_protocol(asked: &HttpRequest) -> bool {
    const PROTOCOL: &str = ":protocol";
    let mut as_they_are = asked.header_map.iter().flat_map(|map| &map.headers);
    asked.headers.contains_key(PROTOCOL) || as_they_are.any(|header| header.key == PROTOCOL)
}

/// Returns the headers that Envoy sent, without names that start with a colon. Envoy joins headers
/// of the same name with commas, unless it is configured to send them separately. Also returns
/// whether these are all headers, because there is room for 24,576 names.
fn headers(asked: &mut HttpRequest) -> (HeaderMap, bool) {
    let as_they_are = asked.header_map.take().map(|map| map.headers).unwrap_or_default();
    let as_they_are = as_they_are.into_iter().map(|header| {
        let value = header.value.into_bytes();
        (header.key, if value.is_empty() { header.raw_value } else { value })
    });
    let merged = std::mem::take(&mut asked.headers).into_iter();
    let merged = merged.map(|(name, value)| (name, value.into_bytes()));
    let mut headers = HeaderMap::new();
    for (name, value) in merged.chain(as_they_are) {
        // Envoy has validated both. An invalid header has no meaning here.
        if let Ok(name) = HeaderName::try_from(name)
            && let Ok(value) = HeaderValue::try_from(value)
            && headers.try_append(name, value).is_err()
        {
            return (headers, false);
        }
    }
    (headers, true)
}

fn too_many_headers() -> LocalReply {
    let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    LocalReply::new(status, "request_headers_too_large", "the request has too many headers")
}

/// The address of Envoy's client; `None` if it connected by a socket file.
fn address(source: Peer) -> Option<SocketAddr> {
    let Address::SocketAddress(address) = source.address?.address? else { return None };
    let port = match address.port_specifier? {
        PortSpecifier::PortValue(port) => u16::try_from(port).ok()?,
        PortSpecifier::NamedPort(_) => return None,
    };
    Some(SocketAddr::new(address.address.parse().ok()?, port))
}

/// Parses a path, and rejects every other form of a request target.
fn path(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok()?;
    (text.starts_with('/') && uri.authority().is_none()).then_some(uri)
}

/// Returns the whole body of the request.
///
/// # Errors
///
/// Returns 413 if Envoy withheld a part of the body, because that part could name another model.
fn whole_body(asked: HttpRequest, headers: &HeaderMap) -> Result<Bytes, LocalReply> {
    let HttpRequest { body, raw_body, .. } = asked;
    let body = Bytes::from(if raw_body.is_empty() { body.into_bytes() } else { raw_body });
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    let length = length.and_then(|length| length.parse::<usize>().ok());
    let whole = match (headers.get(PARTIAL_BODY), length) {
        // Envoy is not configured to send bodies, so all requests go to the upstream for requests
        // without a model.
        (None, _) if body.is_empty() => true,
        (Some(partial), None) => partial == "false",
        (Some(partial), Some(length)) => partial == "false" && length == body.len(),
        (None, length) => length == Some(body.len()),
    };
    if whole { Ok(body) } else { Err(truncated(body.len())) }
}

fn truncated(length: usize) -> LocalReply {
    let message = format!(
        "Envoy sent only the first {length} bytes of the request body: send \
         a shorter one, or raise `max_request_bytes` of `with_request_body` in Envoy's configuration"
    );
    LocalReply::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
}

/// Checks that Vertex AI knows the model by the name that the client used.
///
/// # Errors
///
/// Returns 400 if the body would have to be changed, which `ext_authz` cannot do.
fn same_name(asked: &str, sent: &str) -> Result<(), LocalReply> {
    if sent == asked {
        return Ok(());
    }
    let (asked, sent) = (clip(asked), clip(sent));
    let message = format!(
        "the model {asked:?} goes to Vertex AI as {sent:?}, and behind Envoy a request cannot be \
         changed: use {sent:?}"
    );
    Err(LocalReply::new(StatusCode::BAD_REQUEST, "model_alias_not_supported", message))
}

/// The part of a request that names its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ModelPlace {
    /// Envoy changes the path, and the body is not needed.
    Path,
    Body,
}

impl ModelPlace {
    /// # Errors
    ///
    /// Returns 404 for Anthropic's own paths: the model would have to leave the body, which `ext_authz`
    /// cannot change.
    fn of(path: &str) -> Result<Self, LocalReply> {
        let Some(path) = ModelPath::parse(path, PREFIX) else { return Ok(Self::Body) };
        match path.target() {
            PathTarget::Messages | PathTarget::CountTokens => Err(LocalReply::new(
                StatusCode::NOT_FOUND,
                "unsupported_path",
                "behind Envoy a request cannot be changed, and Vertex AI has no /v1/messages: use \
                 the paths of Vertex AI, as Anthropic's clients for Vertex AI do (AnthropicVertex, \
                 or ANTHROPIC_VERTEX_BASE_URL for Claude Code)",
            )),
            _ if path.has_model_in_body() => Ok(Self::Body),
            _ => Ok(Self::Path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_request_target_in_origin_form_is_parsed_as_a_path() {
        for text in ["/", "/v1/chat/completions?key=1", "//evil.com/x", "/http://evil.com/"] {
            assert!(path(text).is_some(), "{text}");
        }
        for text in ["", "*", "http://evil.com/v1", "evil.com:443", "v1/chat", "/\u{7f}", "/a b"] {
            assert!(path(text).is_none(), "{text:?}");
        }
    }
}
