//! The tokens of a response, read by the gateway while it forwards the response, in comparison with a
//! reading by serde_json.

use vertex_gateway::fuzzing::{Tokens, usage, usage_of_whole};

use crate::{input::Input, json};

/// A larger number is no number of tokens.
const MOST: u64 = 1 << 40;

/// Controls: the pieces. Text: a response, whole or in events.
pub fn run(data: &[u8]) {
    let Some(input) = Input::of(data) else { return };
    let found = usage(input.pieces());
    assert_eq!(found, usage([input.text]), "the pieces change the usage");
    assert_eq!(found, usage(input.text.chunks(1)), "the pieces change the usage");
    if let Ok(text) = std::str::from_utf8(input.text)
        && json::depth(input.text) < 1000
        && let Some(expected) = expected(text)
    {
        assert_eq!(found, expected, "serde_json reads another usage");
        let whole = usage_of_whole(input.text);
        assert_eq!(whole, expected, "serde_json reads another usage of a whole response");
    }
}

/// The usage of a text that is one JSON value, or events that each have one. `None` for other texts, in
/// which only the division into pieces is checked.
fn expected(text: &str) -> Option<Option<Tokens>> {
    let mut last = Raw::default();
    if text.trim_ascii_start().starts_with(['{', '[']) {
        if !json::is_json(text) {
            return None;
        }
        outermost(text, &mut last);
        return Some(last.tokens());
    }
    for line in text.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line.split_once(':') {
            _ if line.is_empty() => {}
            Some(("data", value)) if value.trim_ascii_start().starts_with('{') => {
                if !json::is_json(value) {
                    return None;
                }
                outermost(value, &mut last);
            }
            _ if line.contains(['"', '{', '}']) => return None,
            _ => {}
        }
    }
    Some(last.tokens())
}

