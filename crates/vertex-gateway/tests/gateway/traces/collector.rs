//! A collector of traces, which accepts OTLP as protobuf over HTTP.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::to_bytes, extract::Request, http::StatusCode, response::IntoResponse};
use bytes::Bytes;
use http::HeaderMap;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value as Any},
    trace::v1::Span,
};
use prost::Message as _;
use serde_json::{Value, json};

use crate::common::eventually;

/// The behaviour of a collector when it gets an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Takes,
    /// Accepts all but two spans of each export.
    TakesAPart,
    Refuses,
    /// Refuses the next export with 503, and accepts all exports after it.
    IsAwayOnce,
    Silent,
}

#[derive(Clone, Debug)]
pub(crate) struct Export {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

pub(crate) struct Collector {
    pub(crate) url: String,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<Vec<Export>>>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mood, seen) = (Arc::new(Mutex::new(Mood::Takes)), Arc::<Mutex<Vec<_>>>::default());
        let (asked, sink) = (Arc::clone(&mood), Arc::clone(&seen));
        let take = move |request: Request| async move {
            let mood = *asked.lock().unwrap();
            if mood == Mood::IsAwayOnce {
                *asked.lock().unwrap() = Mood::Takes;
            }
            let (head, body) = request.into_parts();
            let body = to_bytes(body, 64 << 20).await.unwrap();
            let path = head.uri.path().to_owned();
            sink.lock().unwrap().push(Export { path, headers: head.headers, body });
            match mood {
                Mood::Takes => StatusCode::OK.into_response(),
                Mood::TakesAPart => {
                    let error_message = "two are too long".to_owned();
                    let part = ExportTracePartialSuccess { rejected_spans: 2, error_message };
                    let answer = ExportTraceServiceResponse { partial_success: Some(part) };
                    answer.encode_to_vec().into_response()
                }
                Mood::Refuses => StatusCode::BAD_REQUEST.into_response(),
                Mood::IsAwayOnce => StatusCode::SERVICE_UNAVAILABLE.into_response(),
                Mood::Silent => std::future::pending().await,
            }
        };
        let router = Router::new().fallback(take);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, mood, seen }
    }

    pub(crate) fn turn(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn exports(&self) -> Vec<Export> {
        self.seen.lock().unwrap().clone()
    }

    /// All spans so far.
    pub(crate) fn spans(&self) -> Spans {
        Spans::of(&self.exports())
    }

    /// The spans since the last call, once there are this many.
    pub(crate) async fn take(&self, number: usize) -> Spans {
        eventually(&format!("{number} spans"), || self.spans().0.len() >= number).await;
        let spans = Spans::of(&std::mem::take(&mut *self.seen.lock().unwrap()));
        assert_eq!(spans.0.len(), number, "{spans:#?}");
        spans
    }
}

/// A span in a form that is easier to read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) state: String,
    pub(crate) is_error: bool,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) resource: BTreeMap<String, Value>,
}

impl Seen {
    /// The attributes as JSON, without one of them.
    pub(crate) fn without(mut self, name: &str) -> Value {
        self.attributes.remove(name).expect(name);
        json!(self.attributes)
    }

    pub(crate) fn get(&self, name: &str) -> &Value {
        self.attributes.get(name).unwrap_or(&Value::Null)
    }

    /// The `traceparent` header of a request that belongs to this span.
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Spans(pub(crate) Vec<Seen>);

impl Spans {
    fn of(exports: &[Export]) -> Self {
        let mut spans = Vec::new();
        for export in exports {
            let request = ExportTraceServiceRequest::decode(export.body.clone()).unwrap();
            for of_resource in request.resource_spans {
                let resource = attributes(of_resource.resource.unwrap().attributes);
                for of_scope in of_resource.scope_spans {
                    assert_eq!(of_scope.scope.unwrap().name, "vertex-gateway");
                    spans.extend(of_scope.spans.into_iter().map(|span| seen(span, &resource)));
                }
            }
        }
        Self(spans)
    }

    pub(crate) fn server(&self) -> Seen {
        let mut found = self.0.iter().filter(|span| span.kind == "SERVER");
        let (Some(span), None) = (found.next(), found.next()) else { panic!("{self:#?}") };
        span.clone()
    }

    /// The span of the model's operation.
    pub(crate) fn operation(&self) -> Seen {
        let is = |span: &&Seen| span.attributes.contains_key("gen_ai.operation.name");
        let mut found = self.0.iter().filter(is);
        let (Some(span), None) = (found.next(), found.next()) else { panic!("{self:#?}") };
        span.clone()
    }

    /// The spans of all attempts, in their order.
    pub(crate) fn attempts(&self) -> Vec<Seen> {
        let is = |span: &&Seen| span.attributes.contains_key("url.full");
        let mut found: Vec<_> = self.0.iter().filter(is).cloned().collect();
        found.sort_by_key(|span| span.get("http.request.resend_count").as_i64().unwrap_or(0));
        found
    }
}

fn seen(span: Span, resource: &BTreeMap<String, Value>) -> Seen {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let status = span.status.unwrap_or_default();
    assert_eq!(status.message, "");
    assert_eq!((span.dropped_attributes_count, span.events.len()), (0, 0));
    let number = span.attributes.len();
    let attributes = attributes(span.attributes);
    assert_eq!(attributes.len(), number, "an attribute twice: {attributes:?}");
    Seen {
        name: span.name,
        kind: match span.kind {
            2 => "SERVER",
            3 => "CLIENT",
            other => panic!("kind {other}"),
        },
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        state: span.trace_state,
        is_error: status.code == 2,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes,
        resource: resource.clone(),
    }
}

fn attributes(attributes: Vec<KeyValue>) -> BTreeMap<String, Value> {
    let value = |value: Option<AnyValue>| match value.unwrap().value.unwrap() {
        Any::StringValue(text) => json!(text),
        Any::BoolValue(bool) => json!(bool),
        Any::IntValue(int) => json!(int),
        Any::DoubleValue(double) => json!(double),
        other => panic!("{other:?}"),
    };
    attributes.into_iter().map(|pair| (pair.key, value(pair.value))).collect()
}
