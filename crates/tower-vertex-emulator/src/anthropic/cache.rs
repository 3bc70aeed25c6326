//! The prompt cache, and the tokens of a prompt.
//!
//! A prompt is a list of blocks: the tools, the system prompt and the messages. `cache_control` at
//! a block stores the prompt up to it, for five minutes or an hour, and each use starts that time
//! again. A later prompt is compared at each of its marks, and at the 20 blocks before it, as
//! Anthropic's page about prompt caching says.

use std::collections::HashMap;

use ring::digest::{Context, SHA256};
use serde_json::{Map, Value, json};

use super::{
    super::usage::tokens,
    turns::{kind, role},
};

/// The smallest prompt that is stored, in tokens. Some models have a larger limit.
const LEAST: u64 = 1024;
/// Number of blocks before a mark that are compared.
const LOOK_BACK: usize = 20;
/// The times that a prompt is stored, in seconds.
const SHORT: i64 = 300;
const LONG: i64 = 3600;
/// The largest number of stored prompts.
const MOST: usize = 10_000;
/// The tokens of an image of 1000 by 750 pixels, by Anthropic's formula.
const IMAGE: u64 = 1000;

/// The stored prompts, by their hashes.
#[derive(Debug, Default)]
pub(crate) struct PromptCache(HashMap<Digest, Entry>);

type Digest = [u8; 32];

#[derive(Clone, Copy, Debug)]
struct Entry {
    expires: i64,
    /// The time that it is stored after a use, in seconds.
    life: i64,
}

/// The tokens of a prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// The tokens that were neither read from the cache nor stored.
    input: u64,
    read: u64,
    stored_short: u64,
    stored_long: u64,
}

impl Tokens {
    /// The tokens of a prompt without the cache.
    pub(super) fn of(asked: &Map<String, Value>) -> Self {
        let input = Block::all(asked).iter().map(|block| block.tokens).sum();
        Self { input, ..Self::default() }
    }

    pub(super) fn all(&self) -> u64 {
        self.input + self.read + self.stored_short + self.stored_long
    }

    /// The `usage` of a message that has this many tokens, in the order that Vertex AI sends
    /// (tombii/better-ccflare issue 47).
    pub(super) fn usage(&self, output: u64) -> Value {
        json!({
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.stored_short + self.stored_long,
            "cache_read_input_tokens": self.read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": self.stored_short,
                "ephemeral_1h_input_tokens": self.stored_long,
            },
            "output_tokens": output,
        })
    }
}

impl PromptCache {
    /// Counts a prompt, and stores it up to its marks. Prompts of one scope can be compared.
    pub(super) fn count(&mut self, scope: &str, asked: &Map<String, Value>, now: i64) -> Tokens {
        let blocks = Block::all(asked);
        if blocks.iter().all(|block| block.mark.is_none()) {
            return Tokens::of(asked);
        }
        let prefixes = prefixes(scope, &blocks);
        let total = prefixes.last().map_or(0, |(sum, _)| *sum);
        let marks: Vec<(usize, i64)> = blocks
            .iter()
            .enumerate()
            .filter_map(|(index, block)| Some((index, block.mark?)))
            .filter(|(index, _)| prefixes[*index].0 >= LEAST)
            .collect();
        let hit = marks.iter().rev().find_map(|(mark, _)| {
            let near = mark.saturating_sub(LOOK_BACK)..=*mark;
            near.rev().find(|index| self.touch(&prefixes[*index].1, now))
        });
        let mut tokens = Tokens { read: hit.map_or(0, |hit| prefixes[hit].0), ..Tokens::default() };
        let mut stored = tokens.read;
        for (mark, life) in marks.into_iter().filter(|(mark, _)| hit.is_none_or(|hit| *mark > hit))
        {
            let (sum, digest) = prefixes[mark];
            let new = sum - stored;
            if life == LONG {
                tokens.stored_long += new
            } else {
                tokens.stored_short += new
            }
            stored = sum;
            self.store(digest, life, now);
        }
        tokens.input = total - stored;
        tokens
    }

