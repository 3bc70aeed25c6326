//! Collects the lines of the log about requests, and in a verbose simulation all others too.

use std::{
    cell::RefCell,
    fmt::{Debug, Write as _},
    sync::Arc,
};

use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};

use super::world::{Record, World, number_of};
use crate::telemetry::access_log::ACCESS;

thread_local! {
    static WORLD: RefCell<Option<(Arc<World>, bool)>> = const { RefCell::new(None) };
}

/// The world of this thread gets the lines from now on.
pub(super) fn collect_for(world: Option<(Arc<World>, bool)>) {
    WORLD.set(world);
}

/// Whether it is a line of the log, at a level that is collected.
fn is_collected(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && *metadata.level() <= Level::INFO
}

/// The log of the simulations of all threads.
pub(super) struct Log;

impl Subscriber for Log {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match is_collected(metadata) {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    /// While another test has a log of its own, this is also called for lines in which there is no interest.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let is_verbose =
            || WORLD.with_borrow(|world| world.as_ref().is_some_and(|(_, verbose)| *verbose));
        is_collected(metadata) && (metadata.target() == ACCESS || is_verbose())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some((world, verbose)) = WORLD.with_borrow(Clone::clone) else { return };
        let mut line = Line { is_verbose: verbose, ..Line::default() };
        event.record(&mut line);
        let target = event.metadata().target();
        if target != ACCESS {
            return world.event("log", || format!("{target}:{}", line.text));
        }
        world.event("record", || line.text.as_str());
        match line.number {
            Some(number) => world.with_request(number, |request| request.records.push(line.record)),
            None => world.violated(format!("a record of an unknown request: {}", line.text)),
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line {
    is_verbose: bool,
    number: Option<usize>,
    record: Record,
    text: String,
}

impl Visit for Line {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "status" => self.record.status = value,
            "bytes_sent" => self.record.bytes_sent = value,
            "attempts" => self.record.attempts = value,
            _ => {}
        }
        self.record_debug(field, &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "request_id" => self.number = number_of(value),
            "end" => value.clone_into(&mut self.record.end),
            "error_code" => value.clone_into(&mut self.record.error_code),
            _ => {}
        }
        self.record_debug(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.is_verbose {
            let _ = write!(self.text, " {}={value:?}", field.name());
        }
    }
}
