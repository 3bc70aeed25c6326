//! The options of the retry layer.

use std::time::Duration;

use clap::Args;

use crate::{
    error::Error,
    values::{number, time},
};
use tower_vertex::{model::ModelTable, redact, retry::VertexRetryLayer};

/// The options about retries.
#[derive(Clone, Debug, Args)]
pub struct RetryOptions {
    /// Largest number of times that a request is sent, to all its locations together, from 1 to
    /// 100. It is sent again if Vertex AI responds with 408, 429, 500, 502, 503 or 504, or the
    /// connection fails; with 1 it is never sent again
    #[arg(
        long,
        value_name = "NUMBER",
        env = "VERTEX_GATEWAY_MAX_ATTEMPTS",
        default_value_t = 1,
        value_parser = number::<u32>(1..=100)
    )]
    pub max_attempts: u32,

    /// Longest wait before an attempt; if Vertex AI demands a longer one, its response goes to the
    /// client at once. With 0 a request is sent again without a wait
    #[arg(
        long,
        value_name = "TIME",
        env = "VERTEX_GATEWAY_RETRY_MAX_DELAY",
        default_value = "30s",
        value_parser = time(Duration::ZERO)
    )]
    pub retry_max_delay: Duration,
}

impl RetryOptions {
    pub(crate) fn layer(&self, replay_limit: usize) -> VertexRetryLayer {
        VertexRetryLayer::new()
            .max_attempts(self.max_attempts)
            .max_delay(self.retry_max_delay)
            .replay_limit(replay_limit)
    }

    /// Refuses a model with more locations than attempts, because some would never be used.
    pub(crate) fn check(&self, table: &ModelTable) -> Result<(), Error> {
        let most = self.max_attempts;
        for entry in table.entries() {
            let locations = entry.locations().map_or(0, |locations| locations.upstreams().len());
            if locations > 1 && locations > most as usize {
                let times = if most == 1 { "once".to_owned() } else { format!("{most} times") };
                return Err(Error::new(format!(
                    "model {:?} has {locations} locations, and a request is sent {times} at most: \
                     set --max-attempts to {locations} or more, or list fewer",
                    redact::value(entry.pattern()),
                )));
            }
        }
        Ok(())
    }
}
