//! The order of the layers. Any order compiles, and a wrong one would not do what it seems to do.
//! For example, a [`VertexModelLayer`](crate::model::VertexModelLayer) inside a
//! [`VertexRouteLayer`](crate::route::VertexRouteLayer) would select a location after the request
//! has its URL. So each layer inspects the names of the types inside of it when it is applied, and
//! refuses all requests if one of them belongs outside.
//!
//! Stable Rust has no other way to express "any service but this one". Nothing depends on finding a
//! name: a service in a `BoxService` is used without a check.

use std::any::type_name;

use crate::{
    auth::VertexAuth,
    compat::VertexCompat,
    error::{ConfigError, Error},
    error_format::VertexError,
    model::VertexModel,
    retry::VertexRetry,
    route::VertexRoute,
};

/// The layers, the outermost one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LayerKind {
    Model,
    Compat,
    Retry,
    Error,
    Route,
    Auth,
}

impl LayerKind {
    const ALL: [Self; 6] =
        [Self::Model, Self::Compat, Self::Retry, Self::Error, Self::Route, Self::Auth];

    fn layer(self) -> &'static str {
        match self {
            Self::Model => "VertexModelLayer",
            Self::Compat => "VertexCompatLayer",
            Self::Retry => "VertexRetryLayer",
            Self::Error => "VertexErrorLayer",
            Self::Route => "VertexRouteLayer",
            Self::Auth => "VertexAuthLayer",
        }
    }

    /// Whether a service of this layer is part of a type with this name.
    fn is_in(self, name: &str) -> bool {
        let service = match self {
            Self::Model => type_name::<VertexModel<()>>(),
            Self::Compat => type_name::<VertexCompat<()>>(),
            Self::Retry => type_name::<VertexRetry<()>>(),
            Self::Error => type_name::<VertexError<()>>(),
            Self::Route => type_name::<VertexRoute<()>>(),
            Self::Auth => type_name::<VertexAuth<()>>(),
        };
        service.strip_suffix("()>").is_some_and(|service| name.contains(service))
    }
}

/// Whether the layers inside a layer may be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    outer: LayerKind,
    /// A layer that is inside but belongs outside.
    inner: Option<LayerKind>,
}

impl Order {
    /// The order for a layer `outer` around the service `S`.
    pub(crate) fn of<S>(outer: LayerKind) -> Self {
        let name = type_name::<S>();
        let outside = LayerKind::ALL.into_iter().filter(|layer| *layer < outer);
        Self { outer, inner: outside.into_iter().find(|layer| layer.is_in(name)) }
    }

    /// Checks the order.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a layer is inside that belongs outside.
    #[inline]
    pub(crate) fn check(self) -> Result<(), Error> {
        match self.inner {
            None => Ok(()),
            Some(inner) => Err(self.refuse(inner)),
        }
    }

    #[cold]
    fn refuse(self, inner: LayerKind) -> Error {
        let found = format!("{} inside {}", inner.layer(), self.outer.layer());
        let advice = "from the outside in, it is VertexModelLayer, VertexCompatLayer, \
                      VertexRetryLayer, VertexErrorLayer, VertexRouteLayer, VertexAuthLayer; where another order is \
                      meant, box the inner service: the contents of a box are not checked";
        ConfigError::invalid("order of layers", &found, advice).into()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body::Body;
    use http_body_util::{BodyExt as _, Full};
    use tower::{BoxError, Layer, Service, ServiceExt as _, layer::util::Identity};

    use super::*;
    use crate::{
        auth::VertexAuthLayer,
        compat::VertexCompatLayer,
        error_format::VertexErrorLayer,
        model::{ModelTable, VertexModelLayer},
        retry::VertexRetryLayer,
        route::{Upstream, VertexRouteLayer},
        token::StaticToken,
    };

    /// A service that accepts any request.
    #[derive(Clone)]
    struct Client;

    impl<B> Service<Request<B>> for Client {
        type Response = Response<Full<Bytes>>;
        type Error = BoxError;
        type Future = std::future::Ready<Result<Self::Response, BoxError>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<B>) -> Self::Future {
            std::future::ready(Ok(Response::new(Full::from("sent"))))
        }
    }

