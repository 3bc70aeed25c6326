//! The valid tokens, stored by their hash: those that the emulator issued, and those that the
//! service account signed itself.
//!
//! A token that the service account signed becomes known at its first use, which counts as its
//! issue. Revocation applies to known tokens. A token that was signed earlier but never used stays
//! valid: its `iat` comes from the client's clock, and a client with a slow clock must be able to
//! sign a new token. All tokens signed within one second are identical, so a client that signs
//! again immediately gets the revoked token.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    fmt,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom as _, SystemRandom},
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    scopes::{Rights, Scopes},
    token_settings::{Origin, TokenBehavior},
};

/// The largest number of tokens that are remembered. Older tokens become unknown, which is a 401 as
/// well. An older self-signed token would count as new.
const REMEMBERED: usize = 100_000;

type Hash = [u8; 32];

/// The owner of a token: an e-mail address, or the name of a federated identity.
pub(crate) type Principal = Cow<'static, str>;

/// Tokens by their hash, and the settings by which new tokens are issued.
#[derive(Debug, Default)]
pub(crate) struct TokenStore {
    issued: HashMap<Hash, Issued>,
    order: VecDeque<Hash>,
    last_generation: u64,
    repeated: HashMap<(Principal, Scopes), Repeated>,
    behavior: TokenBehavior,
}

#[derive(Debug)]
struct Issued {
    bearer: Bearer,
    expires_at: Instant,
    revoked: bool,
}

/// A token that `same_until_expiry` returns again. No other token is stored by its value.
struct Repeated {
    value: String,
    expires_at: Instant,
    renew_at: Instant,
}

impl fmt::Debug for Repeated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeated").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A token for a response.
pub(crate) struct Grant {
    pub(crate) value: String,
    pub(crate) expires_in: Value,
    /// Whether it was issued for this request.
    pub(crate) minted: bool,
}

/// The identity behind a token, and the generation of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// Number of the token, from 1 in the order of issue.
    pub(crate) generation: u64,
    pub(crate) principal: Principal,
    pub(crate) rights: Rights,
}

impl Bearer {
    /// Whether the owner is a person: a user, or a member of a workforce. A person has no project.
    pub(crate) fn is_of_a_person(&self) -> bool {
        let name = &self.principal;
        let is_account = name.ends_with(".gserviceaccount.com");
        (name.contains('@') && !is_account) || name.contains("/workforcePools/")
    }
}

/// The result of checking a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Valid(Bearer),
    Dead(Bearer),
    Unknown,
}

impl TokenStore {
    pub(crate) fn behavior(&self) -> &TokenBehavior {
        &self.behavior
    }

    pub(crate) fn behavior_mut(&mut self) -> &mut TokenBehavior {
        &mut self.behavior
    }

    pub(crate) fn set_behavior(&mut self, behavior: TokenBehavior) {
        // A repeated token survives a change that does not concern it, such as a delay.
        if !behavior.same_until_expiry || behavior.expires_in != self.behavior.expires_in {
            self.repeated.clear();
        }
        self.behavior = behavior;
    }

    /// Returns a token for a request: a new token, or the repeated one.
    pub(crate) fn grant(&mut self, principal: Principal, scopes: Scopes, origin: Origin) -> Grant {
        let now = Instant::now();
        let whose = (principal, scopes);
        let repeated = self.repeated.get(&whose).filter(|token| now < token.renew_at);
        if self.behavior.same_until_expiry
            && let Some(repeated) = repeated
        {
            return Grant {
                value: repeated.value.clone(),
                expires_in: remaining(&self.behavior.expires_in, repeated.expires_at - now),
                minted: false,
            };
        }
        let life = self.behavior.life();
        let value = self.mint(whose.0.clone(), whose.1.clone(), life, origin);
        if self.behavior.same_until_expiry {
            let margin = Duration::from_secs(240).min(life / 2);
            let repeated = Repeated {
                value: value.clone(),
                expires_at: now + life,
                renew_at: now + (life - margin),
            };
            self.repeated.insert(whose, repeated);
        }
        Grant { value, expires_in: self.behavior.expires_in.clone(), minted: true }
    }

    /// Issues a new token.
    pub(crate) fn mint(
        &mut self,
        principal: Principal,
        scopes: Scopes,
        life: Duration,
        origin: Origin,
    ) -> String {
        let mut value = format!("ya29.emulator-{}", random_text());
        let length = self.behavior.token_length.bytes(origin);
        while value.len() < length {
            value.push_str(&random_text());
        }
        if length > 0 {
            value.truncate(length);
        }
        self.remember(hash(&value), principal, Rights::Scopes(scopes), life);
        value
    }

    /// Accepts a token that its owner signed. Returns its verdict, and whether it was unknown
    /// before.
    pub(crate) fn adopt(
        &mut self,
        token: &str,
        principal: Principal,
        rights: Rights,
        life: Duration,
    ) -> (Verdict, bool) {
        let new = !self.issued.contains_key(&hash(token));
        if new {
            self.remember(hash(token), principal, rights, life);
        }
        (self.judge(token), new)
    }

    fn remember(&mut self, hash: Hash, principal: Principal, rights: Rights, life: Duration) {
        let now = Instant::now();
        while let Some(oldest) = self.order.front() {
            let dead = self.issued.get(oldest).is_none_or(|token| token.is_long_dead(now));
            if !dead && self.order.len() < REMEMBERED {
                break;
            }
            self.issued.remove(oldest);
            self.order.pop_front();
        }
        self.last_generation += 1;
        let bearer = Bearer { generation: self.last_generation, principal, rights };
        let token = Issued { bearer, expires_at: now + life, revoked: false };
        self.issued.insert(hash, token);
        self.order.push_back(hash);
    }

    pub(crate) fn judge(&self, token: &str) -> Verdict {
        match self.issued.get(&hash(token)) {
            None => Verdict::Unknown,
            Some(token) if token.revoked || token.expires_at <= Instant::now() => {
                Verdict::Dead(token.bearer.clone())
            }
            Some(token) => Verdict::Valid(token.bearer.clone()),
        }
    }

    /// The remaining lifetime of a known token in seconds.
    pub(crate) fn remaining(&self, token: &str) -> Option<u64> {
        let token = self.issued.get(&hash(token))?;
        Some(token.expires_at.saturating_duration_since(Instant::now()).as_secs())
    }

    /// Revokes every token issued so far. Returns how many of them were still valid.
    pub(crate) fn revoke(&mut self) -> usize {
        let now = Instant::now();
        let alive = |token: &&mut Issued| !token.revoked && token.expires_at > now;
        let revoked = self.issued.values_mut().filter(alive);
        revoked.map(|token| token.revoked = true).count()
    }
}

impl Issued {
    /// A token is kept for ten minutes after its expiry, so that records can still name its
    /// generation.
    fn is_long_dead(&self, now: Instant) -> bool {
        now > self.expires_at + Duration::from_secs(600)
    }
}

fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// 256 random bits as text.
pub(crate) fn random_text() -> String {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The `expires_in` of a token that is returned again: the remaining time, in the JSON type of the
/// configured value. A configured value that is not a time is returned unchanged.
fn remaining(configured: &Value, left: Duration) -> Value {
    match configured {
        Value::Number(_) => left.as_secs().into(),
        Value::String(text) if text.trim().parse::<f64>().is_ok() => {
            left.as_secs().to_string().into()
        }
        other => other.clone(),
    }
}
