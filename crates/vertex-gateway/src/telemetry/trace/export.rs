//! Exports spans to the collector. Spans are queued and sent by a separate thread, so no request
//! waits for the export. Spans that find no room in the queue, or that the collector does not
//! accept, are lost and counted.

use std::{
    fmt,
    future::Future,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry::Context;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData,
        SpanExporter as Export, SpanProcessor,
    },
};
use prost::Message as _;
use tokio::runtime::Runtime;
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::settings::OtelSettings;
use crate::{
    error::{Error, causes},
    printable::clip,
    values::LONGEST_FILE,
};
use tower_vertex::{redact, regular_file};

/// The longest response of a collector that is read. It reports the spans that were not accepted.
const LONGEST_ANSWER: usize = 64 << 10;
/// Shortest time between two log lines about losses.
const QUIET: Duration = Duration::from_secs(60);

/// Lost spans of this process, for its metrics.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Number of spans that no collector has accepted.
pub(crate) fn lost_spans() -> u64 {
    LOST.load(Relaxed)
}

/// Makes the provider of spans, which also exports them.
pub(super) fn provider(settings: OtelSettings) -> Result<SdkTracerProvider, Error> {
    let cannot = |error: &dyn fmt::Display| Error::new(format!("cannot export traces: {error}"));
    let stats = Arc::new(ExportStats::new(settings.queue));
    let client = Collector::new(&settings, Arc::clone(&stats))?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(settings.endpoint)
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| cannot(&error))?;
    let exporter = Counted { exporter, stats: Arc::clone(&stats) };
    // Every setting is passed explicitly, because the SDK would parse the environment differently.
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(settings.queue)
        .with_max_export_batch_size(settings.batch)
        .with_scheduled_delay(settings.delay)
        .build();
    let batches = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(Queue { batches, stats })
        .with_sampler(settings.sampler)
        .with_max_attributes_per_span(settings.attributes)
        .with_resource(resource())
        .build())
}

/// The attributes of `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`, with defaults for the name
/// and version of the service.
fn resource() -> Resource {
    let resource = Resource::builder().build();
    let ours = [("service.name", "vertex-gateway"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let missing = ours.into_iter().filter(|(key, _)| {
        let said = resource.get(&(*key).into()).map(|value| value.to_string());
        // The SDK's default for a service without a name.
        said.is_none_or(|said| said.starts_with("unknown_service"))
    });
    let missing = missing.map(|(key, value)| opentelemetry::KeyValue::new(key, value));
    Resource::builder().with_attributes(missing).build()
}

/// Number of waiting spans, and the state of the export.
#[derive(Debug)]
struct ExportStats {
    waiting: AtomicUsize,
    room: usize,
    /// Whether the last export failed.
    failing: AtomicBool,
    told: Mutex<Option<Instant>>,
    /// The outcome of the last attempt, as far as the SDK does not report it.
    last: Mutex<ExportAttempt>,
}

#[derive(Debug, Default)]
enum ExportAttempt {
    /// There was a response, whose status the SDK reports.
    #[default]
    Answered,
    /// There was a response, and the collector rejected this many spans.
    Partly(usize, String),
    /// There was no response, for this reason.
    Failed(String),
}

impl ExportStats {
    fn new(room: usize) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            room,
            failing: AtomicBool::new(false),
            told: Mutex::new(None),
            last: Mutex::default(),
        }
    }

    /// Replaces the outcome of the last attempt. The lock is held only for that.
    fn tried(&self, came: ExportAttempt) -> ExportAttempt {
        std::mem::replace(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner), came)
    }

    fn lose(&self, spans: usize, reason: &dyn fmt::Display) {
        let lost = LOST.fetch_add(spans as u64, Relaxed) + spans as u64;
        // If another thread holds the lock, it is logging a loss already.
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.is_none_or(|told| told.elapsed() >= QUIET) {
            *told = Some(Instant::now());
            tracing::warn!(%reason, lost, "spans dropped");
        }
    }

    fn exported(&self, result: &OTelSdkResult, spans: usize) {
        let lose = |spans, reason: &dyn fmt::Display| {
            self.failing.store(true, Relaxed);
            self.lose(spans, reason);
        };
        match (result, self.tried(ExportAttempt::Answered)) {
            // A collector may claim more rejected spans than it received.
            (Ok(()), ExportAttempt::Partly(rejected, why)) => lose(rejected.min(spans), &why),
            (Ok(()), _) => {
                if self.failing.swap(false, Relaxed) {
                    tracing::info!(lost = lost_spans(), "spans are exported again");
                    // The next loss is logged at once.
                    if let Ok(mut told) = self.told.try_lock() {
                        *told = None;
                    }
                }
            }
            (Err(_), ExportAttempt::Failed(why)) => lose(spans, &why),
            (Err(error), _) => lose(spans, error),
        }
    }
}

/// Counts the spans in the SDK's queue. The SDK itself reports a full queue only once, at its
/// shutdown.
#[derive(Debug)]
struct Queue {
    batches: BatchSpanProcessor,
    stats: Arc<ExportStats>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.stats.waiting.fetch_add(1, Relaxed) < self.stats.room {
            self.batches.on_end(span);
        } else {
            self.stats.waiting.fetch_sub(1, Relaxed);
            self.stats.lose(1, &"the queue is full (OTEL_BSP_MAX_QUEUE_SIZE)");
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.batches.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.batches.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.batches.set_resource(resource);
    }
}

