//! The abilities of a Claude model, by its name.

/// The generation of a Claude model: `(4, 8)` for `claude-opus-4-8`, `(3, 7)` for
/// `claude-3-7-sonnet@20250219`. A name of another form counts as the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Family(u32, u32);

impl Family {
    pub(super) fn of(name: &str) -> Self {
        let name = name.split('@').next().unwrap_or_default();
        let mut numbers = name
            .split('-')
            .filter_map(|word| word.parse::<u32>().ok())
            // A date is no part of the generation.
            .filter(|number| *number < 100);
        match numbers.next() {
            Some(major) => Self(major, numbers.next().unwrap_or(0)),
            None => Self(u32::MAX, 0),
        }
    }

    /// `thinking.type` may be `enabled`, with a budget. Opus 4.7 refuses it, and so do the models
    /// after it (earendil-works/pi issue 3297).
    pub(super) fn takes_a_budget(self) -> bool {
        (Self(3, 7)..Self(4, 7)).contains(&self)
    }

    /// `thinking.type` may be `adaptive` (pensarai/apex pull request 890).
    pub(super) fn adapts(self) -> bool {
        self >= Self(4, 6)
    }

    /// The last message may be the assistant's, whose text the response continues
    /// (anthropics/claude-code issue 52433).
    pub(super) fn takes_a_prefill(self) -> bool {
        self < Self(4, 6)
    }

    /// A temperature other than 1 is refused (earendil-works/pi pull request 7961). Users report
    /// that some of these models refuse 1, too.
    pub(super) fn has_fixed_temperature(self) -> bool {
        self >= Self(4, 7)
    }

    /// `temperature` and `top_p` exclude each other (aws-samples/bedrock-chat pull request 979).
    pub(super) fn takes_one_of_temperature_and_top_p(self) -> bool {
        (Self(4, 1)..Self(4, 7)).contains(&self)
    }

    /// The thoughts of a response are empty unless the request wants a summary
    /// (AAswordman/Operit pull request 568).
    pub(super) fn omits_thoughts(self) -> bool {
        self >= Self(4, 7)
    }

    /// `messages` may have the role `system`. Claude Code sends it for Opus 4.8 and later; that
    /// Vertex AI takes it for the same models is assumed.
    pub(super) fn takes_system_messages(self) -> bool {
        self >= Self(4, 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_generation() {
        for (name, family) in [
            ("claude-3-7-sonnet@20250219", Family(3, 7)),
            ("claude-sonnet-4@20250514", Family(4, 0)),
            ("claude-sonnet-4-5-20250929", Family(4, 5)),
            ("claude-opus-4-8@default", Family(4, 8)),
            ("claude-fable-5", Family(5, 0)),
            ("claude-fable-5-1", Family(5, 1)),
        ] {
            assert_eq!(Family::of(name), family, "{name}");
        }
        assert!(Family::of("claude-mythos-preview").adapts());
        assert!(Family::of("claude-haiku-4-5").takes_a_budget());
        assert!(!Family::of("claude-opus-4-7").takes_a_budget());
    }
}
