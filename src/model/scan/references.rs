//! Detects whether a request refers to something that an earlier one has stored: a response, a
//! conversation, or an item of one.
//!
//! `previous_response_id` and `conversation` at the top level are references. An item of `input` is
//! one if its type is `item_reference`, or if it has an `id` and neither a type nor a role, which
//! OpenAI treats the same way. A type or a role that is empty, or is not text, is treated as
//! missing. Keys match in any case and with or without underscores, since some parsers accept
//! them so. If a key occurs several times, each of them is checked.
/// The depth of the keys of an item of `input`, in an array within the object. Google's parsers
/// accept a single item without the array, too.
const ITEM: usize = 3;
const ONLY_ITEM: usize = 2;

/// The state of the search.
#[derive(Debug, Default)]
pub(super) struct Search {
    found: bool,
    /// The value of such a key comes next. Any value but `null` is a reference.
    reference_next: bool,
    in_input: bool,
    /// The value of `input` comes next.
    input_next: bool,
    /// The value of `input` is an object.
    is_only_item: bool,
    item: Item,
    /// The value of this key of an item comes next.
    next: Option<ItemKey>,
}

/// The keys that were found in an item of `input`.
#[derive(Debug, Default)]
struct Item {
    id: bool,
    /// There is a `role` that is text, and there is one that is not text or is empty.
    roled: bool,
    unroled: bool,
    /// The same for `type`.
    typed: bool,
    untyped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ItemKey {
    Id,
    Type,
    Role,
}

/// A value of an item whose text is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ItemText {
    Type,
    Role,
}

impl Search {
    pub(super) fn found(&self) -> bool {
        self.found
    }

    /// Reads a key at the top level.
    pub(super) fn key(&mut self, key: &str) {
        self.reference_next = is(key, "previousresponseid") || is(key, "conversation");
        self.in_input = is(key, "input");
        self.input_next = self.in_input;
    }

    /// Whether keys at this depth belong to an item.
    pub(super) fn looks_at(&self, depth: usize) -> bool {
        self.in_input && depth == if self.is_only_item { ONLY_ITEM } else { ITEM }
    }

    /// Reads a key of an item.
    pub(super) fn item_key(&mut self, key: &str) {
        self.next = match key {
            key if is(key, "id") => Some(ItemKey::Id),
            key if is(key, "type") => Some(ItemKey::Type),
            key if is(key, "role") => Some(ItemKey::Role),
            _ => None,
        };
    }

    /// Reads the first byte of a value. Returns its kind, if it is text of an item to check.
    pub(super) fn value(&mut self, byte: u8) -> Option<ItemText> {
        self.found |= std::mem::take(&mut self.reference_next) && byte != b'n';
        if std::mem::take(&mut self.input_next) {
            self.is_only_item = byte == b'{';
        }
        let is_text = byte == b'"';
        match self.next.take()? {
            ItemKey::Id => {
                self.item.id |= byte != b'n';
                None
            }
            ItemKey::Type => {
                self.item.typed |= is_text;
                self.item.untyped |= !is_text;
                is_text.then_some(ItemText::Type)
            }
            ItemKey::Role => {
                self.item.roled |= is_text;
                self.item.unroled |= !is_text;
                is_text.then_some(ItemText::Role)
            }
        }
    }

    /// Reads the type or the role of an item.
    pub(super) fn item_text(&mut self, what: ItemText, text: &str) {
        match what {
            ItemText::Type => {
                self.found |= is(text, "itemreference");
                self.item.untyped |= text.is_empty();
            }
            ItemText::Role => self.item.unroled |= text.is_empty(),
        }
    }

    /// Ends an object at this depth.
    pub(super) fn end_of_object(&mut self, depth: usize) {
        if self.looks_at(depth) {
            let Item { id, roled, unroled, typed, untyped } = std::mem::take(&mut self.item);
            self.found |= id && (unroled || !roled) && (untyped || !typed);
        }
    }
}