/// The objects that are in no other object, however many arrays are around them.
fn outermost(text: &str, last: &mut Raw) {
    for element in json::elements(text).iter().flatten() {
        outermost(element, last);
    }
    if text.trim_ascii_start().starts_with('{') {
        object(text, Kind::Answer, None, last);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Answer,
    Response,
    Message,
    Usage,
    Metadata,
    InputDetails,
    OutputDetails,
    Extra,
    Google,
}

/// The numbers of one usage, as the protocols name them.
#[derive(Clone, Debug, Default)]
struct Raw {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    reasoning: Option<u64>,
    thoughts: Option<u64>,
    tool_use: Option<u64>,
    cache_read: Option<u64>,
    cache_creation: Option<u64>,
    traffic_type: Option<String>,
    began_message: bool,
}

/// Reads an object. `now` is the usage that it is a part of.
fn object(text: &str, kind: Kind, mut now: Option<&mut Raw>, last: &mut Raw) {
    for (key, value) in members(text) {
        let name = key.trim_matches('"');
        let inner = match (kind, name) {
            (Kind::Answer, "response") => Some(Kind::Response),
            (Kind::Answer, "message") => Some(Kind::Message),
            (Kind::Answer | Kind::Response | Kind::Message, "usage") => Some(Kind::Usage),
            (Kind::Answer, "usageMetadata") => Some(Kind::Metadata),
            (Kind::Usage, "prompt_tokens_details" | "input_tokens_details") => {
                Some(Kind::InputDetails)
            }
            (Kind::Usage, "completion_tokens_details" | "output_tokens_details") => {
                Some(Kind::OutputDetails)
            }
            (Kind::Usage, "extra_properties") => Some(Kind::Extra),
            (Kind::Extra, "google") => Some(Kind::Google),
            _ => None,
        };
        if let Some(inner) = inner {
            if !value.starts_with('{') {
                continue;
            }
            if matches!(inner, Kind::Usage | Kind::Metadata) {
                let began_message = kind == Kind::Message;
                let mut own = Raw { began_message, ..Raw::default() };
                object(value, inner, Some(&mut own), last);
                *last = own.after(std::mem::take(last));
            } else {
                object(value, inner, now.as_deref_mut(), last);
            }
            continue;
        }
        let Some(now) = now.as_deref_mut() else { continue };
        let count = match (kind, name) {
            (Kind::Usage, "prompt_tokens" | "input_tokens")
            | (Kind::Metadata, "promptTokenCount") => &mut now.prompt,
            (Kind::Usage, "completion_tokens" | "output_tokens")
            | (Kind::Metadata, "candidatesTokenCount") => &mut now.completion,
            (Kind::Usage, "total_tokens") | (Kind::Metadata, "totalTokenCount") => &mut now.total,
            (Kind::InputDetails, "cached_tokens") | (Kind::Metadata, "cachedContentTokenCount") => {
                &mut now.cached
            }
            (Kind::OutputDetails, "reasoning_tokens") => &mut now.reasoning,
            (Kind::Metadata, "thoughtsTokenCount") => &mut now.thoughts,
            (Kind::Metadata, "toolUsePromptTokenCount") => &mut now.tool_use,
            (Kind::Usage, "cache_read_input_tokens") => &mut now.cache_read,
            (Kind::Usage, "cache_creation_input_tokens") => &mut now.cache_creation,
            (Kind::Metadata, "trafficType") | (Kind::Google, "traffic_type") => {
                if let Some(word) = value.strip_prefix('"').and_then(|word| word.strip_suffix('"'))
                {
                    now.traffic_type = Some(word.to_owned());
                }
                continue;
            }
            _ => continue,
        };
        if let Some(number) = value.parse().ok().filter(|number| *number <= MOST) {
            *count = Some(number);
        }
    }
}

/// The members of an object. A key with an escape is the name of no count.
fn members(text: &str) -> Vec<(&str, &str)> {
    json::raw_members(text).unwrap_or_default()
}

impl Raw {
    fn word(&self) -> Option<&str> {
        let word = self.traffic_type.as_deref()?;
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        ((1..=40).contains(&word.len()) && word.bytes().all(is_word)).then_some(word)
    }

    fn has_numbers(&self) -> bool {
        let first = [self.prompt, self.cached, self.completion, self.reasoning, self.total];
        let others = [self.thoughts, self.tool_use, self.cache_read, self.cache_creation];
        first.iter().chain(&others).any(Option::is_some)
    }

    /// The last usage counts; one without numbers only adds its traffic type. The numbers after the
    /// begin of a message of Anthropic's replace those of the begin one by one.
    fn after(self, before: Self) -> Self {
        let traffic_type = match self.word() {
            Some(word) => Some(word.to_owned()),
            None => before.traffic_type.clone(),
        };
        let mut raw = if before.began_message && !self.began_message {
            Self {
                prompt: self.prompt.or(before.prompt),
                completion: self.completion.or(before.completion),
                total: self.total.or(before.total),
                cached: self.cached.or(before.cached),
                reasoning: self.reasoning.or(before.reasoning),
                thoughts: self.thoughts.or(before.thoughts),
                tool_use: self.tool_use.or(before.tool_use),
                cache_read: self.cache_read.or(before.cache_read),
                cache_creation: self.cache_creation.or(before.cache_creation),
                began_message: true,
                traffic_type: None,
            }
        } else if self.has_numbers() {
            self
        } else {
            before
        };
        raw.traffic_type = traffic_type;
        raw
    }

    /// The tokens as the gateway's documentation defines them.
    fn tokens(&self) -> Option<Tokens> {
        let sum = |numbers: &[Option<u64>]| {
            numbers.iter().flatten().copied().reduce(|sum, more| sum + more)
        };
        let input = sum(&[self.prompt, self.tool_use, self.cache_read, self.cache_creation]);
        let completion = sum(&[self.completion, self.thoughts]);
        let mut output = completion;
        if let (Some(total), Some(input)) = (self.total, input)
            && total > input
            && output.is_none_or(|output| total - input > output)
        {
            output = Some(total - input);
        }
        if let Some(reasoning) = self.reasoning
            && output.is_none_or(|output| reasoning > output)
        {
            output = Some(completion.unwrap_or(0) + reasoning);
        }
        let cached = self.cached.or(self.cache_read);
        let reasoning = self.reasoning.or(self.thoughts);
        let numbers = [input, cached, self.cache_creation, output, reasoning];
        let word = self.word().map(Into::into);
        (numbers.iter().any(Option::is_some) || word.is_some()).then_some((numbers, word))
    }
}
