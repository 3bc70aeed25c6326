//! The last check: a request for one token of a model, on the path of every request.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use chrono::DateTime;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};

use super::{
    explain::{Facts, ResponseSummary, explain},
    report::Check,
};
use crate::{
    error::{causes, find},
    outbound::{ConnectError, Outbound},
};
use tower_vertex::{
    BoxError, Error,
    auth::VertexAuthLayer,
    model::{ModelTable, VertexModelLayer},
    route::VertexRouteLayer,
};

const NAME: &str = "model";
/// Limit for the whole response.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest body, in bytes: more than a response with one token needs, and more than an error.
const LONGEST: usize = 1024 * 1024;
/// Google accepts signed claims whose time is up to five minutes off.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);

/// Sends the request and reports the outcome, and also the state of this machine's clock, if the
/// response shows that it is wrong.
pub(super) async fn request_model(
    model: &str,
    table: &ModelTable,
    auth: &VertexAuthLayer,
    facts: &Facts<'_>,
) -> (Check, Option<Check>) {
    let started = Instant::now();
    let body = json!({
        "model": model,
        "messages": [{ "role": "user", "content": "Say: yes" }],
        "max_tokens": 1,
    });
    let request = send("/v1/chat/completions", &body, table, auth);
    let answered = match tokio::time::timeout(TIMEOUT, request).await {
        Ok(answered) => answered,
        Err(_elapsed) => {
            let remedy = "the host accepts connections but does not respond: check proxies and \
                 firewalls on the path, and the endpoint's load";
            let detail = format!("no response from {} within {TIMEOUT:?}", facts.origin);
            return (Check::failed(NAME, detail, remedy), None);
        }
    };
    match answered {
        Ok(ModelResponse { status, headers, body, at }) => {
            let answer = ResponseSummary {
                status,
                is_html: headers
                    .get(header::CONTENT_TYPE)
                    .is_some_and(|value| value.as_bytes().starts_with(b"text/html")),
                body: &body,
            };
            let check = match explain(&answer, facts) {
                None => {
                    let named = if facts.model.is_empty() { "the endpoint" } else { facts.model };
                    let seconds = started.elapsed().as_secs_f64();
                    Check::passed(NAME, format!("{named} responded in {seconds:.1} s"))
                }
                Some((detail, remedy)) => Check::failed(NAME, detail, remedy),
            };
            (check, clock(&headers, at))
        }
        Err(error) => (explain_no_response(&error, facts), None),
    }
}

pub(super) struct ModelResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    at: SystemTime,
}

/// Sends a request on the path of every request.
pub(super) async fn send(
    path: &str,
    body: &Value,
    table: &ModelTable,
    auth: &VertexAuthLayer,
) -> Result<ModelResponse, BoxError> {
    let client = Outbound::for_a_while().map_err(|failure| failure.to_string())?;
    let route = VertexRouteLayer::new(table.base().clone());
    let stack = VertexModelLayer::new(table.clone()).layer(route.layer(auth.layer(client)));
    let request = Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::<Bytes>::from(body.to_string()))?;
    let (head, body) = stack.oneshot(request).await?.into_parts();
    let at = SystemTime::now();
    let body = Limited::new(body, LONGEST).collect().await?.to_bytes();
    Ok(ModelResponse { status: head.status, headers: head.headers, body, at })
}

pub(super) fn explain_no_response(error: &BoxError, facts: &Facts<'_>) -> Check {
    let origin = facts.origin;
    if let Some(error) = error.downcast_ref::<Error>() {
        let remedy = "the token was rejected, and there was no newer one; run this again";
        return Check::failed(NAME, error.to_string(), remedy);
    }
    let causes = causes(error);
    if find::<ConnectError>(error).is_none() {
        let remedy = "check proxies and firewalls between this machine and the host; then try \
             again";
        return Check::failed(NAME, format!("{origin} closed the connection: {causes}"), remedy);
    }
    let remedy = match facts.own_host {
        true => "start the server there, or correct --upstream or --dedicated-host",
        false => "check firewalls and the network between this machine and the host",
    };
    Check::failed(NAME, format!("no connection to {origin}: {causes}"), remedy)
}

/// A failed check, if this machine's clock differs from the server's.
fn clock(headers: &HeaderMap, here: SystemTime) -> Option<Check> {
    let date = headers.get(header::DATE)?.to_str().ok()?;
    let there = SystemTime::from(DateTime::parse_from_rfc2822(date).ok()?);
    let (apart, word) = match here.duration_since(there) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    (apart > CLOCK_TOLERANCE).then(|| {
        let minutes = apart.as_secs() / 60;
        let detail = format!("this machine's clock is {minutes} min {word} the server's");
        Check::failed("clock", detail, "set it: `timedatectl set-ntp true`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_over_five_minutes_off_is_reported() {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, "Sun, 22 Nov 2026 19:00:00 GMT".parse().unwrap());
        let there = DateTime::parse_from_rfc3339("2026-11-22T19:00:00Z").unwrap().into();
        let seconds = |seconds| Duration::from_secs(seconds);
        for here in [there, there + seconds(300), there - seconds(300)] {
            assert_eq!(clock(&headers, here), None);
        }
        let ahead = format!("{:?}", clock(&headers, there + seconds(301)));
        assert!(ahead.contains("5 min ahead"), "{ahead}");
        let behind = format!("{:?}", clock(&headers, there - seconds(7200)));
        assert!(behind.contains("120 min behind"), "{behind}");
        assert_eq!(clock(&HeaderMap::new(), there), None);
        headers.insert(header::DATE, "yesterday".parse().unwrap());
        assert_eq!(clock(&headers, there), None);
    }
}
