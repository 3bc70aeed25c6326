//! An event of the log as one JSON object.
//!
//! tracing-subscriber has such a format, which hands each field on in a dozen small pieces: three
//! times the work for the same line, and the line of a request is a large part of what the sidecar
//! does for it.

use std::{fmt, io::Write as _};

use serde::Serialize;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// `timestamp` (RFC 3339, UTC), `level`, the event's fields with its `message`, `target`. Spans are
/// not told.
#[derive(Debug)]
pub(super) struct Json;

/// A line of a request has about 500 bytes.
const USUAL: usize = 1 << 10;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Vec::with_capacity(USUAL);
        write(&mut line, event)?;
        writer.write_str(str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

fn write(line: &mut Vec<u8>, event: &Event<'_>) -> fmt::Result {
    let mut time = String::with_capacity(32);
    SystemTime.format_time(&mut Writer::new(&mut time))?;
    let metadata = event.metadata();
    line.extend_from_slice(b"{\"timestamp\":\"");
    line.extend_from_slice(time.as_bytes());
    line.extend_from_slice(b"\",\"level\":\"");
    line.extend_from_slice(metadata.level().as_str().as_bytes());
    line.push(b'"');
    event.record(&mut Fields(line));
    Fields(line).pair("target", metadata.target());
    line.extend_from_slice(b"}\n");
    Ok(())
}

struct Fields<'a>(&'a mut Vec<u8>);

impl Fields<'_> {
    fn pair(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        let line = &mut *self.0;
        line.extend_from_slice(b",\"");
        // A name in Rust, with nothing in it to escape, or a literal of ours.
        line.extend_from_slice(name.strip_prefix("r#").unwrap_or(name).as_bytes());
        line.extend_from_slice(b"\":");
        // Numbers, truths and texts: none of them can fail, and a buffer takes all.
        let _ = serde_json::to_writer(line, value);
    }
}

impl Visit for Fields<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.pair(field.name(), &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.pair(field.name(), &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.pair(field.name(), &value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.pair(field.name(), &value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.pair(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Vec::new();
        let _ = write!(text, "{value:?}");
        self.pair(field.name(), &*String::from_utf8_lossy(&text));
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn each_event_is_a_line_with_all_it_has() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::ERROR)
            .with_writer(kept.clone())
            .event_format(Json)
            .finish();
        let nothing = None::<&str>;
        // Whatever other tests have made of these callsites, they are asked about anew.
        tracing::subscriber::with_default(subscriber, || {
            tracing::callsite::rebuild_interest_cache();
            tracing::error!(
                text = "a \"quote\", a\nbreak, \u{1}, ü and 🦀",
                number = -3,
                count = u64::MAX,
                seconds = 1.5,
                whole = 2.0,
                small = 1e-9,
                odd = f64::NAN,
                truth = true,
                r#type = "reserved",
                nothing,
                shown = %"a \"b\"",
                "the message",
            );
            tracing::error!("another");
        });
        let kept = kept.0.lock().unwrap();
        let lines: Vec<Value> = str::from_utf8(&kept)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut first = lines[0].clone();
        let time = first.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
        let expected = serde_json::json!({
            "level": "ERROR",
            "text": "a \"quote\", a\nbreak, \u{1}, ü and 🦀",
            "number": -3,
            "count": u64::MAX,
            "seconds": 1.5,
            "whole": 2.0,
            "small": 1e-9,
            "odd": null,
            "truth": true,
            "type": "reserved",
            "shown": "a \"b\"",
            "message": "the message",
            "target": module_path!(),
        });
        assert_eq!(first, expected);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1]["message"], "another");
    }
}