/// Counts the spans that leave the queue.
#[derive(Debug)]
struct Counted {
    exporter: SpanExporter,
    stats: Arc<ExportStats>,
}

impl Export for Counted {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.stats.waiting.fetch_sub(spans, Relaxed);
        let result = self.exporter.export(batch).await;
        self.stats.exported(&result, spans);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// The connection to the collector. It shares neither connections nor the access token with those
/// to Vertex AI.
struct Collector {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    headers: HeaderMap,
    timeout: Duration,
    stats: Arc<ExportStats>,
    /// The runtime of the export thread, which runs in no other runtime. `None` once it is dropped.
    runtime: Option<Runtime>,
}

impl Collector {
    fn new(settings: &OtelSettings, stats: Arc<ExportStats>) -> Result<Self, Error> {
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::new(error.to_string()))?;
        let tls = match &settings.certificate {
            Some(file) => tls.with_root_certificates(roots(file)?),
            None if settings.endpoint.starts_with("https:") => {
                tls.with_native_roots().map_err(|error| {
                    Error::new(format!(
                        "no root certificates found for the collector of traces: install the \
                         package ca-certificates, or name a file with \
                         OTEL_EXPORTER_OTLP_CERTIFICATE ({error})"
                    ))
                })?
            }
            None => tls.with_root_certificates(RootCertStore::empty()),
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(settings.timeout));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client =
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
        // The runtime is created last. An early return would drop it without the `Drop` below, and
        // a runtime must not be dropped within another one.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime
            .map_err(|error| Error::new(format!("cannot start the export of traces: {error}")))?;
        let (headers, timeout) = (settings.headers.clone(), settings.timeout);
        Ok(Self { client, headers, timeout, stats, runtime: Some(runtime) })
    }

    /// Sends a request within the timeout of one attempt, and records the outcome that the SDK does
    /// not report.
    async fn attempt(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let timeout = self.timeout;
        let answer = match tokio::time::timeout(timeout, self.send(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no response within {} ms", timeout.as_millis()).into()),
        };
        self.stats.tried(match &answer {
            Ok(answer) => rejected(answer).map_or(ExportAttempt::Answered, |(spans, why)| {
                ExportAttempt::Partly(
                    spans,
                    format!("the collector rejected them: {:?}", clip(&why)),
                )
            }),
            Err(error) => ExportAttempt::Failed(causes(error)),
        });
        answer
    }

    async fn send(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        request.headers_mut().extend(self.headers.clone());
        let answer = self.client.request(request.map(Full::new)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

/// Number of spans that a collector rejected, and its reason.
fn rejected(answer: &Response<Bytes>) -> Option<(usize, String)> {
    if !answer.status().is_success() {
        return None;
    }
    let answer = ExportTraceServiceResponse::decode(answer.body().clone()).ok()?;
    let part = answer.partial_success?;
    let spans = usize::try_from(part.rejected_spans).ok().filter(|spans| *spans > 0)?;
    Some((spans, part.error_message))
}

fn roots(path: &str) -> Result<RootCertStore, Error> {
    let refused = |error: &dyn fmt::Display| {
        Error::new(format!(
            "cannot read certificates from {}, which OTEL_EXPORTER_OTLP_CERTIFICATE names: {error}",
            redact::path(Path::new(path))
        ))
    };
    let mut roots = RootCertStore::empty();
    let text = regular_file::read(Path::new(path), LONGEST_FILE);
    let text = text.map_err(|error| refused(&error))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| refused(&error))?;
        roots.add(certificate).map_err(|error| refused(&error))?;
    }
    if roots.is_empty() {
        return Err(refused(&"it has none"));
    }
    Ok(roots)
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collector").finish_non_exhaustive()
    }
}

/// The method has the form that `async_trait` generates.
impl HttpClient for Collector {
    fn send_bytes<'life, 'future>(
        &'life self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'future>>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            let runtime = self.runtime.as_ref().ok_or("the exporter has ended")?;
            // The export thread has no runtime, and blocks on each export.
            runtime.block_on(self.attempt(request))
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // A lookup of the collector's name can hang in the system's resolver, so the drop does not
        // wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        let mut settings = OtelSettings::read(|name| match name {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("https://collector.example".to_owned()),
            "OTEL_EXPORTER_OTLP_CERTIFICATE" => Some("no/such/file.pem".to_owned()),
            _ => None,
        });
        let mut settings = settings.as_mut().unwrap().take().unwrap();
        let refused = |settings: &OtelSettings| {
            Collector::new(settings, Arc::new(ExportStats::new(1))).unwrap_err().to_string()
        };
        let error = refused(&settings);
        assert!(error.contains("no/such/file.pem"), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        settings.certificate = Some(empty.path().to_str().unwrap().to_owned());
        let error = refused(&settings);
        assert!(error.contains("it has none"), "{error}");
    }

    #[test]
    fn the_resource_has_the_name_and_version_of_the_gateway() {
        let resource = resource();
        let get = |key: &'static str| resource.get(&key.into()).unwrap().to_string();
        assert_eq!(get("service.name"), "vertex-gateway");
        assert_eq!(get("service.version"), env!("CARGO_PKG_VERSION"));
        assert_eq!(get("telemetry.sdk.language"), "rust");
    }
}
