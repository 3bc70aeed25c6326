//! GET requests for JSON, one or page by page, with their limits.

use std::{collections::HashSet, sync::Arc, time::Duration};

use http::{Response, StatusCode, Uri};
use http_body::Body;
use serde_json::Value;
use tower::Service;

use super::{
    DiscoverError, query,
    transport::{ServiceTransport, Transport},
};
use crate::{
    BoxError,
    error::ConfigError,
    route::{Endpoint, Location, Upstream},
};

/// Vertex AI's own default.
const PAGE_SIZE: u16 = 100;
const LARGEST_PAGE: u16 = 1000;
/// Far more pages than a project can have.
const MOST_PAGES: usize = 1000;
/// 8 MiB: a page of a thousand endpoints with several models each.
const PAGE_BYTES: usize = 8 << 20;
/// The time-out of Google's clients for methods of management, and more than these take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// In bytes. Google's page tokens have some hundred.
const LONGEST_PAGE_TOKEN: usize = 8192;

/// The upstream of requests for `upstream`, and its location. Its endpoint does not matter: only the
/// shared host has lists.
pub(super) fn shared_host(upstream: &Upstream) -> Result<(Upstream, Location), ConfigError> {
    let upstream = upstream.to_builder().endpoint(Endpoint::OpenApi).build()?;
    // Every upstream but a base URL has one.
    let location = upstream
        .location()
        .cloned()
        .ok_or(ConfigError::missing("location", "pass a location or set GOOGLE_CLOUD_LOCATION"))?;
    Ok((upstream, location))
}

/// A list of Vertex AI's.
pub(super) struct List {
    /// The name of the array in a response.
    pub(super) field: &'static str,
    /// The error if it is something else.
    pub(super) no_array: &'static str,
}

pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    next: Option<String>,
}

#[derive(Clone)]
pub(super) struct Requests {
    transport: Arc<dyn Transport>,
    pub(super) page_size: u16,
    pub(super) body_limit: usize,
    pub(super) timeout: Duration,
}

impl Requests {
    pub(super) fn new<S, B, R>(service: S) -> Self
    where
        S: Service<http::Request<B>, Response = Response<R>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: Default + Send + 'static,
        R: Body + Send + 'static,
        R::Data: Send,
        R::Error: Into<BoxError>,
    {
        Self {
            transport: Arc::new(ServiceTransport::new(service)),
            page_size: PAGE_SIZE,
            body_limit: PAGE_BYTES,
            timeout: TIMEOUT,
        }
    }

    /// A number outside the range is taken as the nearest one inside.
    pub(super) fn set_page_size(&mut self, size: u16) {
        self.page_size = size.clamp(1, LARGEST_PAGE);
    }

    /// All items of the list at `url`, in order, page by page. An item that `parse` does not accept
    /// is left out.
    pub(super) async fn all_pages<T>(
        &self,
        url: &str,
        list: &List,
        filter: Option<&str>,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, DiscoverError> {
        let (mut all, mut seen, mut token) = (Vec::new(), HashSet::new(), None);
        for pages in 1..=MOST_PAGES {
            let page = self.page(url, list, filter, token.as_deref(), &parse).await?;
            all.extend(page.items);
            let Some(next) = page.next else { return Ok(all) };
            if !seen.insert(next.clone()) {
                return Err(DiscoverError::PaginationLoop { pages });
            }
            token = Some(next);
        }
        Err(DiscoverError::PaginationLoop { pages: MOST_PAGES })
    }

    /// One page; the first without a token.
    pub(super) async fn page<T>(
        &self,
        url: &str,
        list: &List,
        filter: Option<&str>,
        token: Option<&str>,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Page<T>, DiscoverError> {
        let size = self.page_size.to_string();
        let mut pairs = vec![("pageSize", size.as_str())];
        pairs.extend(filter.map(|filter| ("filter", filter)));
        pairs.extend(token.map(|token| ("pageToken", token)));
        let uri = format!("{url}?{}", query::query(&pairs)).parse::<Uri>();
        let uri =
            uri.map_err(|_| DiscoverError::Unreadable { reason: "its page token is invalid" })?;
        let answer = self.get(uri).await?;
        let items = answer.get(list.field).map(|items| {
            items.as_array().ok_or(DiscoverError::Unreadable { reason: list.no_array })
        });
        let items = items.transpose()?.into_iter().flatten().filter_map(parse).collect();
        let next = answer.get("nextPageToken").and_then(Value::as_str);
        let next = next.filter(|token| !token.is_empty());
        if next.is_some_and(|token| token.len() > LONGEST_PAGE_TOKEN) {
            return Err(DiscoverError::Unreadable { reason: "its page token is invalid" });
        }
        Ok(Page { items, next: next.map(str::to_owned) })
    }

    /// The JSON object that a GET of `uri` returns.
    pub(super) async fn get(&self, uri: Uri) -> Result<Value, DiscoverError> {
        let answer = self.transport.get(uri, self.body_limit);
        let answer = tokio::time::timeout(self.timeout, answer).await;
        let (status, body) = answer.map_err(|_| DiscoverError::TimedOut(self.timeout))??;
        if status != StatusCode::OK {
            return Err(DiscoverError::api(status, &body));
        }
        let answer = serde_json::from_slice::<Value>(&body);
        let answer = answer.map_err(|_| DiscoverError::Unreadable { reason: "it is not JSON" })?;
        if !answer.is_object() {
            return Err(DiscoverError::Unreadable { reason: "it is not an object" });
        }
        Ok(answer)
    }
}
