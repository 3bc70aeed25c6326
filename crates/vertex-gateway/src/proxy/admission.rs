//! Admission of a request, for the sidecar and for Envoy alike: which path and method it may have, whether
//! the client may use the model, and when the request may be sent.

use std::{
    fmt,
    future::{Future, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Extensions, Request, Response};
use tower::Service;
use tower_vertex::{
    BoxError,
    model::{ModelTable, ReadModel, RequestedModel, UpstreamModel},
    route::check_method_for_path,
};

use super::{
    context::RequestContext,
    resource::{PREFIX, check_named, shorten},
};
use crate::{
    access::{Client, concurrency::Limits},
    local_reply::LocalReply,
    models::{
        list::{self, Question},
        publishers::PublisherLists,
    },
};

/// Checks a request of an authenticated client, as far as that is possible before its body is read: the
/// path, the method, and the rate and the rules of the client. The extensions of the request then say
/// what the inner layers must find in the body. Returns the response of `/v1/models` and its like, if
/// that is the request.
///
/// # Errors
///
/// The refusal: 404 or 405 by the path, 403 or 429 by the client.
pub(crate) async fn admit_head<B: Send>(
    request: &mut Request<B>,
    table: &ModelTable,
    publishers: &Arc<PublisherLists>,
    client: Option<&Client>,
    since: u64,
) -> Result<Option<Response<Bytes>>, LocalReply> {
    let mut question = Question::of(request);
    if question.is_none() && shorten(request, table)? {
        question = Question::of(request);
    }
    if let Some(question) = question {
        // Only a GET or a HEAD gets a list.
        let listed = match request.method().is_safe() {
            true => publishers.current().await,
            false => Arc::default(),
        };
        let may = |model: &str| client.is_none_or(|client| client.allow(Some(model)).is_ok());
        return list::answer(&question, request.method(), table, &listed, may, since).map(Some);
    }
    let (method, path) = (request.method(), request.uri().path());
    check_method_for_path(method, path, PREFIX)?;
    let Some(client) = client else { return Ok(None) };
    client.count_request()?;
    let references = client.allow_stored(method, path)?;
    let extensions = request.extensions_mut();
    if let Some(references) = references {
        extensions.insert(references);
    }
    if client.has_list() {
        extensions.insert(ReadModel);
    }
    Ok(None)
}

/// Checks what was found in the body: that the client may use the model and what was stored before, and
/// that the resource in the path is the model's. Writes the model into the context.
///
/// # Errors
///
/// The refusal: 403 or 404.
pub(crate) fn admit_model(
    extensions: &Extensions,
    context: &RequestContext,
) -> Result<(), LocalReply> {
    check_named(extensions)?;
    let model = extensions.get::<RequestedModel>();
    if let Some(model) = model {
        let _ = context.model.set(model.clone().into());
        let sent = extensions.get::<UpstreamModel>();
        if let Some(sent) = sent.filter(|sent| without_publisher(sent) != without_publisher(model))
        {
            let _ = context.upstream_model.set(sent.clone().into());
        }
    }
    let Some(client) = context.client.get() else { return Ok(()) };
    client.allow_requested(model, extensions.get::<UpstreamModel>())?;
    client.allow_references(extensions.get())
}

fn without_publisher(model: &impl AsRef<str>) -> &str {
    let name = model.as_ref();
    name.rsplit_once('/').map_or(name, |(_, name)| name)
}

/// Forwards requests whose client may use the model, at most as many at a time as the limits allow.
/// A request arrives here after its model has been read, so a client that sends its body slowly
/// does not hold a permit.
#[derive(Clone)]
pub(crate) struct Admission<S> {
    inner: S,
    limits: Arc<Limits>,
    response_header_timeout: Option<Duration>,
}

impl<S> Admission<S> {
    /// `response_header_timeout` limits the time from the admission of a request to the headers of
    /// its response, retries and replays included.
    pub(crate) fn new(
        inner: S,
        limits: Arc<Limits>,
        response_header_timeout: Option<Duration>,
    ) -> Self {
        Self { inner, limits, response_header_timeout }
    }
}

impl<S, B, R> Service<Request<B>> for Admission<S>
where
    S: Service<Request<B>, Response = R, Error = BoxError> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Send + 'static,
    R: Send + 'static,
{
    type Response = R;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<R, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let extensions = request.extensions_mut();
        let Some(routed) = extensions.get::<Arc<RequestContext>>().cloned() else {
            // The stack inserts the record into each request. Without it, the client's permissions
            // are unknown.
            tracing::error!("a request without a record");
            return Box::pin(ready(Err(LocalReply::failed().into())));
        };
        if let Err(refusal) = admit_model(extensions, &routed) {
            return Box::pin(ready(Err(refusal.into())));
        }
        let client = routed.client.get();
        if let Some(permits) = self.limits.enter_at_once(client.map(Arc::as_ref)) {
            routed.admit(permits, extensions);
            return Box::pin(in_time(self.response_header_timeout, self.inner.call(request)));
        }
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (limits, response_header_timeout) =
            (Arc::clone(&self.limits), self.response_header_timeout);
        Box::pin(async move {
            let permits = limits.enter(routed.client.get().map(Arc::as_ref)).await?;
            routed.admit(permits, request.extensions_mut());
            in_time(response_header_timeout, inner.call(request)).await
        })
    }
}

/// The error of a request that `--response-header-timeout` ends.
#[derive(Debug)]
pub(crate) struct ResponseHeaderTimeout {
    limit: Duration,
}

impl fmt::Display for ResponseHeaderTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no response within {:?}, the limit of --response-header-timeout", self.limit)
    }
}

impl std::error::Error for ResponseHeaderTimeout {}

async fn in_time<R>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<R, BoxError>>,
) -> Result<R, BoxError> {
    match limit {
        None => answer.await,
        Some(limit) => match tokio::time::timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(ResponseHeaderTimeout { limit }.into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use tower::{ServiceExt as _, service_fn};

    use tower_vertex::route::Protocol;

    use super::*;
    use crate::Command;

    #[tokio::test]
    async fn a_request_without_a_record_gets_a_500_and_is_not_forwarded() {
        use clap::Parser as _;
        let options = Command::parse_from(["vertex-gateway"]).options;
        let inner = service_fn(|_: Request<()>| async { panic!("the request was forwarded") });
        let limits = Arc::new(Limits::new(&options.limits));
        let error = Admission::new(inner, limits, None).oneshot(Request::new(())).await;
        let error: BoxError = error.map(|(): ()| ()).unwrap_err();
        let refusal = error.downcast_ref::<LocalReply>().unwrap();
        let answer = refusal.to_response(Protocol::OpenAi);
        assert_eq!((answer.status().as_u16(), refusal.code()), (500, "internal_error"));
    }
}