    /// Whether a prompt is stored. The use starts its time again.
    fn touch(&mut self, digest: &Digest, now: i64) -> bool {
        let entry = self.0.get_mut(digest).filter(|entry| entry.expires > now);
        entry.map(|entry| entry.expires = now + entry.life).is_some()
    }

    fn store(&mut self, digest: Digest, life: i64, now: i64) {
        if self.0.len() >= MOST {
            self.0.retain(|_, entry| entry.expires > now);
        }
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(digest, Entry { expires: now + life, life });
    }
}

/// A block of a prompt.
struct Block<'a> {
    /// Where the block is, which distinguishes equal blocks of different roles.
    place: &'a str,
    value: &'a Value,
    tokens: u64,
    /// The time that the prompt up to here is stored, in seconds.
    mark: Option<i64>,
}

impl<'a> Block<'a> {
    fn all(asked: &'a Map<String, Value>) -> Vec<Self> {
        let mut all = Vec::new();
        let list = |name: &str| asked.get(name).and_then(Value::as_array).into_iter().flatten();
        all.extend(list("tools").map(|tool| Self::new("tool", tool)));
        if let Some(system) = asked.get("system") {
            Self::add("system", system, &mut all);
        }
        for message in list("messages") {
            if let Some(content) = message.get("content") {
                Self::add(role(message), content, &mut all);
            }
        }
        // A mark at the top is one at the last block.
        if let (Some(mark), Some(last)) =
            (asked.get("cache_control").and_then(life), all.last_mut())
        {
            last.mark.get_or_insert(mark);
        }
        all
    }

    fn add(place: &'a str, content: &'a Value, all: &mut Vec<Self>) {
        match content {
            Value::Array(blocks) => all.extend(blocks.iter().map(|block| Self::new(place, block))),
            Value::Null => {}
            text => all.push(Self::new(place, text)),
        }
    }

    fn new(place: &'a str, value: &'a Value) -> Self {
        let tokens = if place == "tool" { tokens(&value.to_string()) } else { tokens_of(value) };
        Self { place, value, tokens, mark: value.get("cache_control").and_then(life) }
    }

    fn update(&self, hash: &mut Context) {
        let text = match self.value {
            Value::Object(block) if block.contains_key("cache_control") => {
                let mut block = block.clone();
                block.remove("cache_control");
                Value::Object(block).to_string()
            }
            value => value.to_string(),
        };
        hash.update(self.place.as_bytes());
        hash.update(&text.len().to_le_bytes());
        hash.update(text.as_bytes());
    }
}

/// The time in `cache_control`, in seconds.
fn life(control: &Value) -> Option<i64> {
    let is_long = control.get("ttl").is_some_and(|ttl| ttl == "1h");
    control.is_object().then_some(if is_long { LONG } else { SHORT })
}

/// The tokens of a block of content. A token is four bytes.
fn tokens_of(block: &Value) -> u64 {
    let text = |name: &str| block.get(name).and_then(Value::as_str).map_or(0, tokens);
    match (block, kind(block)) {
        (Value::String(said), _) => tokens(said),
        (_, Some("image" | "document")) => IMAGE,
        (_, Some("tool_use")) => {
            text("name") + block.get("input").map_or(0, |input| tokens(&input.to_string()))
        }
        (_, Some("tool_result")) => match block.get("content") {
            Some(Value::Array(blocks)) => blocks.iter().map(tokens_of).sum(),
            Some(said) => tokens_of(said),
            None => 0,
        },
        // The thoughts of earlier turns are no part of the prompt.
        (_, Some("thinking" | "redacted_thinking")) => 0,
        _ => text("text"),
    }
}

/// The tokens and the hash of the prompt up to each block.
fn prefixes(scope: &str, blocks: &[Block<'_>]) -> Vec<(u64, Digest)> {
    let mut hash = Context::new(&SHA256);
    hash.update(scope.as_bytes());
    let mut sum = 0;
    let prefix = |block: &Block<'_>| {
        block.update(&mut hash);
        sum += block.tokens;
        let mut digest = Digest::default();
        digest.copy_from_slice(hash.clone().finish().as_ref());
        (sum, digest)
    };
    blocks.iter().map(prefix).collect()
}
