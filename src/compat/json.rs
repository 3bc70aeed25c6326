//! Edits of a JSON text that keep every other byte.
//!
//! A cure changes one member of a message of many kilobytes. A parser that builds a tree and writes
//! it back would change the order of keys, the form of numbers and the spaces, and would copy
//! everything. So [`Value`] borrows from the text and knows its position in it. It reads one level
//! at a time, by [`object`](Value::object) and [`array`](Value::array): `serde_json` skips the
//! values of that level, without recursion, and returns the text of each (its `RawValue`).
//! [`Edits`] collects the changes and applies them together.
//!
//! An object in which a key occurs twice has no members here, because parsers disagree on its
//! meaning. So a text that is ambiguous at the level of an edit stays as it is.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fmt,
    ops::Range,
};

mod progress;

pub(crate) use self::progress::Progress;
use serde_core::{
    Deserializer as _,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// The most members or elements of one level. A text with more of them stays as it is, which bounds
/// the memory of an edit. No API has lists of this length at the levels that are edited.
const MOST: usize = 1 << 16;

/// Objects with more members are checked for duplicate keys by a set.
const FEW: usize = 16;

/// A value within a valid JSON text.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a> {
    text: &'a str,
    /// The position of `text` within the whole text, in bytes.
    at: usize,
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(crate) struct Member<'a> {
    /// The key with its escapes decoded.
    pub(crate) key: Cow<'a, str>,
    pub(crate) value: Value<'a>,
    /// The key as it is in the text.
    name: Value<'a>,
}

/// The members of an object, in order. No key occurs twice.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    pub(crate) members: Vec<Member<'a>>,
    /// The position after the brace.
    open: usize,
}

/// The elements of an array, in order.
#[derive(Clone, Debug)]
pub(crate) struct Array<'a> {
    pub(crate) elements: Vec<Value<'a>>,
    /// The position after the bracket.
    open: usize,
}

impl<'a> Value<'a> {
    /// Checks the text. `None` if it is not JSON.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        Some(Self::within(raw, text, 0))
    }

    /// Like [`parse`](Self::parse), for bytes. `None` for bytes that are not UTF-8 too.
    pub(crate) fn parse_bytes(bytes: &'a [u8]) -> Option<Self> {
        Self::parse(std::str::from_utf8(bytes).ok()?)
    }

    /// `raw` borrows from `text`, whose position is `at`.
    fn within(raw: &'a RawValue, text: &str, at: usize) -> Self {
        let offset = raw.get().as_ptr().addr() - text.as_ptr().addr();
        Self { text: raw.get(), at: at + offset }
    }

    /// The text of the value.
    pub(crate) fn text(self) -> &'a str {
        self.text
    }

    /// The position of the value in the whole text, in bytes.
    pub(crate) fn span(self) -> Range<usize> {
        self.at..self.at + self.text.len()
    }

    pub(crate) fn is_null(self) -> bool {
        self.text == "null"
    }

    /// The members of an object. `None` for another value, and for an object in which a key occurs
    /// twice.
    pub(crate) fn object(self) -> Option<Object<'a>> {
        if !self.text.starts_with('{') {
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let members = deserializer.deserialize_map(Members(self)).ok()?;
        let object = Object { members, open: self.at + 1 };
        object.is_unambiguous().then_some(object)
    }

    /// The elements of an array. `None` for another value.
    pub(crate) fn array(self) -> Option<Array<'a>> {
        if !self.text.starts_with('[') {
            return None;
        }
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let elements = deserializer.deserialize_seq(Elements(self)).ok()?;
        Some(Array { elements, open: self.at + 1 })
    }

    /// The text of a string with its escapes decoded. `None` for another value.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        let content = self.text.strip_prefix('"')?.strip_suffix('"')?;
        if content.contains('\\') {
            return serde_json::from_str(self.text).ok().map(Cow::Owned);
        }
        Some(Cow::Borrowed(content))
    }

    /// A whole number that is not negative. `None` for another value.
    pub(crate) fn number(self) -> Option<u64> {
        self.text.parse().ok()
    }

    /// Whether the value is this string.
    pub(crate) fn is_string(self, text: &str) -> bool {
        self.string().is_some_and(|string| string == text)
    }

    /// The value of a member of an object.
    pub(crate) fn get(self, key: &str) -> Option<Value<'a>> {
        self.object()?.get(key)
    }
}

