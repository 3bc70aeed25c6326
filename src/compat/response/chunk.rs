//! The JSON text of one event.

use std::{ops::Range, sync::LazyLock};

use memchr::memmem::Finder;

use super::{
    Operation, ResponseContext, error_event, finish_reason, missing_members, observe, role,
    thoughts,
    tool_calls::{self, Calls, Place},
    usage,
};
use crate::compat::{
    Cure,
    json::{Edits, Object, Value},
};

/// Later choices are not cured, which bounds the memory of a stream. Gemini returns at most 8.
const MOST_CHOICES: usize = 128;

/// Cures the texts of a stream.
#[derive(Debug)]
pub(super) struct ChunkCures {
    context: ResponseContext,
    choices: Vec<Choice>,
    /// The id of a response that has none.
    random_id: String,
}

/// The state of a choice.
#[derive(Debug, Default)]
pub(super) struct Choice {
    index: u64,
    pub(super) role_sent: bool,
    pub(super) calls: Calls,
}

impl Choice {
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }
}

/// The result of curing a text.
#[derive(Debug, Default)]
pub(super) struct Cured {
    /// `None` if the text stays.
    pub(super) text: Option<String>,
    /// The position of the content, if the next text may differ in nothing else. See `known`.
    pub(super) content: Option<Range<usize>>,
}

/// Searches for the members that the cures are about.
struct Finders {
    role: Finder<'static>,
    tool_calls: Finder<'static>,
    finish_reason: Finder<'static>,
    usage: Finder<'static>,
    error: Finder<'static>,
    thought: Finder<'static>,
    signature: Finder<'static>,
    choices: Finder<'static>,
    delta: Finder<'static>,
}

static FINDERS: LazyLock<Finders> = LazyLock::new(|| Finders {
    role: Finder::new("\"role\""),
    tool_calls: Finder::new("\"tool_calls\""),
    finish_reason: Finder::new("\"finish_reason\""),
    usage: Finder::new("\"usage\""),
    error: Finder::new("\"error\""),
    thought: Finder::new("\"thought\""),
    signature: Finder::new("\"thought_signature\""),
    choices: Finder::new("\"choices\""),
    delta: Finder::new("\"delta\""),
});

impl ChunkCures {
    pub(super) fn new(context: ResponseContext) -> Self {
        let random_id = format!("{:x}", fastrand::u64(..));
        Self { context, choices: Vec::new(), random_id }
    }

    pub(super) fn is_on(&self, cure: Cure) -> bool {
        self.context.is_on(cure)
    }

    /// Whether a cure may be about this text.
    pub(super) fn wants(&self, text: &[u8]) -> bool {
        let finders = &*FINDERS;
        let has = |finder: &Finder<'_>| finder.find(text).is_some();
        let on = |cure| self.context.is_on(cure);
        let missing = on(Cure::MissingMembers);
        (on(Cure::Role) && has(&finders.role))
            || (missing && !(has(&finders.choices) && has(&finders.delta)))
            || (self.reads_calls() && has(&finders.tool_calls))
            || ((on(Cure::FinishReason) || on(Cure::StopAfterCalls))
                && has_value(&finders.finish_reason, text, |first| first == b'"'))
            || ((missing || on(Cure::ReasoningTokens) || self.separates_usage())
                && has_value(&finders.usage, text, |first| first == b'{'))
            || (on(Cure::Events) && has(&finders.error))
            || (on(Cure::Thoughts) && has(&finders.thought))
            || (on(Cure::Signatures) && has(&finders.signature))
    }

    /// Whether the client expects the usage in a chunk of its own.
    fn separates_usage(&self) -> bool {
        self.context.operation == Operation::Chat { usage_chunk: true }
            && self.is_on(Cure::UsageChunk)
    }

    fn reads_calls(&self) -> bool {
        let cures = [Cure::ToolCalls, Cure::StopAfterCalls, Cure::Signatures];
        cures.into_iter().any(|cure| self.context.is_on(cure))
    }

    pub(super) fn cure(&mut self, text: &str) -> Cured {
        let mut edits = Edits::default();
        let may_be_error =
            self.is_on(Cure::Events) && FINDERS.error.find(text.as_bytes()).is_some();
        let is_error = may_be_error
            && Value::parse(text).is_some_and(|value| error_event::cure(value, &mut edits));
        let mut content = None;
        if !is_error {
            let Some(root) = Object::parse(text) else { return Cured::default() };
            content = self.cure_root(&root, &mut edits);
        }
        let edited = (!edits.is_empty()).then(|| edits.apply(text));
        let separated = if is_error || !self.separates_usage() {
            None
        } else {
            usage::separate(edited.as_deref().unwrap_or(text))
        };
        Cured { text: separated.or(edited), content }
    }

    /// Returns the position of the content.
    fn cure_root(&mut self, root: &Object<'_>, edits: &mut Edits) -> Option<Range<usize>> {
        if self.is_on(Cure::MissingMembers) {
            missing_members::cure_root(root, edits);
        }
        let id = root.get("id").and_then(Value::string).filter(|id| !id.is_empty());
        let random_id = self.random_id.clone();
        let response_id = id.as_deref().unwrap_or(&random_id);
        let mut contents = Vec::new();
        let choices = root.get_some("choices").and_then(Value::array);
        for (position, choice) in choices.iter().flat_map(|list| list.elements.iter().enumerate()) {
            let Some(choice) = choice.object() else { continue };
            contents.push(self.cure_choice(&choice, position, response_id, edits));
        }
        usage::cure(root, self.context.cures, edits);
        match &mut *contents {
            [content] => content.take(),
            _ => None,
        }
    }

