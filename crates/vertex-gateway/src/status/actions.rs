//! The actions that a visitor of the page may start: the checks, and a request to a model.
//!
//! Both use the credentials of the gateway. A visitor who can reach the address of clients could do the same,
//! but the admin listener may be open to others. So both are offered only if it is at a loopback address, and
//! the request goes through the gateway as any other: if clients need keys, so does the visitor.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{groups::round, history::unix_millis};

/// Time limit of the checks, which have shorter ones of their own.
const CHECK_TIMEOUT: Duration = Duration::from_secs(180);
/// Time limit of a request to a model.
const CHAT_TIMEOUT: Duration = Duration::from_secs(120);
/// Limit of a response, in tokens: enough for a few sentences, also of a model that thinks first.
const MAX_TOKENS: u32 = 1024;

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// Runs the checks, and returns their report without secrets.
pub(crate) type Check = Box<dyn Fn() -> BoxFuture<Value> + Send + Sync>;
/// Sends a request of a client through the gateway.
pub(crate) type Chat =
    Box<dyn Fn(Request<Full<Bytes>>) -> BoxFuture<Result<Response<Bytes>, String>> + Send + Sync>;

/// Something that the page offers, or the reason why not.
pub(crate) enum Action<T> {
    Offered(T),
    Refused(&'static str),
}

/// The actions of the page.
pub(crate) struct Actions {
    pub(crate) check: Action<Check>,
    pub(crate) chat: Action<Chat>,
}

/// An offer as the page shows it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Offer {
    offered: bool,
    why_not: Option<&'static str>,
}

/// The state of the checks.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct CheckState {
    running: bool,
    ended_ms: Option<u64>,
    /// The report of the last run.
    report: Option<Arc<Value>>,
}

#[derive(Debug, Default)]
pub(super) struct ActionState(Mutex<CheckState>);

/// A request of the page to a model. Its text and its key are kept only until it has been sent.
#[derive(Deserialize)]
pub(super) struct ChatForm {
    model: String,
    message: String,
    #[serde(default)]
    key: String,
}

impl<T> Action<T> {
    pub(super) fn offer(&self) -> Offer {
        let why_not = match self {
            Self::Offered(_) => None,
            Self::Refused(why) => Some(*why),
        };
        Offer { offered: why_not.is_none(), why_not }
    }
}

impl ActionState {
    pub(super) fn check(&self) -> CheckState {
        self.lock().clone()
    }

    /// Starts the checks. Returns false if they are running already.
    pub(super) fn start(self: &Arc<Self>, check: &Check) -> bool {
        let mut state = self.lock();
        if state.running {
            return false;
        }
        state.running = true;
        drop(state);
        let (run, of) = (check(), Arc::clone(self));
        let task = tokio::spawn(tokio::time::timeout(CHECK_TIMEOUT, run));
        tokio::spawn(async move {
            let report = match task.await {
                Ok(Ok(report)) => report,
                Ok(Err(_elapsed)) => json!({ "error": "the checks took longer than 3 minutes" }),
                Err(_panic) => json!({ "error": "the checks failed; the log has the reason" }),
            };
            *of.lock() = CheckState {
                running: false,
                ended_ms: Some(unix_millis(SystemTime::now())),
                report: Some(Arc::new(report)),
            };
        });
        true
    }

    fn lock(&self) -> MutexGuard<'_, CheckState> {
        // The state is replaced as a whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the request of the form through the gateway, and returns what the visitor sees.
pub(super) async fn chat(form: ChatForm, chat: &Chat) -> Value {
    let started = Instant::now();
    let body = json!({
        "model": form.model,
        "messages": [{ "role": "user", "content": form.message }],
        "max_tokens": MAX_TOKENS,
    });
    let request = Request::post("/v1/chat/completions")
        // The name is that of every gateway on this machine.
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body.to_string()));
    let Ok(mut request) = request else { return json!({ "error": "not a request" }) };
    if !form.key.is_empty() {
        let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {}", form.key.trim())) else {
            return json!({ "error": "a key has only visible ASCII characters" });
        };
        bearer.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
    }
    drop(form);
    let response = match tokio::time::timeout(CHAT_TIMEOUT, chat(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error)) => return json!({ "error": error }),
        Err(_elapsed) => return json!({ "error": "no response within 2 minutes" }),
    };
    let (head, body) = response.into_parts();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = body.pointer("/choices/0/message/content").and_then(Value::as_str);
    let error = body.pointer("/error/message").and_then(Value::as_str);
    json!({
        "status": head.status.as_u16(),
        "seconds": round(started.elapsed().as_secs_f64()),
        "text": text,
        "error": error,
        "finish_reason": body.pointer("/choices/0/finish_reason"),
        "usage": body.get("usage"),
    })
}
