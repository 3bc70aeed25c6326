//! Server-sent events, read by the standard.
//! <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>

/// A line: its content, and the end of its line end. `is_ended` says whether it has one.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub content: &'a [u8],
    pub start: usize,
    pub next: usize,
    pub is_ended: bool,
}

/// The lines of a text. The last one has no line end if it is not empty.
pub fn lines(text: &[u8]) -> Vec<Line<'_>> {
    let (mut lines, mut start) = (Vec::new(), 0);
    while start < text.len() {
        let length = text[start..].iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let Some(length) = length else {
            lines.push(Line { content: &text[start..], start, next: text.len(), is_ended: false });
            break;
        };
        let end = start + length;
        let next = if text[end..].starts_with(b"\r\n") { end + 2 } else { end + 1 };
        lines.push(Line { content: &text[start..end], start, next, is_ended: true });
        start = next;
    }
    lines
}

/// An event as a client gets it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: Vec<u8>,
    pub data: Vec<u8>,
}

/// The events that a client acts on. An event without its blank line is not one of them.
pub fn events(text: &[u8]) -> Vec<Event> {
    let (mut events, mut event, mut has_data) = (Vec::new(), Event::default(), false);
    for line in lines(text).into_iter().filter(|line| line.is_ended) {
        if line.content.is_empty() {
            let event = std::mem::take(&mut event);
            if std::mem::take(&mut has_data) {
                events.push(event);
            }
            continue;
        }
        let colon = line.content.iter().position(|byte| *byte == b':');
        let (name, value) = line.content.split_at(colon.unwrap_or(line.content.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"event" => event.name = value.to_vec(),
            b"data" => {
                if std::mem::replace(&mut has_data, true) {
                    event.data.push(b'\n');
                }
                event.data.extend_from_slice(value);
            }
            _ => {}
        }
    }
    events
}

/// For each length of a beginning of the text: how many of its bytes, from the first, leave no event
/// incomplete. After them the last line has ended, and since the last blank one there were comments alone.
pub fn complete(text: &[u8]) -> Vec<usize> {
    let (mut all, mut complete, mut has_fields) = (vec![0], 0, false);
    for line in lines(text) {
        let end = line.start + line.content.len();
        all.resize(end + 1, complete);
        if !line.is_ended {
            break;
        }
        match line.content.first() {
            None => has_fields = false,
            Some(b':') => {}
            Some(_) => has_fields = true,
        }
        // A line has ended with a CR, whether or not an LF follows.
        for next in end + 1..=line.next {
            if !has_fields {
                complete = next;
            }
            all.push(complete);
        }
    }
    all
}
