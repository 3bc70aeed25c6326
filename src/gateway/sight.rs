//! What operators see of requests: a line of the log each, and the metrics.

use super::record::Record;

/// Where records end.
#[derive(Debug, Default)]
pub(super) struct Sight {}

impl Sight {
    /// A request has come.
    pub(super) fn arrived(&self) {}

    /// Its record is complete.
    pub(super) fn ended(&self, record: &Record) {
        let status = record.status.map_or(499, |status| status.as_u16());
        let milliseconds = record.arrived.elapsed().as_millis();
        let (method, path) = (&record.method, &*record.path);
        tracing::info!(%method, path, status, milliseconds, "answered");
    }
}
