//! The search for the texts without which no cure applies. A body without any of them is not parsed.
//!
//! All of these texts begin with a quotation mark. So the search visits the quotation marks of a body,
//! which an image in base64 has none of, and compares the bytes behind each. It takes some hundred
//! nanoseconds for a usual request. It may find too much, such as a text about `"tool_calls"` in a
//! message. Then the body is parsed, and stays as it is.

use memchr::{memchr_iter, memmem};

use crate::{
    compat::settings::{Cure, Cures},
    replay::Coalesced,
};

/// The most bytes of a seam on each side of it: the longest text below, and white space after it.
const SEAM: usize = 64;

/// The pieces of a body, and the bytes around their seams.
pub(in crate::compat) struct Texts<'a> {
    pieces: &'a Coalesced,
    seams: Vec<u8>,
}

impl<'a> Texts<'a> {
    /// `pieces` must be sealed.
    pub(in crate::compat) fn of(pieces: &'a Coalesced) -> Self {
        let mut seams = Vec::new();
        let mut last: &[u8] = &[];
        for piece in pieces.sealed() {
            if !last.is_empty() {
                // A piece may be shorter than a seam, so it stays between its neighbours.
                let head = piece.get(..SEAM).unwrap_or(piece);
                if last.len() >= SEAM {
                    seams.push(0);
                    seams.extend_from_slice(&last[last.len() - SEAM..]);
                } else if seams.is_empty() {
                    seams.extend_from_slice(last);
                }
                seams.extend_from_slice(head);
            }
            last = piece;
        }
        Self { pieces, seams }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let seams = (!self.seams.is_empty()).then_some(self.seams.as_slice());
        self.pieces.sealed().map(|piece| &**piece).chain(seams)
    }
}

/// The cures of a chat that may apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::compat) struct Triggers {
    pub(in crate::compat) tool_calls: bool,
    pub(in crate::compat) developer: bool,
    pub(in crate::compat) systems: bool,
    pub(in crate::compat) google: bool,
    pub(in crate::compat) reasoning_effort: bool,
    pub(in crate::compat) tool_choice: bool,
    pub(in crate::compat) empty_text: bool,
    pub(in crate::compat) max_tokens: bool,
    /// `"include_usage": true`, which no cure of the request is about.
    pub(in crate::compat) include_usage: bool,
}

impl Triggers {
    pub(in crate::compat) fn of(texts: &Texts<'_>) -> Self {
        let (mut found, mut systems) = (Self::default(), 0_u32);
        for text in texts.iter() {
            for at in memchr_iter(b'"', text) {
                found.look(text, at, &mut systems);
            }
        }
        found.systems = systems + u32::from(found.developer) > 1;
        found
    }

    /// Looks at the text behind the quotation mark at this position.
    #[inline]
    fn look(&mut self, text: &[u8], at: usize, systems: &mut u32) {
        let rest = text.get(at + 1..).unwrap_or_default();
        match rest.first() {
            Some(b'"') => {
                let before = at.checked_sub(1).and_then(|at| text.get(at));
                self.empty_text |= before != Some(&b'\\');
            }
            Some(b'd') => self.developer |= rest.starts_with(b"developer\""),
            Some(b'g') => self.google |= rest.starts_with(b"google\""),
            Some(b'i') => {
                if let Some(value) = rest.strip_prefix(b"include_usage\"") {
                    self.include_usage |= may_be_value(value, b"t");
                }
            }
            Some(b'm') if rest.starts_with(b"max_") => {
                let end = rest.iter().position(|byte| *byte == b'"');
                let value = end.and_then(|end| rest.get(end + 1..)).unwrap_or_default();
                self.max_tokens |= may_be_value(value, b"-0");
            }
            Some(b'r') => self.reasoning_effort |= rest.starts_with(b"reasoning_effort\""),
            Some(b's') => *systems += u32::from(rest.starts_with(b"system\"")),
            Some(b't') => {
                self.tool_calls |= rest.starts_with(b"tool_calls\"");
                if let Some(value) = rest.strip_prefix(b"tool_choice\"") {
                    self.tool_choice |= may_be_value(value, b"{");
                }
            }
            _ => {}
        }
    }
}

