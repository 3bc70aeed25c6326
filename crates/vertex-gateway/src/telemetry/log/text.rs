//! Formats an event of the log as a line for people, with all fields or short.

use std::fmt::{self, Write as _};

use tracing::{
    Event, Level, Subscriber,
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

use crate::{
    colours::{GREEN, RED, YELLOW, painted},
    printable::{Escaping, decimal},
    telemetry::access_log::ACCESS,
};

/// Time, level, target, message, and `name=value` for each field, in the format of `tracing`. No
/// value can end the line.
#[derive(Debug)]
pub(super) struct Text;

/// A short line for people who watch the log. For a request it has the outcome.
#[derive(Debug)]
pub(super) struct Short {
    pub(super) colours: bool,
}

impl<S, N> FormatEvent<S, N> for Text
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
        let (metadata, fields) = (event.metadata(), EventFields::of(event));
        SystemTime.format_time(&mut writer)?;
        write!(writer, " {:>5} {}:", metadata.level(), metadata.target())?;
        fields.write(&mut writer)
    }
}

impl<S, N> FormatEvent<S, N> for Short
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
        let mut time = String::with_capacity(32);
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        // The time of day in `2026-11-28T16:48:03.123456Z`.
        write!(writer, "{}Z ", time.get(11..19).unwrap_or_default())?;
        let (metadata, fields) = (event.metadata(), EventFields::of(event));
        if metadata.target() == ACCESS {
            return self.write_request(&mut writer, &fields);
        }
        let style = match *metadata.level() {
            Level::ERROR => RED,
            Level::WARN => YELLOW,
            _ => GREEN,
        };
        write!(writer, "{}", painted(self.colours, style, metadata.level()))?;
        fields.write(&mut writer)
    }
}

impl Short {
    /// Writes the columns of a request: its status, its model, its time, and its tokens; and behind
    /// them everything that is unusual.
    fn write_request(&self, writer: &mut impl fmt::Write, fields: &EventFields) -> fmt::Result {
        let status = fields.get("status").unwrap_or_default();
        let style = match status.as_bytes().first() {
            Some(b'5') => RED,
            Some(b'4') => YELLOW,
            _ => GREEN,
        };
        write!(writer, "{}", painted(self.colours, style, status))?;
        let mut line = String::with_capacity(128);
        columns(&mut line, fields)?;
        remarks(&mut line, fields)?;
        writeln!(writer, "{}", line.trim_end())
    }
}

/// Widths that hold all but unusual values, which move the rest of their line.
const MODEL: usize = 32;
const MILLIS: usize = 6;
const TOKENS: usize = 7;

fn columns(line: &mut String, fields: &EventFields) -> fmt::Result {
    match fields.get("model") {
        Some(model) => write!(line, " {model:MODEL$}")?,
        None => {
            let name = |name| fields.get(name).unwrap_or_default();
            write!(line, " {:MODEL$}", format!("{} {}", name("method"), name("path")))?;
        }
    }
    let millis = fields.get("duration_seconds").and_then(|seconds| seconds.parse::<f64>().ok());
    write!(line, " {:MILLIS$.0} ms", millis.unwrap_or_default() * 1e3)?;
    for (name, unit) in [("input_tokens", "in"), ("output_tokens", "out")] {
        match fields.get(name) {
            Some(tokens) => write!(line, " {tokens:>TOKENS$} {unit}")?,
            None => write!(line, " {:TOKENS$} {:2$}", "", "", unit.len())?,
        }
    }
    Ok(())
}

fn remarks(line: &mut String, fields: &EventFields) -> fmt::Result {
    if let Some(code) = fields.get("error_code") {
        write!(line, " {code}")?;
    }
    if let Some(attempts) = fields.get("attempts").filter(|attempts| *attempts != "1") {
        write!(line, " {attempts} attempts")?;
        if let Some(location) = fields.get("location") {
            write!(line, " {location}")?;
        }
    }
    for name in ["client", "peer_address", "token_replay"] {
        if let Some(value) = fields.get(name) {
            write!(line, " {name}={value}")?;
        }
    }
    if let Some(end) = fields.get("end").filter(|end| *end != "complete") {
        write!(line, " {end}")?;
    }
    if let Some(reason) = fields.get("error_message") {
        write!(line, ": {reason}")?;
    }
    Ok(())
}