    /// Returns the result of a request: the text of the response, or the error.
    async fn of<S, R>(service: S) -> String
    where
        S: Service<Request<Full<Bytes>>, Response = Response<R>, Error: Into<BoxError>>,
        R: Body<Data = Bytes, Error: std::fmt::Debug>,
    {
        let uri = "https://aiplatform.googleapis.com/v1/chat/completions";
        let request = Request::post(uri).body(Full::from(r#"{"model":"m"}"#)).unwrap();
        match service.oneshot(request).await {
            Ok(answer) => {
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                String::from_utf8(body.to_vec()).unwrap()
            }
            Err(error) => {
                let error: BoxError = error.into();
                let error = error.downcast_ref::<Error>().expect("one of this crate");
                assert!(matches!(error, Error::Config(_)), "{error}");
                error.to_string()
            }
        }
    }

    fn upstream() -> Upstream {
        Upstream::new("p", "global").unwrap()
    }

    fn model() -> VertexModelLayer {
        VertexModelLayer::new(ModelTable::new(upstream()))
    }

    fn compat() -> VertexCompatLayer {
        VertexCompatLayer::default()
    }

    fn retry() -> VertexRetryLayer {
        VertexRetryLayer::new()
    }

    fn error() -> VertexErrorLayer {
        VertexErrorLayer::new()
    }

    fn route() -> VertexRouteLayer {
        VertexRouteLayer::new(upstream())
    }

    fn auth() -> VertexAuthLayer {
        VertexAuthLayer::new(StaticToken::new("token").unwrap())
    }

    #[tokio::test]
    async fn a_layer_inside_another_one_that_belongs_inside_it_is_an_error_with_the_right_order() {
        macro_rules! wrong {
            ($($outer:ident > $inner:ident: $found:literal),* $(,)?) => {$(
                for told in [
                    of($outer().layer($inner().layer(Client))).await,
                    // Other layers are between the two.
                    of($outer().layer(Identity::new().layer(
                        tower::timeout::Timeout::new(
                            auth().layer($inner().layer(Client)),
                            std::time::Duration::MAX,
                        ),
                    ))).await,
                ] {
                    assert!(told.contains("order of layers"), "{told}");
                    assert!(told.contains("VertexErrorLayer, VertexRouteLayer, VertexAuthLayer"), "{told}");
                    assert!(told.contains("box the inner service"), "{told}");
                }
                let told = of($outer().layer($inner().layer(Client))).await;
                assert!(told.contains($found), "{told}");
            )*};
        }
        wrong! {
            compat > model: "VertexModelLayer inside VertexCompatLayer",
            retry > compat: "VertexCompatLayer inside VertexRetryLayer",
            auth > compat: "VertexCompatLayer inside VertexAuthLayer",
            retry > model: "VertexModelLayer inside VertexRetryLayer",
            error > model: "VertexModelLayer inside VertexErrorLayer",
            error > retry: "VertexRetryLayer inside VertexErrorLayer",
            route > model: "VertexModelLayer inside VertexRouteLayer",
            route > retry: "VertexRetryLayer inside VertexRouteLayer",
            route > error: "VertexErrorLayer inside VertexRouteLayer",
            auth > model: "VertexModelLayer inside VertexAuthLayer",
            auth > retry: "VertexRetryLayer inside VertexAuthLayer",
            auth > error: "VertexErrorLayer inside VertexAuthLayer",
            auth > route: "VertexRouteLayer inside VertexAuthLayer",
        }
    }

    #[tokio::test]
    async fn the_layers_in_their_order_and_any_part_of_them_serve() {
        let whole = (model(), compat(), retry(), error(), route(), auth());
        assert_eq!(of(whole.layer(Client)).await, "sent");
        assert_eq!(of((model(), error(), auth()).layer(Client)).await, "sent");
        assert_eq!(of((retry(), route()).layer(Client)).await, "sent");
        assert_eq!(of((retry(), retry()).layer(Client)).await, "sent");
        assert_eq!(of((model(), auth()).layer(Client)).await, "sent");
        // A box hides the layers in it.
        let boxed = tower::util::BoxCloneService::new(model().layer(Client));
        assert_eq!(of(route().layer(boxed)).await, "sent");
    }
}
