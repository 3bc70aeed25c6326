//! The options of the compat layer.

use std::time::Duration;

use clap::Args;

use crate::values::{parsed, size, time};
use tower_vertex::compat::{Cures, Signatures, VertexCompatLayer};

/// The options about cures: what OpenAI clients and Gemini cannot read of each other.
#[derive(Clone, Debug, Args)]
pub struct CompatOptions {
    /// Cures for what OpenAI clients and Gemini models cannot read of each other: `on` for the default
    /// ones, `off`, `all`, or a list of names, such as `on,-merge_system_messages` or
    /// `signatures,tool_calls`
    #[arg(
        long,
        value_name = "CURES",
        env = "VERTEX_GATEWAY_COMPAT",
        default_value = "on",
        value_parser = parsed(cures)
    )]
    pub compat: Cures,

    /// Memory for the thought signatures of tool calls, which Gemini 3 demands and most clients drop.
    /// If it is full, those that were not used for the longest time are forgotten; with 0 none is
    /// remembered
    #[arg(
        long,
        value_name = "SIZE",
        env = "VERTEX_GATEWAY_SIGNATURE_MEMORY",
        default_value = "64MiB",
        value_parser = size()
    )]
    pub signature_memory: usize,

    /// Time for which a thought signature is remembered after its last use, at least 1m
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_SIGNATURE_LIFETIME",
        default_value = "1d",
        value_parser = time(Duration::from_secs(60))
    )]
    pub signature_lifetime: Duration,
}

fn cures(text: &str) -> Result<Cures, String> {
    text.parse().map_err(|_| {
        let names: Vec<_> = Cures::names().collect();
        format!("give on, off, all, or names of {}", names.join(", "))
    })
}

impl CompatOptions {
    /// The layer, which reads bodies of at most `max_request_bytes`.
    pub(crate) fn layer(&self, max_request_bytes: usize) -> VertexCompatLayer {
        let signatures = Signatures::with_bounds(self.signature_memory, self.signature_lifetime);
        VertexCompatLayer::new(self.compat).signatures(signatures).body_limit(max_request_bytes)
    }
}
