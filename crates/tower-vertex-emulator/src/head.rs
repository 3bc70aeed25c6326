//! The members that every response begins with.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// The id, the time and the model of a response.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
}

impl Head {
    pub(crate) fn new(model: &str) -> Self {
        let created = now();
        Self { id: google_id(created), created, model: model.to_owned() }
    }

    /// A body with these members.
    pub(crate) fn body(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": "",
            "choices": choices,
        })
    }
}

/// An id of the form that Google's samples have: base64 of the time and of random bytes, such as
/// `nQiNafGyF5rw998PstqooAY`, whose first four bytes are the time 1770850461.
pub(crate) fn google_id(created: u64) -> String {
    let mut bytes = created.to_le_bytes()[..4].to_vec();
    bytes.extend(std::iter::repeat_with(|| fastrand::u8(..)).take(13));
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A random UUID of version 4.
pub(crate) fn uuid() -> String {
    let random = fastrand::u128(..);
    let fixed = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let digits = format!("{fixed:032x}");
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_begins_with_the_time() {
        let id = google_id(1_770_850_461);
        assert!(id.starts_with("nQiNa") && id.len() == 23, "{id}");
    }

    #[test]
    fn a_uuid_has_its_version_and_its_variant() {
        let uuid = uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.chars().nth(14), Some('4'), "{uuid}");
        assert!(uuid.chars().nth(19).is_some_and(|c| "89ab".contains(c)), "{uuid}");
    }
}
