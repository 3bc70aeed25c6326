use std::{fmt, str::FromStr};

/// Defines [`Cure`], its names, and the setters of [`Cures`].
macro_rules! cures {
    ($($(#[$doc:meta])+ $variant:ident $name:ident $default:literal,)+) => {
        /// A cure of requests, of responses, or of both.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Cure {
            $($(#[$doc])+ $variant,)+
        }

        impl Cure {
            /// All cures: first those of responses, then those of requests.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name of the cure in a setting, such as `finish_reason`.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($name),)+
                }
            }

            /// Whether [`Cures::default`] applies the cure.
            pub const fn is_default(self) -> bool {
                match self {
                    $(Self::$variant => $default,)+
                }
            }
        }

        impl Cures {
            $($(#[$doc])+
            pub const fn $name(self, on: bool) -> Self {
                self.with(Cure::$variant, on)
            })+
        }
    };
}

cures! {
    /// `role` only in the first delta of a choice. On by default. Gemini's deltas all have it, and
    /// openai-python's `stream` helper joins them to `assistantassistant`.
    Role role true,
    /// A `finish_reason` out of OpenAI's list, and the original as `native_finish_reason`. On by
    /// default. Gemini sends `content_filter: RECITATION`, for example, which typed clients cannot
    /// read.
    FinishReason finish_reason true,
    /// `finish_reason` is `tool_calls`, and not `stop`, after tool calls. On by default. Otherwise
    /// agents end their turn without calling the tools.
    StopAfterCalls stop_after_calls true,
    /// The members that OpenAI's responses always have: `message`, `delta`, `content`, `choices`
    /// and the numbers of `usage`. On by default. Gemini omits them in blocked and in empty
    /// responses.
    MissingMembers missing_members true,
    /// `index`, `id` and `name` of streamed tool calls as in OpenAI's streams, and ids that are
    /// present and unique. On by default. No client that we know of reads the stream of arguments
    /// in Google's documentation.
    ToolCalls tool_calls true,
    /// `completion_tokens` with the reasoning tokens, as OpenAI counts them. Off by default,
    /// because software that computes a bill for Vertex AI adds them itself, and would count them
    /// twice.
    ReasoningTokens reasoning_tokens false,
    /// Thoughts as `reasoning_content`, and not as `content`. Off by default, because only clients
    /// that request thoughts receive them, and some read them from `content`.
    Thoughts thoughts false,
    /// In a stream whose request has `include_usage`, the usage in a last chunk of its own, without
    /// choices, as OpenAI sends it. Off by default, because software that was written for Gemini may
    /// expect a choice in each chunk. AutoGen ignores the `finish_reason` of a chunk with a usage.
    UsageChunk usage_chunk false,
    /// Embeddings in base64 if the request has that `encoding_format`, which OpenAI's clients send
    /// by default, and their missing `usage`. On by default. openai-node turns a list of numbers
    /// into zeros, without an error.
    Embeddings embeddings true,
    /// Server-sent events that each have one JSON text. On by default. Vertex AI sends
    /// `data: : keepalive`, and some models send several lines of `data` in one event, which
    /// clients cannot parse.
    Events events true,
    /// Thought signatures are remembered from responses, and restored in requests. On by default.
    /// Gemini 3 refuses a conversation with tool calls if they are missing, and most clients drop
    /// them.
    Signatures signatures true,
    /// A placeholder that Google documents in the place of a thought signature that is not known.
    /// On by default, and only after Vertex AI has refused the request.
    PlaceholderSignature placeholder_signature true,
    /// Role `developer` becomes `system`, which is the documented name for the same. On by default.
    DeveloperRole developer_role true,
    /// All system messages become one. On by default. Gemini has one system instruction, and
    /// follows only the last message.
    MergeSystemMessages merge_system_messages true,
    /// A top-level `google` moves into `extra_body`. On by default. openai-python puts it at the
    /// top, where Vertex AI ignores it.
    ExtraBody extra_body true,
    /// `reasoning_effort` is removed if the request has Google's `thinking_config` too. On by
    /// default. Vertex AI refuses a request with both.
    EffortConflict effort_conflict true,
    /// A `reasoning_effort` that a model refuses becomes the nearest one. Off by default, because
    /// it changes the cost of a response.
    RemapEffort remap_effort false,
    /// Text beside tool calls is removed, after Vertex AI has refused the request. Off by default,
    /// because the model no longer sees the text.
    BlankContent blank_content false,
    /// Empty text parts are removed from messages that have other parts. On by default. Gemini
    /// refuses them.
    EmptyParts empty_parts true,
    /// A `tool_choice` that names the only tool becomes `required`. On by default. Vertex AI does
    /// not know that form, and ignores it.
    ToolChoice tool_choice true,
    /// A limit of tokens that is not positive is removed. On by default. Clients send `-1` for no
    /// limit, and Gemini refuses it.
    MaxTokens max_tokens true,
}

impl Cure {
    /// Whether the cure reads or changes responses.
    pub(super) fn is_of_responses(self) -> bool {
        matches!(
            self,
            Self::Role
                | Self::FinishReason
                | Self::StopAfterCalls
                | Self::MissingMembers
                | Self::ToolCalls
                | Self::ReasoningTokens
                | Self::Thoughts
                | Self::UsageChunk
                | Self::Embeddings
                | Self::Events
                | Self::Signatures
        )
    }
}

/// The cures that are applied. The default is the set that no client should miss: every cure whose
/// setter says so.
///
/// A text names cures too, as in a setting: `on`, `off`, `all`, or a list such as
/// `role,tool_calls`. A list that begins with `on` or `all` changes that set: `on,-role,thoughts`. A
/// list in which the first name has a minus begins with the default: `-role,thoughts`.
///
/// ```
/// use tower_vertex::compat::{Cure, Cures};
///
/// let cures = Cures::default().role(false).thoughts(true);
/// assert_eq!("-role,thoughts".parse(), Ok(cures));
/// assert!(cures.is_on(Cure::ToolCalls));
/// assert_eq!("role".parse(), Ok(Cures::none().role(true)));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[must_use]
pub struct Cures(u32);

impl Cures {
    /// No cure.
    pub const fn none() -> Self {
        Self(0)
    }

    /// Every cure, including those that are off by default.
    pub const fn all() -> Self {
        let (mut cures, mut index) = (Self::none(), 0);
        while index < Cure::ALL.len() {
            cures = cures.with(Cure::ALL[index], true);
            index += 1;
        }
        cures
    }

    /// The names of all cures, in the order of [`Cure::ALL`].
    pub fn names() -> impl ExactSizeIterator<Item = &'static str> {
        Cure::ALL.iter().map(|cure| cure.name())
    }

    /// Turns a cure on or off.
    pub const fn with(self, cure: Cure, on: bool) -> Self {
        let bit = 1 << cure as u32;
        if on { Self(self.0 | bit) } else { Self(self.0 & !bit) }
    }

    /// Whether a cure is applied.
    pub const fn is_on(self, cure: Cure) -> bool {
        self.0 & (1 << cure as u32) != 0
    }

    /// The cures that are applied.
    pub fn iter(self) -> impl Iterator<Item = Cure> {
        Cure::ALL.iter().copied().filter(move |cure| self.is_on(*cure))
    }

    /// Whether no cure is applied.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl Default for Cures {
    fn default() -> Self {
        Cure::ALL.iter().fold(Self::none(), |cures, cure| cures.with(*cure, cure.is_default()))
    }
}

/// Shows the names of the cures that are on.
impl fmt::Debug for Cures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cures")?;
        f.debug_set().entries(self.iter().map(Cure::name)).finish()
    }
}