    fn cure_choice(
        &mut self,
        choice: &Object<'_>,
        position: usize,
        response_id: &str,
        edits: &mut Edits,
    ) -> Option<Range<usize>> {
        let index = choice.get("index").and_then(Value::number);
        let index = index.unwrap_or(u64::try_from(position).ok()?);
        let reads_calls = self.reads_calls();
        let at = self.choices.iter().position(|choice| choice.index == index);
        let at = at.or_else(|| self.add_choice(index))?;
        let (state, context) = (self.choices.get_mut(at)?, &self.context);
        if context.is_on(Cure::MissingMembers) {
            let lacks_role = context.is_on(Cure::Role) && !state.role_sent;
            state.role_sent |= missing_members::cure_chunk_choice(choice, lacks_role, edits);
        }
        let delta = choice.get_some("delta").and_then(Value::object);
        // The first role is the only one that stays.
        let has_later_role = state.role_sent;
        if let Some(delta) = &delta {
            if context.is_on(Cure::Role) {
                role::cure(delta, state, edits);
            }
            if context.is_on(Cure::Thoughts) {
                thoughts::cure(delta, edits);
            }
            let calls = delta.get_some("tool_calls").and_then(Value::array);
            if let Some(calls) = calls.filter(|_| reads_calls) {
                let place = Place { context, response_id, choice: index, is_chunk: true };
                tool_calls::cure(&calls, &mut state.calls, &place, edits);
            }
            if let Some(signature) = observe::signature(delta) {
                state.calls.sign(None, &signature, context);
            }
        }
        finish_reason::cure(choice, state, context.cures, edits);
        let has_more = |delta: &Object<'_>| {
            delta.get_some("tool_calls").is_some() || observe::signature(delta).is_some()
        };
        let delta = delta.filter(|delta| !has_more(delta))?;
        let is_inner = has_later_role && choice.get_some("finish_reason").is_none();
        let content = delta.get("content").filter(|_| is_inner)?;
        content.string().map(|_| content.span())
    }

    fn add_choice(&mut self, index: u64) -> Option<usize> {
        if self.choices.len() == MOST_CHOICES {
            return None;
        }
        self.choices.push(Choice { index, ..Choice::default() });
        Some(self.choices.len() - 1)
    }
}

/// Whether a member has a value with this first byte.
fn has_value(member: &Finder<'_>, text: &[u8], is_first: impl Fn(u8) -> bool) -> bool {
    member.find_iter(text).any(|at| {
        let rest = text.get(at + member.needle().len()..).unwrap_or_default().trim_ascii_start();
        let value = rest.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        value.and_then(<[u8]>::first).is_some_and(|first| is_first(*first))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compat::Cures;

    #[test]
    fn a_chunk_is_the_model_of_later_ones_if_only_its_content_may_differ() {
        let operation = Operation::Chat { usage_chunk: false };
        let context = ResponseContext { cures: Cures::default(), operation, signatures: None };
        let mut cures = ChunkCures::new(context);
        let of = |delta: &str, more: &str| {
            let delta = format!(r#"{{"role":"assistant","content":"x"{delta}}}"#);
            format!(r#"{{"choices":[{{"delta":{delta}{more}}}]}}"#)
        };
        let usual = of("", "");
        for (text, is_model) in [
            // The first role stays.
            (usual.clone(), false),
            (usual.clone(), true),
            (of("", r#","finish_reason":null"#), true),
            (of("", r#","finish_reason":"stop""#), false),
            (of(r#","tool_calls":[]"#, ""), false),
            (of(r#","extra_content":{"google":{"thought_signature":"s"}}"#, ""), false),
            (of("", r#"},{"index":0"#), false),
            (usual.replace("\"x\"", "null"), false),
            (usual.clone(), true),
        ] {
            let content = cures.cure(&text).content.map(|range| &text[range]);
            assert_eq!(content, is_model.then_some("\"x\""), "{text}");
        }
    }

    #[test]
    fn a_text_is_parsed_only_if_it_has_a_member_of_a_cure_that_is_on() {
        use Cure::{
            Events, FinishReason, MissingMembers, ReasoningTokens, Role, Signatures,
            StopAfterCalls, Thoughts, ToolCalls, UsageChunk,
        };
        let choice = |members: &str| format!(r#"{{"choices":[{{"delta":{{}}{members}}}]}}"#);
        for (text, usage_chunk, wanted) in [
            (choice(""), true, &[][..]),
            (r#"{"choices":[]}"#.to_owned(), true, &[MissingMembers]),
            (r#"{"delta":{}}"#.to_owned(), true, &[MissingMembers]),
            (choice(r#","role":"assistant""#), true, &[Role]),
            (choice(r#","tool_calls":[]"#), true, &[StopAfterCalls, ToolCalls, Signatures]),
            (choice(r#","finish_reason" : "stop""#), true, &[FinishReason, StopAfterCalls]),
            (choice(r#","finish_reason" : null"#), true, &[]),
            (choice(r#","usage":{}"#), true, &[MissingMembers, ReasoningTokens, UsageChunk]),
            (choice(r#","usage":{}"#), false, &[MissingMembers, ReasoningTokens]),
            (choice(r#","usage":null"#), true, &[]),
            (choice(r#","error":{}"#), true, &[Events]),
            (choice(r#","thought":true"#), true, &[Thoughts]),
            (choice(r#","thought_signature":"s""#), true, &[Signatures]),
        ] {
            for cure in Cure::ALL.iter().copied() {
                let cures = Cures::none().with(cure, true);
                let operation = Operation::Chat { usage_chunk };
                let context = ResponseContext { cures, operation, signatures: None };
                let wants = ChunkCures::new(context).wants(text.as_bytes());
                assert_eq!(wants, wanted.contains(&cure), "{cure:?} {text}");
            }
        }
    }
}
