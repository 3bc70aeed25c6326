//! Thought signatures: their creation, and Google's rules for sending them back.
//!
//! Google's page about thought signatures (<https://cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures>)
//! says: a turn begins at the last message of the user that is no function response, and only the
//! current turn is checked. The first call of each step must carry its signature; further calls of
//! the same step have none. The content of a real signature is unknown. These are bound to the
//! model, the step and the call, so that a signature in a wrong place is noticed.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use ring::{hmac, rand::SystemRandom};
use serde_json::Value;

use super::{super::said::role, behavior::SignatureCounts};

/// The text that Google documents for calls that no Gemini model made.
const PLACEHOLDER: &str = "skip_thought_signature_validator";
/// The first bytes of every signature.
const PREFIX: [u8; 4] = [0x0a, 0xe4, 0x01, 0x01];
const PAGE: &str = "https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures";

/// Clients may change the alphabet and the padding of base64.
const ANY_PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, ANY_PADDING);

/// The result of a check.
pub(crate) struct Checked {
    pub(crate) counts: SignatureCounts,
    /// The text of the refusal.
    pub(crate) refusal: Option<String>,
}

/// Makes and verifies the signatures of one emulator.
pub(crate) struct Signer(hmac::Key);

impl Signer {
    pub(crate) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        // Without random numbers the signatures are predictable, which harms no test.
        Self(key.unwrap_or_else(|_| hmac::Key::new(hmac::HMAC_SHA256, b"emulator")))
    }

    /// The signature of the first call of a step, which is counted from 0 in the current turn.
    pub(crate) fn of_call(&self, model: &str, step: usize, name: &str, arguments: &str) -> String {
        self.sign(&call_content(model, step, name, arguments))
    }

    /// The signature of a text or an image.
    pub(crate) fn of_text(&self, model: &str, text: &str) -> String {
        self.sign(&format!("text\n{model}\n{text}"))
    }

    /// Base64 of the tag and of bytes that follow from it. The length differs between contents, as
    /// it does at Vertex AI: from about 400 to about 1,100 characters.
    fn sign(&self, content: &str) -> String {
        let tag = hmac::sign(&self.0, content.as_bytes());
        let mut bytes = PREFIX.to_vec();
        bytes.extend(tag.as_ref());
        let seed = tag.as_ref().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let mut random = fastrand::Rng::with_seed(seed);
        bytes.extend(std::iter::repeat_with(|| random.u8(..)).take(264 + random_length(seed)));
        STANDARD.encode(bytes)
    }

    fn is_of_call(&self, given: &str, model: &str, step: usize, call: &Call<'_>) -> bool {
        let text: String = given.chars().map(standard_alphabet).collect();
        let own = self.of_call(model, step, call.name, call.arguments);
        match (LENIENT.decode(text), STANDARD.decode(own)) {
            (Ok(given), Ok(own)) => given == own,
            _ => false,
        }
    }

    /// Checks the steps of the current turn.
    pub(crate) fn check(&self, model: &str, messages: &[Value]) -> Checked {
        let mut counts = SignatureCounts::default();
        let mut refusal = None;
        for step in steps(messages) {
            let text = match step.signature {
                None => {
                    counts.missing += 1;
                    let Step { block, call, .. } = &step;
                    format!(
                        "Unable to submit request because function call `default_api:{}` in the \
                         {block}. content block is missing a `thought_signature`. Learn more: \
                         {PAGE}",
                        call.name
                    )
                }
                Some(PLACEHOLDER) => {
                    counts.placeholder += 1;
                    continue;
                }
                Some(given) if self.is_of_call(given, model, step.number, &step.call) => {
                    counts.valid += 1;
                    continue;
                }
                Some(_) => {
                    counts.wrong += 1;
                    "Unable to submit request because Thought signature is not valid.".into()
                }
            };
            refusal.get_or_insert(text);
        }
        Checked { counts, refusal }
    }
}

fn random_length(seed: u64) -> usize {
    usize::try_from(seed % 512).unwrap_or_default()
}

fn standard_alphabet(character: char) -> char {
    match character {
        '-' => '+',
        '_' => '/',
        other => other,
    }
}

/// The content that a signature of a call is bound to. The arguments count as JSON, because a
/// client may format them again.
fn call_content(model: &str, step: usize, name: &str, arguments: &str) -> String {
    let arguments = serde_json::from_str::<Value>(arguments)
        .map_or_else(|_| arguments.to_owned(), |value| value.to_string());
    format!("call\n{model}\n{step}\n{name}\n{arguments}")
}

struct Call<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// A step of the current turn that calls tools.
struct Step<'a> {
    /// The number of the step in its turn, from 0.
    number: usize,
    /// The number of its content in the request, from 1: Gemini does not count the system message,
    /// and messages of one role in succession are one content.
    block: usize,
    call: Call<'a>,
    signature: Option<&'a str>,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    User,
    Model,
    Function,
}

fn side(message: &Value) -> Option<Side> {
    match role(message)? {
        "user" => Some(Side::User),
        "assistant" => Some(Side::Model),
        "tool" | "function" => Some(Side::Function),
        _ => None,
    }
}

/// The number of steps with calls in the current turn.
pub(crate) fn steps_taken(messages: &[Value]) -> usize {
    steps(messages).len()
}

fn steps(messages: &[Value]) -> Vec<Step<'_>> {
    let turn = messages.iter().rposition(|message| side(message) == Some(Side::User)).unwrap_or(0);
    let (mut block, mut last) = (0, None);
    let mut steps: Vec<Step<'_>> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let Some(side) = side(message) else { continue };
        if last != Some(side) {
            block += 1;
            last = Some(side);
        }
        let calls = message.get("tool_calls").and_then(Value::as_array);
        let first = calls.and_then(|calls| calls.first());
        if let (Side::Model, true, Some(first)) = (side, index >= turn, first)
            && steps.last().is_none_or(|step| step.block != block)
        {
            let text = |pointer: &str| first.pointer(pointer).and_then(Value::as_str);
            steps.push(Step {
                number: steps.len(),
                block,
                call: Call {
                    name: text("/function/name").unwrap_or_default(),
                    arguments: text("/function/arguments").unwrap_or_default(),
                },
                // A stream may send the signature in a delta of the message.
                signature: signature(first).or_else(|| signature(message)),
            });
        }
    }
    steps
}

fn signature(value: &Value) -> Option<&str> {
    let signature = value.pointer("/extra_content/google/thought_signature");
    signature.and_then(Value::as_str).filter(|signature| !signature.is_empty())
}
