//! A Tower service as rig's HTTP client.

use std::future::ready;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use rig_core::http_client::{
    Error, HttpClientExt, LazyBody, MultipartForm, Request, Response, Result, StreamingResponse,
};
use tower::{BoxError, ServiceExt, util::BoxCloneSyncService};
use tower_vertex::error_format::ErrorBody;

pub type VertexResponse = Response<ErrorBody<Incoming>>;

/// The layers with their inner service.
pub struct Vertex(pub BoxCloneSyncService<Request<Full<Bytes>>, VertexResponse, BoxError>);

impl Vertex {
    /// Sends a request. rig expects a response without a success status as an error.
    fn request<T: Into<Bytes>>(
        &self,
        request: Request<T>,
    ) -> impl Future<Output = Result<VertexResponse>> + Send + 'static {
        let response = self.0.clone().oneshot(request.map(|body| Full::new(body.into())));
        async move {
            let response = response.await?;
            if response.status().is_success() {
                return Ok(response);
            }
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map_err(Error::instance)?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Err(Error::non_success_with_details(parts.status, parts.headers, body))
        }
    }
}

impl HttpClientExt for Vertex {
    fn send<T: Into<Bytes> + Send, U: From<Bytes> + Send + 'static>(
        &self,
        request: Request<T>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + Send + 'static {
        let response = self.request(request);
        async {
            Ok(response.await?.map(|body| -> LazyBody<U> {
                let body = body.collect();
                Box::pin(async { Ok(body.await.map_err(Error::instance)?.to_bytes().into()) })
            }))
        }
    }

    async fn send_streaming<T: Into<Bytes> + Send>(
        &self,
        request: Request<T>,
    ) -> Result<StreamingResponse> {
        let response = self.request(request).await?;
        Ok(response.map(|body| Box::pin(body.into_data_stream().map_err(Error::instance)) as _))
    }

    fn send_multipart<U: From<Bytes> + Send + 'static>(
        &self,
        _: Request<MultipartForm>,
    ) -> impl Future<Output = Result<Response<LazyBody<U>>>> + Send + 'static {
        ready(Err(Error::Instance("Vertex AI takes no files".into())))
    }
}