/// The fields of an event in their order, escaped for the log.
#[derive(Default)]
struct EventFields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

struct Value {
    text: String,
    /// Whether the value is a string of the program. It is quoted, because it can contain spaces.
    is_text: bool,
}

impl EventFields {
    fn of(event: &Event<'_>) -> Self {
        let mut this = Self::default();
        event.record(&mut this);
        this
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.others.iter().find(|(known, _)| *known == name).map(|(_, value)| &*value.text)
    }

    fn write(&self, writer: &mut impl fmt::Write) -> fmt::Result {
        if !self.message.is_empty() {
            write!(writer, " {}", self.message)?;
        }
        for (name, value) in &self.others {
            writer.write_char(' ')?;
            Escaping(writer).write_str(name.strip_prefix("r#").unwrap_or(name))?;
            if value.is_text {
                // Unfit characters are already escaped.
                write!(writer, "=\"{}\"", value.text.replace('"', "\\\""))?;
            } else {
                write!(writer, "={}", value.text)?;
            }
        }
        writeln!(writer)
    }

    fn push(&mut self, field: &Field, value: impl fmt::Display, is_text: bool) {
        let mut text = String::new();
        // Writing to a `String` fails only if the value cannot be displayed.
        let _ = write!(Escaping(&mut text), "{value}");
        if field.name() == "message" {
            self.message = text;
        } else {
            self.others.push((field.name(), Value { text, is_text }));
        }
    }
}

impl Visit for EventFields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, decimal(value), false);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value, false);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value, false);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value, false);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        // Backslashes are doubled, so that none is taken for an escape.
        self.push(field, value.replace('\\', "\\\\"), true);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format_args!("{value:?}"), false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::log::json::tests::lines_of;

    #[test]
    fn a_line_of_text_has_all_fields_and_only_one_line_end() {
        let forged = "a\u{2028}b\nc \"d\" \\ \u{1b}[2J";
        let lines = lines_of(Text, || {
            let nothing = None::<&str>;
            tracing::warn!(forged, shown = %forged, "na\nme" = 1, seconds = 3.4e-5, nothing, "{forged}");
        });
        let (time, rest) = lines.split_once(' ').unwrap();
        assert!(time.ends_with('Z'), "{lines}");
        let escaped = r"a\u{2028}b\nc ";
        assert_eq!(
            rest,
            format!(
                concat!(
                    r#" WARN {target}: {escaped}"d" \ \u{{1b}}[2J forged="{escaped}\"d\" \\ \u{{1b}}[2J""#,
                    r#" shown={escaped}"d" \ \u{{1b}}[2J na\nme=1 seconds=0.000034"#,
                    "\n"
                ),
                target = module_path!(),
                escaped = escaped,
            )
        );
    }

    #[test]
    fn a_short_line_has_the_outcome_of_a_request() {
        let lines = lines_of(Short { colours: false }, || {
            tracing::info!(
                target: ACCESS,
                request_id = "req_1",
                method = "POST",
                path = "/v1/chat/completions",
                model = "gem\nini",
                location = "us-central1",
                status = 200_u16,
                end = "complete",
                attempts = 1,
                time_to_first_byte_seconds = 3.4e-5,
                duration_seconds = 12.345_678,
                input_tokens = 12,
                output_tokens = 34,
                "request",
            );
            tracing::info!(
                target: ACCESS,
                method = "GET",
                path = "/",
                status = 404_u16,
                error_code = "unsupported_path",
                error_message = "there is\nnothing",
                end = "client_closed",
                attempts = 3,
                duration_seconds = 0.001,
                client = "team",
                peer_address = "10.0.0.1:7",
                "request",
            );
            tracing::warn!(keys = 3, "another \u{2028} message");
        });
        let lines: Vec<_> = lines.lines().map(|line| line.split_once("Z ").unwrap().1).collect();
        assert_eq!(
            lines,
            [
                "200 gem\\nini                          12346 ms      12 in      34 out",
                "404 GET /                                 1 ms                        \
                 unsupported_path 3 attempts client=team peer_address=10.0.0.1:7 client_closed: \
                 there is\\nnothing",
                "WARN another \\u{2028} message keys=3",
            ]
        );
        let lines = lines_of(Short { colours: true }, || tracing::warn!("x"));
        assert!(lines.ends_with("Z \u{1b}[33mWARN\u{1b}[0m x\n"), "{lines:?}");
    }
}
