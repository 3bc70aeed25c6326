//! The paths of the page on the admin listener.
//!
//! | path | method | |
//! |---|---|---|
//! | `/` | GET | the page |
//! | `/status.json` | GET | the state |
//! | `/status/events` | GET | the state as server-sent events |
//! | `/status/check` | POST | starts the checks |
//! | `/status/try` | POST | sends a request to a model |
//!
//! A page of another origin may link to the page, and nothing else: the other paths refuse its requests, and
//! a request that starts something needs a header of its own too, which no other page can send.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use super::{
    Status,
    actions::{self, Action, ChatForm},
    document::{document, protect},
    events::EventStream,
    snapshot::Part,
};
use crate::inbound::browser::Listener;
use tower_vertex_emulator::cross_origin::{Initiator, initiator};

pub(crate) type Body = Either<Full<Bytes>, EventStream>;

/// The page sets it on each POST.
const OF_THE_PAGE: HeaderName = HeaderName::from_static("x-vertex-gateway-status");
/// Longest body of a POST, in bytes.
const LONGEST: usize = 64 << 10;
/// Time for such a body to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Page,
    State,
    Events,
    Check,
    Try,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/status.json" => Self::State,
            "/status/events" => Self::Events,
            "/status/check" => Self::Check,
            "/status/try" => Self::Try,
            _ => return None,
        })
    }

    fn is_post(self) -> bool {
        matches!(self, Self::Check | Self::Try)
    }
}

impl Status {
    /// Whether the page has this path.
    pub(crate) fn has(path: &str) -> bool {
        Route::of(path).is_some()
    }

    /// The response to a request for one of the page's paths.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        request: Request<Incoming>,
        listener: Listener,
    ) -> Response<Body> {
        let mut response = match self.answer(request, listener).await {
            Ok(response) => response,
            Err((status, error)) => json_response(status, &json!({ "error": error })),
        };
        protect(response.headers_mut());
        response
    }

    async fn answer(
        self: &Arc<Self>,
        request: Request<Incoming>,
        listener: Listener,
    ) -> Result<Response<Body>, (StatusCode, String)> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let Some(route) = Route::of(uri.path()) else {
            let unknown = "not found".to_owned();
            return Err((StatusCode::NOT_FOUND, unknown));
        };
        // A page whose own name was resolved to this address has this origin in its browser.
        let refused = |error: String| (StatusCode::FORBIDDEN, error);
        let browsers = &self.sources.browsers;
        browsers.check_host(uri, headers, listener).map_err(|error| refused(error.to_string()))?;
        if route != Route::Page && initiator(uri, headers) != Initiator::Own {
            return Err(refused("a page of another origin sent this request".to_owned()));
        }
        let is_read = [Method::GET, Method::HEAD].contains(method);
        if route.is_post() && method != Method::POST || !route.is_post() && !is_read {
            let (allowed, text) = match route.is_post() {
                true => ("POST", "only POST"),
                false => ("GET, HEAD", "only GET and HEAD"),
            };
            let mut response =
                json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": text }));
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
            return Ok(response);
        }
        if route.is_post() && !headers.contains_key(OF_THE_PAGE) {
            return Err(refused(format!("set the header {OF_THE_PAGE}, as the page does")));
        }
        match route {
            Route::Page => Ok(with_type("text/html; charset=utf-8", document().html.clone())),
            Route::State => Ok(json_response(StatusCode::OK, &self.snapshot(Part::Whole))),
            Route::Events if method == Method::HEAD => Ok(with_type(EVENTS, Bytes::new())),
            Route::Events => {
                let full = "too many pages are open: close one of them".to_owned();
                let stream = self.open_stream();
                let stream = stream.ok_or((StatusCode::SERVICE_UNAVAILABLE, full))?;
                Ok(with_type(EVENTS, Bytes::new()).map(|_| Either::Right(stream)))
            }
            Route::Check => {
                let check = offered(&self.sources.actions.check)?;
                if !self.actions.start(check) {
                    let running = "the checks are running".to_owned();
                    return Err((StatusCode::CONFLICT, running));
                }
                Ok(json_response(StatusCode::ACCEPTED, &self.actions.check()))
            }
            Route::Try => {
                let chat = offered(&self.sources.actions.chat)?;
                let form = read_form(request.into_body()).await?;
                Ok(json_response(StatusCode::OK, &actions::chat(form, chat).await))
            }
        }
    }
}

const EVENTS: &str = "text/event-stream";

fn offered<T>(action: &Action<T>) -> Result<&T, (StatusCode, String)> {
    match action {
        Action::Offered(action) => Ok(action),
        Action::Refused(why) => Err((StatusCode::FORBIDDEN, (*why).to_owned())),
    }
}

async fn read_form(body: Incoming) -> Result<ChatForm, (StatusCode, String)> {
    let bad = |error: &str| (StatusCode::BAD_REQUEST, error.to_owned());
    let body = Limited::new(body, LONGEST).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, body).await;
    let body = body.map_err(|_elapsed| bad("the body took longer than 10 s"))?;
    let body = body.map_err(|_| bad("the body is incomplete, or longer than 64 KiB"))?;
    // The error of the parser could repeat a part of the body.
    serde_json::from_slice(&body.to_bytes())
        .map_err(|_| bad("not an object with `model`, `message` and `key`"))
}

fn with_type(kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn json_response(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // A snapshot has only keys that are text.
    let body = serde_json::to_vec(body).unwrap_or_default();
    let mut response = with_type("application/json", body.into());
    *response.status_mut() = status;
    response
}
