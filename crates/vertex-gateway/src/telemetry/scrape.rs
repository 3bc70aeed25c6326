//! Metrics that are computed for each scrape.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::{log, trace};
use tower_vertex::{
    compat::{CompatStats, VertexCompatLayer},
    token::{FetchOutcome, FetchReason, TokenCache},
};

#[derive(Debug)]
pub(super) struct Scraped {
    pub(super) tokens: TokenCache,
    /// Number of requests that wait in the queue.
    pub(super) queued: Arc<AtomicUsize>,
    /// The thought signatures; `None` if bodies are not forwarded here.
    pub(super) compat: Option<VertexCompatLayer>,
}

impl Collector for Scraped {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stats = self.tokens.stats();
        let mut gauge = |name, help, unit: Option<&Unit>, value: Option<f64>| {
            let gauge = ConstGauge::new(value.unwrap_or_default());
            let into = encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
            value.map_or(Ok(()), |_| gauge.encode(into))
        };
        let seconds = Some(&Unit::Seconds);
        let help = "Time since the access token was fetched; absent without a token.";
        gauge("token_age", help, seconds, stats.age.map(|age| age.as_secs_f64()))?;
        let help = "Time until the access token expires; 0 without a valid token.";
        let left = stats.expires_in.unwrap_or_default();
        gauge("token_expires_in", help, seconds, Some(left.as_secs_f64()))?;
        let help = "Number of different access tokens so far.";
        gauge("token_generation", help, None, Some(stats.generation as f64))?;
        let help = "Requests that wait in the queue.";
        gauge("requests_queued", help, None, Some(self.queued.load(Relaxed) as f64))?;

        let help = "Responses of 401 to the access token.";
        let rejections = ConstCounter::new(stats.rejections);
        let into =
            encoder.encode_descriptor("token_rejections", help, None, rejections.metric_type())?;
        rejections.encode(into)?;
        let help = "Log lines that were dropped, because they were not read in time or could not \
             be written.";
        let lost = ConstCounter::new(log::lost_lines());
        let into =
            encoder.encode_descriptor("log_lines_dropped", help, None, lost.metric_type())?;
        lost.encode(into)?;
        let help = "Spans that were dropped, because no collector accepted them in time.";
        let lost = ConstCounter::new(trace::lost_spans());
        let into = encoder.encode_descriptor("spans_dropped", help, None, lost.metric_type())?;
        lost.encode(into)?;

        let help = "Completed fetches of an access token.";
        let kind = ConstCounter::new(0_u64).metric_type();
        let mut into = encoder.encode_descriptor("token_refreshes", help, None, kind)?;
        for (reason, reason_label) in REASONS {
            for (outcome, outcome_label) in OUTCOMES {
                let labels = [("reason", reason_label), ("outcome", outcome_label)];
                let counter = ConstCounter::new(stats.refreshes(reason, outcome));
                counter.encode(into.encode_family(&labels)?)?;
            }
        }
        match &self.compat {
            Some(compat) => encode_signatures(&compat.stats(), &mut encoder),
            None => Ok(()),
        }
    }
}

/// The metrics of thought signatures.
fn encode_signatures(stats: &CompatStats, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Thought signatures that requests lacked, by what took their place.";
    let kind = ConstCounter::new(0_u64).metric_type();
    let mut into = encoder.encode_descriptor("signatures", help, None, kind)?;
    for (result, count) in [
        ("restored", stats.restored),
        ("placeholder", stats.placeholders),
        ("missing", stats.missing),
    ] {
        ConstCounter::new(count).encode(into.encode_family(&[("result", result)])?)?;
    }
    let help = "Thought signatures that were forgotten because their memory was full.";
    let evicted = ConstCounter::new(stats.memory.evicted);
    let into =
        encoder.encode_descriptor("signatures_evicted", help, None, evicted.metric_type())?;
    evicted.encode(into)?;
    let help = "Memory that the remembered thought signatures take.";
    let bytes = ConstGauge::new(stats.memory.bytes as f64);
    let unit = Some(&Unit::Bytes);
    let into = encoder.encode_descriptor("signature_memory", help, unit, bytes.metric_type())?;
    bytes.encode(into)
}

pub(super) const REASONS: [(FetchReason, &str); 4] = [
    (FetchReason::Cold, "cold"),
    (FetchReason::Proactive, "proactive"),
    (FetchReason::Expired, "expired"),
    (FetchReason::Rejected, "rejected"),
];

pub(super) const OUTCOMES: [(FetchOutcome, &str); 3] = [
    (FetchOutcome::NewToken, "new_token"),
    (FetchOutcome::SameToken, "same_token"),
    (FetchOutcome::Failed, "failed"),
];