/// Whether the text is this name, regardless of case and underscores.
fn is(text: &str, name: &str) -> bool {
    let letters = text.bytes().filter(|byte| *byte != b'_').map(|byte| byte.to_ascii_lowercase());
    letters.eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::super::Scanner;

    /// Scans the text in one piece, and again byte by byte.
    fn refers(text: &str) -> Option<bool> {
        let mut whole = Scanner::new();
        whole.feed(text.as_bytes());
        let mut pieces = Scanner::new();
        text.as_bytes().chunks(1).for_each(|piece| pieces.feed(piece));
        assert_eq!(whole.refers_to_stored(), pieces.refers_to_stored(), "{text}");
        whole.refers_to_stored()
    }

    #[test]
    fn a_reference_is_found_however_it_is_written() {
        for text in [
            r#"{"previous_response_id":"r"}"#,
            r#"{"previous\u005fresponse_id":"r"}"#,
            r#"{"\u0070revious_response_id" : "r"}"#,
            r#"{"previousResponseId":"r"}"#,
            r#"{"Previous_Response_ID":"r"}"#,
            r#"{"previous_response_id":""}"#,
            r#"{"previous_response_id":1}"#,
            r#"{"previous_response_id":null,"previous_response_id":"r"}"#,
            r#"{"previous_response_id":"r","previous_response_id":null}"#,
            r#"{"model":"m","input":[{"role":"user"}],"previous_response_id":"r"}"#,
            r#"{"conversation":"c"}"#,
            r#"{"conversation":{"id":"c"}}"#,
            r#"{"input":[{"type":"item_reference","id":"i"}]}"#,
            r#"{"input":[{"id":"i","type":"item\u005freference"}]}"#,
            r#"{"input":[{"type":"ITEM_REFERENCE","id":"i","role":"user"}]}"#,
            r#"{"input":["a",{"role":"user"},{"id":"i"}]}"#,
            r#"{"input":[{"id":"i","type":null}]}"#,
            r#"{"input":[{"id":"i","type":null,"type":"message"}]}"#,
            r#"{"input":[{"id":"i","type":""}]}"#,
            r#"{"input":[{"id":"i","role":null}]}"#,
            r#"{"input":[{"role":"user","role":null,"id":"i"}]}"#,
            r#"{"input":[{"role":"","id":"i"}]}"#,
            r#"{"input":[{"id":"i","role":{}}]}"#,
            r#"{"\u0069nput":[{"\u0069d":"i"}]}"#,
            r#"{"input":[{"role":"user","content":[{"type":"input_text"}]},{"id":"i"}]}"#,
            r#"{"input":{"type":"item_reference","id":"i"}}"#,
            r#"{"input":{"id":"i"}}"#,
            r#"{"input":{"role":"user","content":"x"},"input":[{"id":"i"}]}"#,
            r#"{"input":[{"role":"user"}],"input":{"id":"i"}}"#,
        ] {
            assert_eq!(refers(text), Some(true), "{text}");
        }
    }

    #[test]
    fn a_body_without_references_has_none() {
        for text in [
            "{}",
            "[]",
            "1 ",
            r#"{"previous_response_id":null}"#,
            r#"{"conversation":null,"input":"previous_response_id"}"#,
            r#"{"metadata":{"previous_response_id":"r","conversation":"c"}}"#,
            r#"{"input":[{"role":"user","content":"item_reference"}]}"#,
            r#"{"input":[{"id":"m","type":"message","role":"assistant","content":[]}]}"#,
            r#"{"input":[{"id":"m","role":"assistant","content":[{"id":"x"}]}]}"#,
            r#"{"input":[{"type":"function_call_output","id":"f","call_id":"c","output":"{}"}]}"#,
            r#"{"input":[{"id":null}]}"#,
            r#"{"input":{"role":"user","content":[{"id":"i"}]}}"#,
            r#"{"input":{"role":"user","content":{"id":"i"}}}"#,
            r#"{"tools":[{"id":"x"}],"messages":[{"type":"item_reference","id":"i"}]}"#,
            r#"{"conversation_id_of_mine":"c"}"#,
        ] {
            assert_eq!(refers(text), Some(false), "{text}");
        }
        for text in ["", "{", r#"{"a":1,}"#, r#"{"a":1} x"#, "'x'", "previous_response_id=r"] {
            assert_eq!(refers(text), None, "{text}");
        }
    }
}
