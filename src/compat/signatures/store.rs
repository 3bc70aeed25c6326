//! A map that drops the entries that were not used for the longest time.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::SignatureStats;

/// Two hashes with random keys.
pub(super) type Digest = (u64, u64);

/// The most memory that an entry takes besides its signature, rounded up. The places in the two maps
/// have 88 and 40 bytes, and at worst a map is half empty. The queue has at most two places per entry,
/// each of 24 bytes and at worst half empty too. The allocation adds some 32 bytes.
const ENTRY_BYTES: usize = 384;

pub(super) struct Store {
    entries: HashMap<Digest, Entry>,
    aliases: HashMap<Digest, Alias>,
    /// The uses of the entries, in order. A use that is not the last one of its entry is void.
    uses: VecDeque<(Digest, u64)>,
    last_use: u64,
    max_bytes: usize,
    time_to_live: Duration,
    stats: SignatureStats,
}

struct Entry {
    signature: Arc<str>,
    used: u64,
    used_at: Instant,
    alias: Option<Digest>,
}

/// The function and the arguments of one or several calls.
struct Alias {
    entry: Digest,
    calls: u32,
}

impl Store {
    pub(super) fn new(max_bytes: usize, time_to_live: Duration) -> Self {
        Self {
            entries: HashMap::new(),
            aliases: HashMap::new(),
            uses: VecDeque::new(),
            last_use: 0,
            max_bytes,
            time_to_live,
            stats: SignatureStats::default(),
        }
    }

    pub(super) fn insert(&mut self, key: Digest, signature: &str) {
        let now = Instant::now();
        self.drop_expired(now);
        let length = signature.len() + ENTRY_BYTES;
        if length > self.max_bytes / 8 {
            return;
        }
        if self.entries.get(&key).is_none_or(|entry| *entry.signature != *signature) {
            self.remove(key);
            let signature = Arc::from(signature);
            let entry = Entry { signature, used: 0, used_at: now, alias: None };
            self.entries.insert(key, entry);
            self.stats.bytes += length;
            self.stats.remembered += 1;
        }
        self.used(key, now);
        self.drop_excess();
    }

    pub(super) fn add_alias(&mut self, key: Digest, alias: Digest) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.alias.is_none() {
            entry.alias = Some(alias);
            let alias = self.aliases.entry(alias).or_insert(Alias { entry: key, calls: 0 });
            alias.calls = alias.calls.saturating_add(1);
        }
    }

    pub(super) fn find(&mut self, key: Digest) -> Option<Arc<str>> {
        let now = Instant::now();
        self.drop_expired(now);
        let found = self.entries.get(&key).map(|entry| entry.signature.clone());
        if found.is_some() {
            self.stats.found += 1;
            self.used(key, now);
        } else {
            self.stats.missed += 1;
        }
        found
    }

    /// Finds the signature of the only call with this alias.
    pub(super) fn find_alias(&mut self, alias: Digest) -> Option<Arc<str>> {
        match self.aliases.get(&alias) {
            Some(Alias { entry, calls: 1 }) => self.find(*entry),
            _ => {
                self.stats.missed += 1;
                None
            }
        }
    }

    pub(super) fn stats(&self) -> SignatureStats {
        SignatureStats { entries: self.entries.len(), ..self.stats }
    }

    /// Makes the entry the last one that is dropped.
    fn used(&mut self, key: Digest, now: Instant) {
        self.last_use += 1;
        let Some(entry) = self.entries.get_mut(&key) else { return };
        (entry.used, entry.used_at) = (self.last_use, now);
        self.uses.push_back((key, self.last_use));
        if self.uses.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.uses.retain(|number| is_last(entries, number));
        }
    }

    fn drop_expired(&mut self, now: Instant) {
        while let Some(oldest) = self.oldest() {
            let used_at = self.entries.get(&oldest).map_or(now, |entry| entry.used_at);
            if now.saturating_duration_since(used_at) < self.time_to_live {
                return;
            }
            self.remove(oldest);
            self.stats.expired += 1;
        }
    }

    fn drop_excess(&mut self) {
        while self.stats.bytes > self.max_bytes {
            let Some(oldest) = self.oldest() else { return };
            self.remove(oldest);
            self.stats.evicted += 1;
        }
    }

    /// The entry that was not used for the longest time. Removes the void uses before its last one.
    fn oldest(&mut self) -> Option<Digest> {
        while let Some(oldest) = self.uses.front() {
            if is_last(&self.entries, oldest) {
                return Some(oldest.0);
            }
            self.uses.pop_front();
        }
        None
    }

    fn remove(&mut self, key: Digest) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.stats.bytes -= entry.signature.len() + ENTRY_BYTES;
        let Some(alias) = entry.alias else { return };
        if let Some(calls) = self.aliases.get_mut(&alias).map(|alias| &mut alias.calls) {
            *calls -= 1;
            if *calls == 0 {
                self.aliases.remove(&alias);
            }
        }
    }
}

fn is_last(entries: &HashMap<Digest, Entry>, (key, number): &(Digest, u64)) -> bool {
    entries.get(key).is_some_and(|entry| entry.used == *number)
}

#[cfg(test)]
impl Store {
    /// Whether the memory besides the entries is bounded by their number.
    pub(super) fn has_consistent_sizes(&self) -> bool {
        let bytes = self.entries.values().map(|entry| entry.signature.len() + ENTRY_BYTES);
        self.uses.len() <= 2 * self.entries.len() + 65
            && self.aliases.len() <= self.entries.len()
            && bytes.sum::<usize>() == self.stats.bytes
    }
}