/// A text has a name that is not a cure's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCure {
    name: String,
}

impl UnknownCure {
    /// The name, as it was set.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for UnknownCure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Cures::names().collect();
        let name = crate::redact::value(&self.name);
        write!(
            f,
            "no cure has the name {name:?}: use on, off, all, or names of {}",
            names.join(", ")
        )
    }
}

impl std::error::Error for UnknownCure {}

impl FromStr for Cure {
    type Err = UnknownCure;

    fn from_str(name: &str) -> Result<Self, UnknownCure> {
        let cure = Self::ALL.iter().copied().find(|cure| cure.name() == name);
        cure.ok_or_else(|| UnknownCure { name: name.to_owned() })
    }
}

impl FromStr for Cures {
    type Err = UnknownCure;

    fn from_str(text: &str) -> Result<Self, UnknownCure> {
        match text.trim() {
            "on" | "default" => return Ok(Self::default()),
            "off" | "none" | "" => return Ok(Self::none()),
            _ => {}
        }
        let without_first = text.trim_start().starts_with('-');
        let start = if without_first { Self::default() } else { Self::none() };
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).try_fold(
            start,
            |cures, name| match name.strip_prefix('-') {
                Some(name) => Ok(cures.with(name.trim_start().parse()?, false)),
                None if name == "on" => Ok(Self::default()),
                None if name == "all" => Ok(Self::all()),
                None => Ok(cures.with(name.parse()?, true)),
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leaves_out_the_cures_that_change_a_bill_a_prompt_or_the_chunks() {
        let off: Vec<_> = Cure::ALL.iter().filter(|cure| !Cures::default().is_on(**cure)).collect();
        use Cure::{BlankContent, ReasoningTokens, RemapEffort, Thoughts, UsageChunk};
        assert_eq!(off, [&ReasoningTokens, &Thoughts, &UsageChunk, &RemapEffort, &BlankContent]);
        assert!(Cures::none().is_empty() && !Cures::default().is_empty());
        assert_eq!(Cures::all().iter().count(), Cure::ALL.len());
    }

    #[test]
    fn a_cure_of_requests_alone_is_none_of_responses() {
        assert!(Cure::Role.is_of_responses() && Cure::Embeddings.is_of_responses());
        assert!(!Cure::BlankContent.is_of_responses() && !Cure::RemapEffort.is_of_responses());
    }

    #[test]
    fn a_setter_changes_its_cure_only() {
        let cures = Cures::all().role(false);
        assert!(!cures.is_on(Cure::Role));
        assert_eq!(cures.role(true), Cures::all());
        assert_eq!(cures.role(false), cures);
        assert_eq!(Cures::all().role(true), Cures::all());
        assert_eq!(Cures::none().events(true).iter().collect::<Vec<_>>(), [Cure::Events]);
    }

    #[test]
    fn cures_are_parsed_from_their_names() {
        for (text, cures) in [
            ("on", Cures::default()),
            ("default", Cures::default()),
            ("off", Cures::none()),
            ("none", Cures::none()),
            ("", Cures::none()),
            (" all ", Cures::all()),
            ("role", Cures::none().role(true)),
            (" role , tool_calls,", Cures::none().role(true).tool_calls(true)),
            ("-role", Cures::default().role(false)),
            ("on,-role", Cures::default().role(false)),
            ("all, -role", Cures::all().role(false)),
            ("-role, thoughts,- events", Cures::default().role(false).thoughts(true).events(false)),
        ] {
            assert_eq!(text.parse(), Ok(cures), "{text:?}");
        }
        for name in Cures::names() {
            assert_eq!(name.parse::<Cure>().map(Cure::name), Ok(name));
        }
        let error = "role,rolle".parse::<Cures>().unwrap_err();
        assert_eq!(error.name(), "rolle");
        assert!(error.to_string().contains("merge_system_messages"), "{error}");
    }

    #[test]
    fn debug_shows_the_names() {
        let cures = Cures::none().role(true).events(true);
        assert_eq!(format!("{cures:?}"), r#"Cures{"role", "events"}"#);
    }
}
