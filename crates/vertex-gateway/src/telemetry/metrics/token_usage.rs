//! The counters of tokens by the conventions of OpenTelemetry for GenAI.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{AlwaysEncoded, Series, SeriesKey};
use crate::telemetry::usage::Usage;

/// The token counters of the GenAI conventions.
#[derive(Debug, Default)]
pub(super) struct GenAi<T> {
    input: T,
    cached: T,
    cache_creation: T,
    output: T,
    reasoning: T,
}

pub(super) type GenAiUsage = GenAi<Family<GenAiLabels, Counter>>;

impl GenAiUsage {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (name, help, family) in [
            ("input_tokens", "Input tokens, including cached tokens", &self.input),
            ("cache_read_input_tokens", "Input tokens that were read from a cache", &self.cached),
            (
                "cache_creation_input_tokens",
                "Input tokens that were written to a cache",
                &self.cache_creation,
            ),
            ("output_tokens", "Output tokens, including reasoning tokens", &self.output),
            ("reasoning_output_tokens", "Reasoning tokens", &self.reasoning),
        ] {
            let name = format!("gen_ai_client_inference_usage_{name}");
            registry.register(name, help, AlwaysEncoded(family.clone()));
        }
    }

    pub(super) fn count(&self, series: &Series, usage: &Usage) {
        for (family, counter, tokens) in [
            (&self.input, &series.usage.input, usage.input),
            (&self.cached, &series.usage.cached, usage.cached),
            (&self.cache_creation, &series.usage.cache_creation, usage.cache_creation),
            (&self.output, &series.usage.output, usage.output),
            (&self.reasoning, &series.usage.reasoning, usage.reasoning),
        ] {
            let Some(tokens) = tokens else { continue };
            let counter =
                counter.get_or_init(|| family.get_or_create_owned(&GenAiLabels::new(&series.of)));
            counter.inc_by(tokens);
        }
    }
}

/// The conventions require these labels, except `client` and `traffic_type`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct GenAiLabels {
    gen_ai_operation_name: &'static str,
    gen_ai_provider_name: &'static str,
    gen_ai_request_model: Arc<str>,
    gen_ai_token_modality: &'static str,
    client: Arc<str>,
    traffic_type: &'static str,
}

impl GenAiLabels {
    fn new(of: &SeriesKey) -> Self {
        Self {
            gen_ai_operation_name: of.operation,
            gen_ai_provider_name: "gcp.vertex_ai",
            gen_ai_request_model: of.request.model.clone(),
            // The modality is not known for both input and output.
            gen_ai_token_modality: "unknown",
            client: of.request.client.clone(),
            traffic_type: of.traffic_type,
        }
    }
}