impl Triggers {
    /// Whether one of these cures may apply.
    pub(in crate::compat) fn any(self, cures: Cures) -> bool {
        let on = |cure| cures.is_on(cure);
        self.tool_calls && on(Cure::Signatures)
            || self.developer && on(Cure::DeveloperRole)
            || self.systems && on(Cure::MergeSystemMessages)
            || self.google
                && (on(Cure::ExtraBody) || self.reasoning_effort && on(Cure::EffortConflict))
            || self.reasoning_effort && on(Cure::RemapEffort)
            || self.tool_choice && on(Cure::ToolChoice)
            || self.empty_text && on(Cure::EmptyParts)
            || self.max_tokens && on(Cure::MaxTokens)
    }
}

/// Whether a request for embeddings may want base64.
pub(in crate::compat) fn may_want_base64(texts: &Texts<'_>) -> bool {
    texts.iter().any(|text| memmem::find(text, br#""base64""#).is_some())
}

/// Whether the value after a key may begin with one of `starts`, as far as the text shows it.
fn may_be_value(after_key: &[u8], starts: &[u8]) -> bool {
    let Some((b':', value)) = after_key.trim_ascii_start().split_first() else {
        // Something else than a key, unless the text ends here.
        return after_key.trim_ascii_start().is_empty();
    };
    value.trim_ascii_start().first().is_none_or(|first| starts.contains(first))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn of(frames: &[&[u8]]) -> Triggers {
        let mut pieces = Coalesced::default();
        for frame in frames {
            pieces.push_whole(Bytes::copy_from_slice(frame));
            // Each frame is a piece of its own.
            pieces.seal();
        }
        Triggers::of(&Texts::of(&pieces))
    }

    #[test]
    fn a_usual_request_has_no_trigger() {
        let body = br#"{"model":"google/gemini-2.5-flash","messages":[{"role":"system","content":"\"tool_calls\""},
            {"role":"user","content":"a \"word\" here"}],"max_tokens" : 100,"tool_choice":"auto","stream":true}"#;
        assert_eq!(of(&[body]), Triggers::default());
    }

    #[test]
    fn each_trigger_is_found_across_any_seam() {
        let body = br#"{"messages":[{"role":"developer","content":""},{"role":"system"},{"tool_calls":[]}],
            "google":{},"reasoning_effort":"low","tool_choice" : {"type":"function"},"max_tokens": -1,
            "stream_options":{"include_usage" : true}}"#;
        let all = Triggers {
            tool_calls: true,
            developer: true,
            systems: true,
            google: true,
            reasoning_effort: true,
            tool_choice: true,
            empty_text: true,
            max_tokens: true,
            include_usage: true,
        };
        assert_eq!(of(&[body]), all);
        for at in 1..body.len() {
            assert_eq!(of(&[&body[..at], &body[at..]]), all, "{at}");
        }
    }

    #[test]
    fn a_trigger_that_is_there_twice_is_found() {
        let body = br#"{"messages":[{"role":"developer","content":""},{"role":"system"},{"tool_calls":[]}],
            "google":{},"reasoning_effort":"low","tool_choice":{},"max_tokens":0,"include_usage":true}"#;
        assert_eq!(of(&[body, body]), of(&[body]));
    }

    #[test]
    fn one_system_message_is_no_trigger_and_two_are() {
        for (roles, systems) in [
            (&["system"][..], false),
            (&["developer"], false),
            (&["system", "system"], true),
            (&["system", "system", "system"], true),
            (&["developer", "system"], true),
        ] {
            let body: String =
                roles.iter().map(|role| format!(r#"{{"role":"{role}"}},"#)).collect();
            assert_eq!(of(&[body.as_bytes()]).systems, systems, "{roles:?}");
            let spaces = " ".repeat(100);
            let pieces = [body.as_bytes(), spaces.as_bytes(), b"]}"];
            assert_eq!(of(&pieces).systems, systems, "{roles:?}");
            let before = body + &spaces;
            assert_eq!(of(&[before.as_bytes(), b"]}"]).systems, systems, "{roles:?}");
        }
    }

    #[test]
    fn a_request_may_be_cured_only_by_a_cure_that_is_on_and_has_its_trigger() {
        use Cure::{
            DeveloperRole, EffortConflict, EmptyParts, ExtraBody, MaxTokens, MergeSystemMessages,
            RemapEffort, Signatures, ToolChoice,
        };
        let none = Triggers::default();
        for (triggers, by) in [
            (none, &[][..]),
            (Triggers { include_usage: true, ..none }, &[]),
            (Triggers { tool_calls: true, ..none }, &[Signatures]),
            (Triggers { developer: true, ..none }, &[DeveloperRole]),
            (Triggers { systems: true, ..none }, &[MergeSystemMessages]),
            (Triggers { google: true, ..none }, &[ExtraBody]),
            (Triggers { reasoning_effort: true, ..none }, &[RemapEffort]),
            (
                Triggers { google: true, reasoning_effort: true, ..none },
                &[ExtraBody, EffortConflict, RemapEffort],
            ),
            (Triggers { tool_choice: true, ..none }, &[ToolChoice]),
            (Triggers { empty_text: true, ..none }, &[EmptyParts]),
            (Triggers { max_tokens: true, ..none }, &[MaxTokens]),
        ] {
            for cure in Cure::ALL.iter().copied() {
                let any = triggers.any(Cures::none().with(cure, true));
                assert_eq!(any, by.contains(&cure), "{cure:?} {triggers:?}");
            }
        }
    }

    #[test]
    fn only_a_request_with_the_name_of_the_format_may_want_base64() {
        for (body, wants) in [
            (&br#"{"input":"x","encoding_format":"base64"}"#[..], true),
            (br#"{"input":"base64","encoding_format":"float"}"#, true),
            (br#"{"input":"as base64","encoding_format":"float"}"#, false),
        ] {
            let mut pieces = Coalesced::default();
            pieces.push_whole(Bytes::from_static(body));
            pieces.seal();
            assert_eq!(may_want_base64(&Texts::of(&pieces)), wants);
        }
    }

    #[test]
    fn only_an_object_and_only_a_number_that_may_be_too_low_are_triggers() {
        for (body, choice, tokens) in [
            (&br#"{"tool_choice":"required","max_completion_tokens":10}"#[..], false, false),
            (br#"{"tool_choice":null,"max_completion_tokens":0}"#, false, true),
            (br#"{"tool_choice":{},"max_tokens":null}"#, true, false),
            (br#"["tool_choice","max_tokens"]"#, false, false),
            (br#"{"min_p":0,"max_tokens" 0}"#, false, false),
        ] {
            let found = of(&[body]);
            assert_eq!((found.tool_choice, found.max_tokens), (choice, tokens));
        }
    }

    proptest! {
        #[test]
        fn pieces_never_hide_a_trigger(cuts in proptest::collection::vec(1_usize..40, 1..30)) {
            let body = br#"{"messages":[{"role":"user","content":[{"type":"text","text":""}]},{"tool_calls":[]}]}"#;
            let (mut rest, mut frames) = (&body[..], Vec::new());
            for cut in cuts {
                let (frame, after) = rest.split_at(cut.min(rest.len()));
                if !frame.is_empty() {
                    frames.push(frame);
                }
                rest = after;
            }
            frames.push(rest);
            let found = of(&frames);
            prop_assert!(found.tool_calls && found.empty_text);
        }
    }
}
