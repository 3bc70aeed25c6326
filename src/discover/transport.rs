//! One GET through the caller's service of any type, with its complete response.

use std::{
    future::{Future, poll_fn},
    marker::PhantomData,
    pin::{Pin, pin},
    sync::{Mutex, PoisonError},
};

use bytes::Buf;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use tower::Service;

use super::DiscoverError;
use crate::BoxError;

/// A status and a body of at most the allowed length.
pub(super) type Answered = Result<(StatusCode, Vec<u8>), DiscoverError>;

pub(super) trait Transport: Send + Sync {
    fn get(&self, uri: Uri, limit: usize) -> Pin<Box<dyn Future<Output = Answered> + Send>>;
}

/// A service that takes requests with bodies `B`.
pub(super) struct ServiceTransport<S, B> {
    /// Locked only for a clone: not every service can be shared between threads.
    service: Mutex<S>,
    body: PhantomData<fn() -> B>,
}

impl<S, B> ServiceTransport<S, B> {
    pub(super) fn new(service: S) -> Self {
        Self { service: Mutex::new(service), body: PhantomData }
    }
}

impl<S, B, R> Transport for ServiceTransport<S, B>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Default + Send + 'static,
    R: Body + Send,
    R::Data: Send,
    R::Error: Into<BoxError>,
{
    fn get(&self, uri: Uri, limit: usize) -> Pin<Box<dyn Future<Output = Answered> + Send>> {
        let mut service = self.service.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Box::pin(async move {
            let mut request = Request::new(B::default());
            *request.uri_mut() = uri;
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(header::ACCEPT, json);
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            ready.map_err(|error| DiscoverError::transport(error.into()))?;
            let answered = service.call(request).await;
            let answer = answered.map_err(|error| DiscoverError::transport(error.into()))?;
            let (head, body) = answer.into_parts();
            Ok((head.status, collect(body, limit).await?))
        })
    }
}

async fn collect<R>(body: R, limit: usize) -> Result<Vec<u8>, DiscoverError>
where
    R: Body,
    R::Error: Into<BoxError>,
{
    let mut collected = Vec::new();
    let mut body = pin!(body);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| DiscoverError::transport(error.into()))?;
        // Trailers are ignored.
        let Ok(mut data) = frame.into_data() else { continue };
        if data.remaining() > limit - collected.len() {
            return Err(DiscoverError::TooLarge { limit });
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let length = chunk.len();
            collected.extend_from_slice(chunk);
            data.advance(length);
        }
    }
    Ok(collected)
}
