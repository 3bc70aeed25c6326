//! Formats an event of the log as one JSON object.
//!
//! tracing-subscriber has such a format, but it writes each field in a dozen small pieces. That is
//! three times the work for the same line, and the line of a request is a large part of the
//! gateway's work for it.

use std::{
    fmt,
    io::{self, Write as _},
};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};
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

use crate::printable::{Piece, decimal, pieces};

/// `timestamp` (RFC 3339, UTC), `level`, the event's fields with its `message`, and `target`. Spans
/// are omitted.
#[derive(Debug)]
pub(super) struct Json;

/// Initial capacity: the line of a request has about 500 bytes.
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
    event.record(&mut FieldWriter(line));
    FieldWriter(line).pair("target", metadata.target());
    line.extend_from_slice(b"}\n");
    Ok(())
}

/// Writes JSON as compactly as serde_json, and escapes all characters that a reader could take for
/// the end of a line: U+0085 for Python, U+2028 and U+2029 for Python and JavaScript.
struct Fit;

impl Formatter for Fit {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // Only DEL can be unfit in ASCII here, because serde_json has escaped all characters below
        // a space.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        pieces(fragment).try_for_each(|piece| match piece {
            Piece::Fit(text) => writer.write_all(text.as_bytes()),
            Piece::Unfit(c) => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units)
                    .iter()
                    .try_for_each(|unit| write!(writer, "\\u{unit:04x}"))
            }
        })
    }
}

struct FieldWriter<'a>(&'a mut Vec<u8>);

impl FieldWriter<'_> {
    fn pair(&mut self, name: &str, value: &(impl Serialize + ?Sized)) {
        self.name(name);
        self.value(value);
    }

    fn name(&mut self, name: &str) {
        self.0.push(b',');
        // The name of a field of another crate can contain any character.
        self.value(name.strip_prefix("r#").unwrap_or(name));
        self.0.push(b':');
    }

    fn value(&mut self, value: &(impl Serialize + ?Sized)) {
        // Numbers, booleans and strings always serialize, and a write to the buffer cannot fail.
        let _ = value.serialize(&mut Serializer::with_formatter(&mut *self.0, Fit));
    }
}

impl Visit for FieldWriter<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.name(field.name());
            self.0.extend_from_slice(decimal(value).as_bytes());
        } else {
            self.pair(field.name(), &value);
        }
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
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    /// Returns the lines that `log` writes in this format.
    pub(crate) fn lines_of<F>(format: F, log: impl FnOnce()) -> String
    where
        F: for<'a> FormatEvent<
                tracing_subscriber::Registry,
                tracing_subscriber::fmt::format::DefaultFields,
            > + Send
            + Sync
            + 'static,
    {
        use tracing_subscriber::layer::SubscriberExt as _;
        let kept = Written::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(kept.clone()).event_format(format);
        // Other tests may have cached their interest in these callsites, so the cache is rebuilt.
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::callsite::rebuild_interest_cache();
            log();
        });
        let kept = kept.0.lock().unwrap();
        str::from_utf8(&kept).unwrap().to_owned()
    }

    #[test]
    fn text_cannot_end_a_line_and_numbers_have_no_exponent() {
        let forged = "a\u{2028}b\u{2029}c\u{85}d\u{7f}e\u{9b}f\u{202e}g\u{feff}h\u{e0001}i";
        let lines = lines_of(Json, || {
            tracing::error!(forged, shown = %forged, "quo\"ted" = 1, seconds = 3.4e-5, "{forged}");
        });
        assert_eq!(lines.trim_end().chars().filter(|c| c.is_control() || !c.is_ascii()).count(), 0);
        assert!(lines.contains(r#""quo\"ted":1,"seconds":0.000034,"#), "{lines}");
        let line: Value = serde_json::from_str(&lines).unwrap();
        for name in ["forged", "shown", "message"] {
            assert_eq!(line[name], forged, "{name}");
        }
    }

    #[test]
    fn each_event_is_a_line_with_all_its_fields() {
        let nothing = None::<&str>;
        let lines = lines_of(Json, || {
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
        let lines: Vec<Value> =
            lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
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
