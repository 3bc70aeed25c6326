//! Which tokens were given away.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use http::HeaderValue;
use ring::digest::{SHA256, digest};

/// More than can be under way: a token is replaced every hour, or, when it is rejected, thrice at
/// once and then each 30 s.
const KEPT: usize = 32;

/// The latest tokens that Envoy was given, and their generations: of an attempt that it tells of, it
/// shows the token alone. Kept as their hashes, since most of them are dead.
#[derive(Debug, Default)]
pub(super) struct IssuedTokens {
    latest: Mutex<VecDeque<(Hash, u64)>>,
}

type Hash = [u8; 32];

impl IssuedTokens {
    /// The value of `Authorization` with the token of `generation` is given away.
    pub(super) fn add(&self, authorization: &HeaderValue, generation: u64) {
        let mut latest = self.latest();
        if latest.iter().any(|(_, known)| *known == generation) {
            return;
        }
        latest.truncate(KEPT - 1);
        latest.push_front((hash(authorization.as_bytes()), generation));
    }

    /// Which generation it is; `None` if it is not from here.
    pub(super) fn generation(&self, authorization: &[u8]) -> Option<u64> {
        let hash = hash(authorization);
        self.latest().iter().find(|(known, _)| *known == hash).map(|(_, generation)| *generation)
    }

    /// Nothing under the lock leaves it half done.
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
    fn the_latest_tokens_are_known_and_no_others() {
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
