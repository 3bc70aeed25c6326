//! The tokens that are good here, kept by their hash: those that the emulator issued, and those
//! that the service account signed itself.
//!
//! A token that the service account signed is known from its first use, which counts as its issue.
//! Revoking ends those that are known. One that was signed before and never shown still works: its
//! `iat` is only what the client's clock said, and a client whose clock is slow must be able to
//! sign a new one. All that is signed within a second is one and the same token, so a client that
//! signs again at once gets the revoked one.

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

use super::token_settings::TokenBehavior;

/// As many tokens as are remembered; older ones become unknown, which is a 401 as well (one that
/// the service account signed would be new again).
const REMEMBERED: usize = 100_000;

type Hash = [u8; 32];

/// Whose a token is: an e-mail address, or the name of a federated identity.
pub(crate) type Principal = Cow<'static, str>;

/// Tokens by their hash, and how new ones are given out.
#[derive(Debug, Default)]
pub(crate) struct TokenStore {
    issued: HashMap<Hash, Issued>,
    order: VecDeque<Hash>,
    last_generation: u64,
    repeated: HashMap<(Principal, Scope), Repeated>,
    behavior: TokenBehavior,
}

#[derive(Debug)]
struct Issued {
    bearer: Bearer,
    expires_at: Instant,
    revoked: bool,
}

/// A token that `same_until_expiry` hands out again: the only values that are kept.
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

/// A token on its way to the client.
pub(crate) struct Grant {
    pub(crate) value: String,
    pub(crate) expires_in: Value,
    /// Whether it was issued for this request.
    pub(crate) minted: bool,
}

/// What a token is good for: the widest of its scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// `cloud-platform`: everything.
    CloudPlatform,
    /// `iam`: impersonation, for which `google-cloud-auth` exchanges a subject token so.
    Iam,
    /// Nothing that is here.
    Other,
}

impl Scope {
    pub(crate) fn of<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Self {
        scopes.into_iter().fold(Self::Other, |widest, scope| match scope {
            "https://www.googleapis.com/auth/cloud-platform" => Self::CloudPlatform,
            "https://www.googleapis.com/auth/iam" if widest == Self::Other => Self::Iam,
            _ => widest,
        })
    }
}

/// Who shows a token, and which one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    /// Counted from 1 in the order of issue.
    pub(crate) generation: u64,
    pub(crate) principal: Principal,
    pub(crate) scope: Scope,
}

/// What a presented token is worth.
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

    /// A token for a client that asks: a new one, or the one of the last time.
    pub(crate) fn grant(&mut self, principal: Principal, scope: Scope) -> Grant {
        let now = Instant::now();
        let whose = (principal, scope);
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
        let value = self.mint(whose.0.clone(), scope, life);
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

    /// A new token.
    pub(crate) fn mint(&mut self, principal: Principal, scope: Scope, life: Duration) -> String {
        let value = format!("ya29.emulator-{}", random_text());
        self.remember(hash(&value), principal, scope, life);
        value
    }

    /// Takes a token that its owner signed, and tells what it is worth and whether it was unknown.
    pub(crate) fn adopt(
        &mut self,
        token: &str,
        principal: Principal,
        life: Duration,
    ) -> (Verdict, bool) {
        let new = !self.issued.contains_key(&hash(token));
        if new {
            self.remember(hash(token), principal, Scope::CloudPlatform, life);
        }
        (self.judge(token), new)
    }

    fn remember(&mut self, hash: Hash, principal: Principal, scope: Scope, life: Duration) {
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
        let bearer = Bearer { generation: self.last_generation, principal, scope };
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

    /// Ends every token issued so far; returns how many were alive.
    pub(crate) fn revoke(&mut self) -> usize {
        let now = Instant::now();
        let alive = |token: &&mut Issued| !token.revoked && token.expires_at > now;
        let revoked = self.issued.values_mut().filter(alive);
        revoked.map(|token| token.revoked = true).count()
    }
}

impl Issued {
    /// Kept for a while after its death, so that the records can still tell its generation.
    fn is_long_dead(&self, now: Instant) -> bool {
        now > self.expires_at + Duration::from_secs(600)
    }
}

fn hash(token: &str) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    hash
}

/// 256 bits that nobody can guess.
pub(crate) fn random_text() -> String {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).expect("the system has random numbers");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The `expires_in` of a token handed out again: less than at first, in the same JSON type; what
/// is no time stays as it is.
fn remaining(configured: &Value, left: Duration) -> Value {
    match configured {
        Value::Number(_) => left.as_secs().into(),
        Value::String(text) if text.trim().parse::<f64>().is_ok() => {
            left.as_secs().to_string().into()
        }
        other => other.clone(),
    }
}
