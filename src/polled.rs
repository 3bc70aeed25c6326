//! The behaviour of a future that is polled again after it was ready.

/// Every future of this crate panics with this message in that case, like that of an `async fn`. A
/// future that stayed pending would block its caller without any message.
pub(crate) const AFTER_READY: &str = "a future was polled after it was ready";

#[cfg(test)]
mod tests {
    use std::{
        future::{Future, poll_fn},
        panic::{AssertUnwindSafe, catch_unwind},
        pin::pin,
        task::{Context, Waker},
    };

    use http::{Request, Response};
    use tower::{BoxError, Service, service_fn};

    use super::AFTER_READY;
    use crate::{
        auth::VertexAuth,
        compat::VertexCompat,
        error_format::VertexError,
        model::{ModelTable, VertexModel},
        retry::VertexRetry,
        route::{Upstream, VertexRoute},
        token::{StaticToken, TokenCache},
    };

    /// Polls a future until it is ready, and then again.
    async fn panics_after_ready(future: impl Future) {
        let mut future = pin!(future);
        poll_fn(|cx| future.as_mut().poll(cx)).await;
        let mut cx = Context::from_waker(Waker::noop());
        let again = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut cx).is_ready()));
        let panic = again.unwrap_err();
        let text = panic.downcast_ref::<String>().map(String::as_str);
        assert_eq!(text.or(panic.downcast_ref::<&str>().copied()), Some(AFTER_READY));
    }

    /// A service whose futures are ready again and again.
    fn tireless<B>() -> impl Service<
        Request<B>,
        Response = Response<String>,
        Error = BoxError,
        Future: Future<Output = Result<Response<String>, BoxError>>,
    > + Clone {
        service_fn(|_| poll_fn(|_| Ok(Response::new(String::new())).into()))
    }

    fn request(uri: &str) -> Request<String> {
        Request::post(uri).body("{}".into()).unwrap()
    }

    #[tokio::test]
    async fn every_future_panics_with_the_same_message_when_polled_after_its_end() {
        let upstream = Upstream::new("project", "global").unwrap();
        let table = ModelTable::builder(upstream.clone()).build().unwrap();
        let source = || StaticToken::new("token").unwrap();
        for uri in ["https://aiplatform.googleapis.com/v1/chat/completions", "/nowhere"] {
            panics_after_ready(VertexAuth::new(tireless(), source()).call(request(uri))).await;
            panics_after_ready(VertexRoute::new(tireless(), upstream.clone()).call(request(uri)))
                .await;
            panics_after_ready(VertexModel::new(tireless(), table.clone()).call(request(uri)))
                .await;
            panics_after_ready(VertexRetry::new(tireless()).call(request(uri))).await;
        }
        let cache = TokenCache::new(source());
        cache.warm_up().await.unwrap();
        panics_after_ready(cache.get()).await;
        let full = |_: Request<String>| async {
            let body = http_body_util::Full::new(bytes::Bytes::new());
            Ok::<_, BoxError>(Response::builder().status(500).body(body).unwrap())
        };
        panics_after_ready(VertexError::new(service_fn(full)).call(request("/"))).await;
        let chat = || {
            let body = r#"{"model":"google/gemini-3","messages":[{"tool_calls":[]}]}"#;
            request("/v1/chat/completions").map(|_| body.to_owned())
        };
        let refusing = service_fn(|_| async {
            let body = http_body_util::Full::new(bytes::Bytes::new());
            Ok::<_, BoxError>(Response::builder().status(400).body(body).unwrap())
        });
        panics_after_ready(VertexCompat::new(refusing).call(chat())).await;
    }
}
