use std::{collections::VecDeque, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::{
    ResponseContext,
    chunk::ChunkCures,
    error_event,
    events::{DataLine, Group, data_lines, is_comment, only_value},
    known::Known,
    writer::Writer,
};
use crate::{compat::Cure, sse::Lines};

/// The most bytes of an incomplete event that are held back. A longer event is not cured. An image
/// of a few hundred KiB, inline in base64, is one event.
///
/// The inputs of the fuzz targets are short, so their limit is lower.
const HOLD_LIMIT: usize = if cfg!(fuzzing) { 2 << 10 } else { 1 << 20 };

/// An event with more lines is held back until its end, however complete its first lines are.
const MOST_LINES: usize = 64;

/// The start of a further line of an event.
const NEXT_LINE: &[u8] = b"\ndata:";

/// Cures a stream of server-sent events, event by event.
///
/// The bytes of an incomplete event are held back until the rest of it arrives. All bytes come out
/// in the same order and, however they are divided into chunks, with the same edits.
#[derive(Debug)]
pub(crate) struct StreamCures {
    chunks: ChunkCures,
    lines: Lines,
    known: Option<Known>,
    /// The bytes of the incomplete event.
    held: BytesMut,
    /// How many of the held bytes have been searched for a further line.
    searched: usize,
    /// The incomplete event was over the limit, and its beginning has been forwarded.
    is_too_long: bool,
}

impl StreamCures {
    pub(crate) fn new(context: ResponseContext) -> Self {
        Self {
            chunks: ChunkCures::new(context),
            lines: Lines::default(),
            known: None,
            held: BytesMut::new(),
            searched: 0,
            is_too_long: false,
        }
    }

    /// Takes the next bytes of the stream, and appends those that can be forwarded to `ready`.
    pub(crate) fn push(&mut self, mut chunk: Bytes, ready: &mut VecDeque<Bytes>) {
        if !self.held.is_empty() || self.is_too_long {
            let Some(length) = self.lines.read_event(&chunk) else {
                return self.hold(&chunk, ready);
            };
            let end = chunk.split_to(length);
            if std::mem::take(&mut self.is_too_long) {
                ready.push_back(end);
            } else {
                self.held.extend_from_slice(&end);
                let event = self.take_held();
                let mut writer = Writer::new(&event);
                self.event(&event, 0..event.len(), &mut writer);
                push(writer.finish(event.len()), ready);
            }
        }
        let mut writer = Writer::new(&chunk);
        let mut start = 0;
        while let Some(rest) = chunk.get(start..).filter(|rest| !rest.is_empty()) {
            if let Some(known) = self.known.as_ref().and_then(|known| known.read(rest)) {
                if let Some(removed) = known.removed {
                    writer.remove(start + removed.start..start + removed.end);
                }
                start += known.length;
                continue;
            }
            let Some(length) = self.lines.read_event(rest) else { break };
            self.event(&chunk, start..start + length, &mut writer);
            start += length;
        }
        push(writer.finish(start), ready);
        if start < chunk.len() {
            self.hold(&chunk.slice(start..), ready);
        }
    }

    /// The bytes that are left at the end of the stream.
    pub(crate) fn finish(&mut self) -> Bytes {
        let rest = self.take_held();
        let mut writer = Writer::new(&rest);
        self.long_event(&rest, 0..rest.len(), End::OfStream, &mut writer);
        writer.finish(rest.len())
    }

    /// Whether bytes are held back.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Adds bytes to the incomplete event.
    fn hold(&mut self, bytes: &Bytes, ready: &mut VecDeque<Bytes>) {
        if self.is_too_long {
            return push(bytes.clone(), ready);
        }
        self.held.extend_from_slice(bytes);
        self.release_lines(ready);
        if self.held.len() > HOLD_LIMIT {
            self.is_too_long = true;
            push(self.take_held(), ready);
        }
    }

    /// Forwards the lines before a further `data` line, if they have a complete text. So a stream
    /// without blank lines is not held back to its end.
    fn release_lines(&mut self, ready: &mut VecDeque<Bytes>) {
        if !self.chunks.is_on(Cure::Events) {
            return;
        }
        while self.searched != usize::MAX {
            // The start of the line may have been divided.
            let from = self.searched.saturating_sub(NEXT_LINE.len() - 1);
            let found = self.held.get(from..).and_then(|rest| memmem::find(rest, NEXT_LINE));
            let Some(next) = found.map(|at| from + at + 1) else {
                self.searched = self.held.len();
                return;
            };
            self.searched = next + NEXT_LINE.len() - 1;
            let mut group = Group::default();
            for line in data_lines(&self.held, 0..next) {
                let value = self.held.get(line.value.clone()).unwrap_or_default().to_vec();
                group.push(line, &value);
            }
            if group.lines.len() > MOST_LINES {
                self.searched = usize::MAX;
                return;
            }
            if !group.is_complete() {
                continue;
            }
            let lines = self.held.split_to(next).freeze();
            self.searched = 0;
            let mut writer = Writer::new(&lines);
            self.long_event(&lines, 0..lines.len(), End::BeforeLine, &mut writer);
            push(writer.finish(lines.len()), ready);
        }
    }

    fn take_held(&mut self) -> Bytes {
        self.searched = 0;
        std::mem::take(&mut self.held).freeze()
    }

    /// Cures a complete event.
    fn event(&mut self, data: &Bytes, span: Range<usize>, writer: &mut Writer<'_>) {
        let event = data.get(span.clone()).unwrap_or_default();
        let Some(value) = only_value(event) else {
            return self.long_event(data, span, End::OfEvent, writer);
        };
        let text = event.get(value.clone()).unwrap_or_default();
        if is_comment(text) {
            if self.chunks.is_on(Cure::Events) {
                let line = DataLine { start: 0, value, next: 0 };
                comment(&line, text, span.start, writer);
            }
            return;
        }
        if !self.chunks.wants(text) {
            return;
        }
        let Ok(text) = std::str::from_utf8(text) else { return };
        let cured = self.chunks.cure(text);
        if let Some(content) = cured.content {
            let known = Known::learn(event, value.clone(), &content, cured.text.as_deref());
            self.known = known.or_else(|| self.known.take());
        }
        if let Some(text) = cured.text {
            writer.replace(span.start + value.start..span.start + value.end, text.as_bytes());
        }
    }

    /// Cures an event of any lines.
    fn long_event(&mut self, data: &Bytes, span: Range<usize>, end: End, writer: &mut Writer<'_>) {
        let span_end = span.end;
        let lines = data_lines(data, span.clone());
        if !self.chunks.is_on(Cure::Events) {
            if let [line] = &*lines {
                self.text(data, line, writer);
            }
            return;
        }
        if lines.is_empty() {
            if let Some(error) = data.get(span.clone()).and_then(error_event::cure_bare) {
                writer.replace(span, format!("data: {error}\n\n").as_bytes());
            }
            return;
        }
        let mut group = Group::default();
        for line in lines {
            if group.is_complete() && !group.lines.is_empty() {
                let complete = std::mem::take(&mut group);
                self.group(data, &complete, writer);
                writer.replace(line.start..line.start, b"\n");
            }
            let value = data.get(line.value.clone()).unwrap_or_default();
            group.push(line, value);
        }
        self.group(data, &group, writer);
        match end {
            End::BeforeLine => writer.replace(span_end..span_end, b"\n"),
            End::OfStream if group.is_complete() && !group.is_comment() => {
                let ends_line = data.last().is_some_and(|last| matches!(last, b'\n' | b'\r'));
                let missing: &[u8] = if ends_line { b"\n" } else { b"\n\n" };
                writer.replace(span_end..span_end, missing);
            }
            _ => {}
        }
    }

    /// Cures the text of one or several lines.
    fn group(&mut self, data: &Bytes, group: &Group, writer: &mut Writer<'_>) {
        if group.is_comment() {
            for line in &group.lines {
                comment(line, data.get(line.value.clone()).unwrap_or_default(), 0, writer);
            }
            return;
        }
        match &*group.lines {
            [line] => self.text(data, line, writer),
            [first, others @ ..] if group.is_json() => {
                let text = group.one_line();
                let text = self.cured(&text).map_or(text, String::into_bytes);
                writer.replace(first.value.clone(), &text);
                others.iter().for_each(|line| writer.remove(line.start..line.next));
            }
            _ => {}
        }
    }

    fn text(&mut self, data: &Bytes, line: &DataLine, writer: &mut Writer<'_>) {
        let text = data.get(line.value.clone()).unwrap_or_default();
        if let Some(cured) = self.cured(text) {
            writer.replace(line.value.clone(), cured.as_bytes());
        }
    }

    /// `None` if the text stays.
    fn cured(&mut self, text: &[u8]) -> Option<String> {
        let text =
            std::str::from_utf8(text).ok().filter(|text| self.chunks.wants(text.as_bytes()))?;
        self.chunks.cure(text).text
    }
}

/// The continuation after the lines of an event.
#[derive(Clone, Copy)]
enum End {
    /// The event is complete.
    OfEvent,
    /// A further `data` line.
    BeforeLine,
    /// Nothing.
    OfStream,
}

/// Turns a line into a comment. Its positions are relative to `offset`.
fn comment(line: &DataLine, value: &[u8], offset: usize, writer: &mut Writer<'_>) {
    let colon = value.iter().position(|byte| *byte == b':');
    let (end, new): (usize, &[u8]) = match colon {
        Some(colon) => (line.value.start + colon, b""),
        None => (line.value.end, b":"),
    };
    writer.replace(offset + line.start..offset + end, new);
}

fn push(bytes: Bytes, ready: &mut VecDeque<Bytes>) {
    if !bytes.is_empty() {
        ready.push_back(bytes);
    }
}
