//! Without the feature `otel` nothing is traced, and nothing of it is left in the stack.

use http::{Extensions, Request};

use super::super::{config::Failure, record::Record};

/// The client, with a span for each attempt: without one, itself.
pub(in super::super) type Traced<S> = S;
pub(in super::super) type TracedBody<B> = B;

/// What makes the traces.
#[derive(Clone, Debug)]
pub(in super::super) struct Traces(());

/// The trace of one request.
#[derive(Debug, Default)]
pub(in super::super) struct Trace(());

impl Traces {
    /// Says that this build exports nothing, if somebody expects it.
    #[allow(clippy::unnecessary_wraps)] // With the feature, variables may be wrong.
    pub(in super::super) fn from_env() -> Result<Self, Failure> {
        super::warn_of_none("this build is without the feature `otel`");
        Ok(Self(()))
    }

    /// Whether requests must carry what has become known of them to the client.
    pub(in super::super) fn is_on(&self) -> bool {
        false
    }

    pub(in super::super) fn layer<S>(&self, client: S) -> Traced<S> {
        client
    }

    pub(in super::super) fn begin<B>(&self, _: &Request<B>, _secure: bool) -> Trace {
        Trace(())
    }

    pub(in super::super) async fn flush(self) {}
}

impl Trace {
    pub(in super::super) fn follow(&self, _: &mut Extensions) {}

    pub(in super::super) fn id(&self) -> Option<String> {
        None
    }

    pub(in super::super) fn end(self, _: &Record) {}
}

pub(in super::super) fn lost_spans() -> u64 {
    0
}