/// Shows the position, never the content.
impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({:?})", self.span())
    }
}

impl<'a> Object<'a> {
    /// The members of the object that a text is. The same as [`Value::parse`] and [`Value::object`], which
    /// read the text twice.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let at = text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len();
        let mut deserializer = serde_json::Deserializer::from_str(text.get(at..)?);
        let object = Value { text: text.get(at..)?, at };
        let members = deserializer.deserialize_map(Members(object)).ok()?;
        deserializer.end().ok()?;
        let object = Self { members, open: at + 1 };
        object.is_unambiguous().then_some(object)
    }

    /// The index of a member.
    pub(crate) fn position(&self, key: &str) -> Option<usize> {
        self.members.iter().position(|member| member.key == key)
    }

    /// The value of a member.
    pub(crate) fn get(&self, key: &str) -> Option<Value<'a>> {
        self.position(key).and_then(|index| self.members.get(index)).map(|member| member.value)
    }

    /// The value of a member, unless it is `null`.
    pub(crate) fn get_some(&self, key: &str) -> Option<Value<'a>> {
        self.get(key).filter(|value| !value.is_null())
    }

    fn is_unambiguous(&self) -> bool {
        if self.members.len() > FEW {
            let mut keys = HashSet::with_capacity(self.members.len());
            return self.members.iter().all(|member| keys.insert(&*member.key));
        }
        let earlier = |index: usize| self.members.get(..index).unwrap_or_default();
        let mut members = self.members.iter().enumerate();
        members.all(|(index, member)| earlier(index).iter().all(|other| other.key != member.key))
    }
}

/// Reads the members of the object in the value.
struct Members<'a>(Value<'a>);

impl<'a> Visitor<'a> for Members<'a> {
    type Value = Vec<Member<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Value { text, at } = self.0;
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let key = Value::within(key, text, at);
            let decoded = key.string().filter(|_| members.len() < MOST);
            let decoded = decoded.ok_or_else(|| serde_core::de::Error::custom("unusable key"))?;
            let value = Value::within(value, text, at);
            members.push(Member { key: decoded, value, name: key });
        }
        Ok(members)
    }
}

/// Reads the elements of the array in the value.
struct Elements<'a>(Value<'a>);

impl<'a> Visitor<'a> for Elements<'a> {
    type Value = Vec<Value<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = sequence.next_element::<&RawValue>()? {
            if elements.len() == MOST {
                return Err(serde_core::de::Error::custom("too many elements"));
            }
            elements.push(Value::within(element, self.0.text, self.0.at));
        }
        Ok(elements)
    }
}

/// The text of a JSON string with this content.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Changes of one text. They may be collected in any order. A change within a value that is
/// replaced or removed is ignored.
#[derive(Default)]
pub(crate) struct Edits {
    replaced: Vec<(Range<usize>, String)>,
    /// The key is the position after the brace or bracket.
    containers: BTreeMap<usize, Container>,
}

/// Changes of the members of an object, or of the elements of an array.
struct Container {
    items: Vec<Range<usize>>,
    removed: Vec<bool>,
    first: Vec<String>,
    last: Vec<String>,
}

impl Edits {
    pub(crate) fn is_empty(&self) -> bool {
        self.replaced.is_empty() && self.containers.is_empty()
    }

    /// Puts `new`, which is JSON, in the place of a value.
    pub(crate) fn replace(&mut self, value: Value<'_>, new: impl Into<String>) {
        self.replaced.push((value.span(), new.into()));
    }

    /// Removes everything around `inner`, which is a part of `outer`.
    pub(crate) fn keep_only(&mut self, outer: Value<'_>, inner: Value<'_>) {
        let (outer, inner) = (outer.span(), inner.span());
        for around in [outer.start..inner.start, inner.end..outer.end] {
            if !around.is_empty() {
                self.replaced.push((around, String::new()));
            }
        }
    }

    /// Renames a member, whose value stays.
    pub(crate) fn rename(&mut self, member: &Member<'_>, key: &str) {
        self.replaced.push((member.name.span(), quote(key)));
    }

    /// Removes a member with this key, if there is one.
    pub(crate) fn remove(&mut self, object: &Object<'_>, key: &str) {
        if let Some(index) = object.position(key) {
            self.remove_member(object, index);
        }
    }

    /// Removes the member with this index.
    pub(crate) fn remove_member(&mut self, object: &Object<'_>, index: usize) {
        self.of_object(object).remove(index);
    }

