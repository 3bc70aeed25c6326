//! One request to Google: what credentials need beyond the two libraries that fetch tokens.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use chrono::DateTime;
use http::{HeaderMap, Request, StatusCode, header, uri::Scheme};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio_rustls::rustls::crypto::ring;

use crate::BoxError;

/// More than any token takes.
const LONGEST: usize = 1024 * 1024;

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }

    /// The server's own clock, if it told.
    pub(super) fn date(&self) -> Option<SystemTime> {
        let date = self.headers.get(header::DATE)?.to_str().ok()?;
        Some(DateTime::parse_from_rfc2822(date).ok()?.into())
    }

    pub(super) fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }
}

/// Sends it over a connection of its own, which is closed afterwards: tokens are fetched once an
/// hour, and a connection kept so long is a dead one. Redirects are not followed.
///
/// The time is the caller's to limit; a connection alone may take `connect`.
pub(super) async fn send(
    request: Request<Full<Bytes>>,
    connect: Duration,
) -> Result<Answer, BoxError> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(connect));
    connector.set_nodelay(true);
    let response = if request.uri().scheme() == Some(&Scheme::HTTPS) {
        // Reads the system's certificates, which takes a while.
        let connector = tokio::task::spawn_blocking(move || {
            let provider = ring::default_provider();
            let builder = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
            Ok::<_, std::io::Error>(builder.https_only().enable_http1().wrap_connector(connector))
        });
        let connector = connector.await.map_err(|_| "the runtime was shut down")?.map_err(|_| {
            "the system's root certificates cannot be read; install the package ca-certificates"
        })?;
        once().build(connector).request(request).await
    } else {
        once().build(connector).request(request).await
    };
    let (head, body) = response.map_err(|error| chain(&error))?.into_parts();
    let body = Limited::new(body, LONGEST).collect().await;
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: body.map_err(|_| "the answer broke off")?.to_bytes(),
    })
}

fn once() -> hyper_util::client::legacy::Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_max_idle_per_host(0);
    builder
}

/// An error with its causes: the outer ones say little. None of them holds a header or a body.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Whether a URI's host is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}
