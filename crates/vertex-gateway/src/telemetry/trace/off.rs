//! Without the feature `otel`, nothing is traced, and the stack has no layer for it.

use http::{Extensions, Request};

use crate::{error::Error, telemetry::access_log::RequestLog};

/// The client, which has no spans here.
pub(crate) type Traced<S> = S;
pub(crate) type TracedBody<B> = B;

/// Begins traces.
#[derive(Clone, Debug)]
pub(crate) struct Traces(());

/// The trace of one request.
#[derive(Debug, Default)]
pub(crate) struct Trace(());

impl Traces {
    /// Warns that this build exports no traces, if an endpoint is configured.
    #[allow(clippy::unnecessary_wraps)] // With the feature, variables may be wrong.
    pub(crate) fn from_env() -> Result<Self, Error> {
        super::warn_of_none("this build does not have the feature `otel`");
        Ok(Self(()))
    }

    /// Whether the extensions of requests must reach the client, which makes the spans of attempts.
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    pub(crate) fn layer<S>(&self, client: S) -> Traced<S> {
        client
    }

    pub(crate) fn begin<B>(&self, _: &Request<B>, _secure: bool) -> Trace {
        Trace(())
    }

    pub(crate) async fn flush(self) {}
}

impl Trace {
    pub(crate) fn follow(&self, _: &mut Extensions) {}

    pub(crate) fn id(&self) -> Option<String> {
        None
    }

    pub(crate) fn end(self, _: &RequestLog) {}
}

pub(crate) fn lost_spans() -> u64 {
    0
}