    /// Removes the element with this index.
    pub(crate) fn remove_element(&mut self, array: &Array<'_>, index: usize) {
        self.of_array(array).remove(index);
    }

    /// Inserts a member before all others. `value` is JSON.
    pub(crate) fn insert_first(&mut self, object: &Object<'_>, key: &str, value: &str) {
        let member = format!("{}:{value}", quote(key));
        self.of_object(object).first.push(member);
    }

    /// Inserts a member behind all others. `value` is JSON.
    pub(crate) fn insert_last(&mut self, object: &Object<'_>, key: &str, value: &str) {
        let member = format!("{}:{value}", quote(key));
        self.of_object(object).last.push(member);
    }

    /// Sets a member: replaces its value, or inserts it behind all others. `value` is JSON.
    pub(crate) fn set(&mut self, object: &Object<'_>, key: &str, value: &str) {
        match object.get(key) {
            Some(old) if old.text() == value => {}
            Some(old) => self.replace(old, value),
            None => self.insert_last(object, key, value),
        }
    }

    /// Inserts an element, which is JSON, before all others.
    #[cfg(test)]
    pub(crate) fn insert_first_element(&mut self, array: &Array<'_>, element: impl Into<String>) {
        self.of_array(array).first.push(element.into());
    }

    /// The text with all changes. `text` is the one that all values come from.
    pub(crate) fn apply(self, text: &str) -> String {
        let mut changes = self.replaced;
        for (open, container) in self.containers {
            container.add_to(&mut changes, open);
        }
        // A change around another one begins before it.
        changes.sort_by_key(|(span, _)| (span.start, span.end));
        let added: usize = changes.iter().map(|(_, new)| new.len()).sum();
        let mut edited = String::with_capacity(text.len() + added);
        let mut at = 0;
        for (span, new) in changes {
            let Some(unchanged) = text.get(at..span.start) else { continue };
            edited.push_str(unchanged);
            edited.push_str(&new);
            at = span.end;
        }
        edited.push_str(text.get(at..).unwrap_or_default());
        edited
    }

    fn of_object(&mut self, object: &Object<'_>) -> &mut Container {
        let spans = object.members.iter().map(|member| member.name.at..member.value.span().end);
        self.containers.entry(object.open).or_insert_with(|| Container::new(spans))
    }

    fn of_array(&mut self, array: &Array<'_>) -> &mut Container {
        let spans = array.elements.iter().map(|element| element.span());
        self.containers.entry(array.open).or_insert_with(|| Container::new(spans))
    }
}

/// Shows the number of changes, never their content.
impl fmt::Debug for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edits({})", self.replaced.len() + self.containers.len())
    }
}

impl Container {
    fn new(items: impl Iterator<Item = Range<usize>>) -> Self {
        let items: Vec<_> = items.collect();
        let removed = vec![false; items.len()];
        Self { items, removed, first: Vec::new(), last: Vec::new() }
    }

    fn remove(&mut self, index: usize) {
        if let Some(removed) = self.removed.get_mut(index) {
            *removed = true;
        }
    }

    /// Each removed item takes one comma with it: the one before it if an item before it stays, or
    /// else the one behind it.
    fn add_to(self, changes: &mut Vec<(Range<usize>, String)>, open: usize) {
        let Self { items, removed, mut first, last } = self;
        let is_kept = |index: &usize| removed.get(*index) == Some(&false);
        let first_kept = (0..items.len()).find(is_kept);
        for (index, item) in items.iter().enumerate().filter(|(index, _)| !is_kept(index)) {
            let previous = index.checked_sub(1).and_then(|index| items.get(index));
            let next = items.get(index + 1);
            let span = match (previous, next) {
                (Some(previous), _) if first_kept.is_some_and(|kept| kept < index) => {
                    previous.end..item.end
                }
                (_, Some(next)) => item.start..next.start,
                _ => item.clone(),
            };
            changes.push((span, String::new()));
        }
        if first_kept.is_none() {
            first.extend(last);
            if !first.is_empty() {
                changes.push((open..open, first.join(",")));
            }
            return;
        }
        if !first.is_empty() {
            changes.push((open..open, first.join(",") + ","));
        }
        if let Some(end) = items.last().map(|item| item.end).filter(|_| !last.is_empty()) {
            changes.push((end..end, format!(",{}", last.join(","))));
        }
    }
}

#[cfg(test)]
mod tests;
