use std::{
    collections::hash_map::RandomState,
    fmt,
    hash::{BuildHasher, Hash},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::canonical::canonical;

mod store;

use self::store::{Digest, Store};

/// 64 MiB. A signature has one to several KiB, so this is room for the current steps of ten
/// thousand conversations.
const MAX_BYTES: usize = 64 << 20;

/// 24 hours after its last use. Vertex AI demands a signature until the end of the turn. A turn can
/// wait for a person, who approves a tool call on the next day.
const TIME_TO_LIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// Remembers the thought signatures of tool calls, in memory. Clones share the memory.
///
/// Gemini 3 returns a signature with a tool call and refuses the next request of the turn if the
/// call comes back without it. Most OpenAI clients drop it.
/// <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/thought-signatures>
///
/// A signature is found by the id of its call, and only for the caller, the project and the model
/// family that it was made for. If a client has changed the id, the signature is found by the
/// function's name and its arguments, as long as the caller had only one such call.
///
/// The memory is bounded in bytes and in time. If it is full, the signatures that were not used for
/// the longest time are dropped. A signature is private to its caller: it is never logged, and
/// `Debug` does not show it.
#[derive(Clone)]
#[must_use]
pub struct Signatures {
    store: Arc<Mutex<Store>>,
    hashers: Arc<Hashers>,
}

/// Two hashers with random keys, whose results together are taken as unique.
#[derive(Default)]
struct Hashers(RandomState, RandomState);

/// The caller, the project and the model family that signatures belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SignatureOwner(Digest);

/// Counts of [`Signatures`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignatureStats {
    /// The number of signatures that were remembered since the start.
    pub remembered: u64,
    /// The number of signatures that were found, by id or by arguments, since the start.
    pub found: u64,
    /// The number of signatures that were searched and not found since the start.
    pub missed: u64,
    /// The number of signatures that were dropped because the memory was full.
    pub evicted: u64,
    /// The number of signatures that were dropped because they were not used for too long.
    pub expired: u64,
    /// The number of signatures in memory.
    pub entries: usize,
    /// The bytes of memory that they take.
    pub bytes: usize,
}

impl Signatures {
    /// The default bounds: 64 MiB, and 24 hours after the last use.
    pub fn new() -> Self {
        Self::with_bounds(MAX_BYTES, TIME_TO_LIVE)
    }

    /// Keeps at most `max_bytes` bytes of memory, and each signature for `time_to_live` after its
    /// last use. A signature that would take more than an eighth of the memory is not kept. With 0
    /// bytes, none is.
    pub fn with_bounds(max_bytes: usize, time_to_live: Duration) -> Self {
        let store = Store::new(max_bytes, time_to_live);
        Self { store: Arc::new(Mutex::new(store)), hashers: Arc::default() }
    }

    /// The owner of the signatures of a request. `caller` distinguishes the clients that must not
    /// receive each other's signatures, such as by their API key. Only a keyed hash of it is kept.
    ///
    /// `model` is a name such as `google/gemini-3.1-pro-preview`. Its family is `gemini-3`. A
    /// conversation that continues with another model of the family keeps its signatures.
    pub fn owner(&self, caller: &str, project: &str, model: &str) -> SignatureOwner {
        SignatureOwner(self.hashers.digest(&(caller, project, family(model))))
    }

    /// Remembers the signature of the call with this id. An empty id or signature is ignored.
    pub fn remember(&self, owner: SignatureOwner, call_id: &str, signature: &str) {
        if !call_id.is_empty() && !signature.is_empty() {
            self.store().insert(self.by_id(owner, call_id), signature);
        }
    }

    /// Adds the function and the arguments of a call, whose signature has been remembered.
    /// Arguments that are not JSON are ignored.
    pub fn remember_arguments(
        &self,
        owner: SignatureOwner,
        call_id: &str,
        function: &str,
        arguments: &str,
    ) {
        if let Some(alias) = self.by_arguments(owner, function, arguments) {
            self.store().add_alias(self.by_id(owner, call_id), alias);
        }
    }

    /// The signature of the call with this id.
    pub fn find(&self, owner: SignatureOwner, call_id: &str) -> Option<Arc<str>> {
        self.store().find(self.by_id(owner, call_id))
    }

    /// The signature of the only call of this function with these arguments.
    pub fn find_by_arguments(
        &self,
        owner: SignatureOwner,
        function: &str,
        arguments: &str,
    ) -> Option<Arc<str>> {
        let alias = self.by_arguments(owner, function, arguments)?;
        self.store().find_alias(alias)
    }

    /// The counts of these signatures.
    pub fn stats(&self) -> SignatureStats {
        self.store().stats()
    }

    fn by_id(&self, owner: SignatureOwner, call_id: &str) -> Digest {
        self.hashers.digest(&(owner.0, call_id))
    }

    fn by_arguments(&self, owner: SignatureOwner, function: &str, text: &str) -> Option<Digest> {
        Some(self.hashers.digest(&(owner.0, function, canonical(text)?)))
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // The store is consistent between its statements, which do not panic.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Signatures {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows the counts, never a signature.
impl fmt::Debug for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Signatures").field(&self.stats()).finish()
    }
}

impl fmt::Debug for SignatureOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SignatureOwner")
    }
}

impl Hashers {
    fn digest(&self, value: &impl Hash) -> Digest {
        (self.0.hash_one(value), self.1.hash_one(value))
    }
}

/// The name of a model up to its major version. No source states which models accept each other's
/// signatures. Signatures of an older generation are not valid for Gemini 3.
fn family(model: &str) -> &str {
    let name = model.rsplit('/').next().unwrap_or(model);
    let Some(version) = name.find(|c: char| c.is_ascii_digit()) else { return name };
    let length = name[version..].find(|c: char| !c.is_ascii_digit());
    length.map_or(name, |length| &name[..version + length])
}

#[cfg(test)]
mod tests;
