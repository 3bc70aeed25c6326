//! The tokens that were issued to Envoy.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;
use ring::digest::{SHA256, digest};

/// More tokens than can be in use at a time. A token is replaced every hour; a rejected one is
/// replaced three times at once, and then every 30 s.
const KEPT: usize = 32;

/// The latest tokens that Envoy received, with their generations. For an attempt, Envoy sends only
/// the token. The table stores only hashes, because most of these tokens have expired.
#[derive(Debug, Default)]
pub(super) struct IssuedTokens {
    latest: Mutex<VecDeque<(Hash, u64)>>,
}

type Hash = [u8; 32];

impl IssuedTokens {
    /// Records that the value of `Authorization` with the token of `generation` was issued.
    pub(super) fn add(&self, authorization: &HeaderValue, generation: u64) {
        let mut latest = self.latest();
        if latest.iter().any(|(_, known)| *known == generation) {
            return;
        }
        latest.truncate(KEPT - 1);
        latest.push_front((hash(authorization.as_bytes()), generation));
    }

    /// Returns the generation of the token; `None` if it was not issued here.
    pub(super) fn generation(&self, authorization: &[u8]) -> Option<u64> {
        let hash = hash(authorization);
        self.latest().iter().find(|(known, _)| *known == hash).map(|(_, generation)| *generation)
    }

    /// No statement under the lock can leave the list half changed.
    fn latest(&self) -> MutexGuard<'_, VecDeque<(Hash, u64)>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(text: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, text).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_tokens_are_known() {
        let issued_tokens = IssuedTokens::default();
        let token = |number: u64| HeaderValue::try_from(format!("Bearer t{number}")).unwrap();
        for number in 1..=100 {
            issued_tokens.add(&token(number), number);
            issued_tokens.add(&token(number), number);
        }
        assert_eq!(issued_tokens.generation(b"Bearer t100"), Some(100));
        assert_eq!(issued_tokens.generation(b"Bearer t69"), Some(69));
        assert_eq!(issued_tokens.generation(b"Bearer t68"), None);
        assert_eq!(issued_tokens.generation(b"Bearer t1000"), None);
        assert_eq!(issued_tokens.generation(b""), None);
        assert!(!format!("{issued_tokens:?}").contains("t100"));
    }
}
