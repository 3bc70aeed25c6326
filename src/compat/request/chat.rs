//! [`Chat`]: the levels of a request that the cures edit.

use crate::compat::json::{Array, Object, Value};

/// A request for a chat.
pub(super) struct Chat<'a> {
    pub(super) root: Object<'a>,
    /// `None` if the request has no list of messages.
    pub(super) list: Option<Array<'a>>,
    /// The elements of the list. `None` for an element that is no object, or in which a key occurs
    /// twice.
    messages: Vec<Option<Object<'a>>>,
}

impl<'a> Chat<'a> {
    /// `None` if the text is no JSON object.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let root = Value::parse(text)?.object()?;
        let list = root.get("messages").and_then(Value::array);
        let elements = list.iter().flat_map(|list| &list.elements);
        let messages = elements.map(|element| element.object()).collect();
        Some(Self { root, list, messages })
    }

    /// The messages that are objects, each with its index in the list.
    pub(super) fn messages(&self) -> impl DoubleEndedIterator<Item = (usize, &Object<'a>)> {
        let all = self.messages.iter().enumerate();
        all.filter_map(|(index, message)| Some((index, message.as_ref()?)))
    }

    /// The index of the first message of the current turn. A turn begins with the last message of
    /// the user: results of tools have another role.
    fn turn(&self) -> usize {
        let mut messages = self.messages().rev();
        let user = messages.find(|(_, message)| has_role(message, "user"));
        user.map_or(0, |(index, _)| index)
    }

    /// The steps of the model that call tools.
    pub(super) fn steps(&self) -> impl Iterator<Item = Step<'_, 'a>> {
        let turn = self.turn();
        self.messages().filter_map(move |(index, message)| {
            let calls = message.get("tool_calls")?.array()?;
            has_role(message, "assistant").then(|| Step {
                message,
                calls: calls.elements.into_iter().map(Value::object).collect(),
                is_current: index >= turn,
            })
        })
    }
}

/// A message of the model that calls tools.
pub(super) struct Step<'c, 'a> {
    pub(super) message: &'c Object<'a>,
    pub(super) calls: Vec<Option<Object<'a>>>,
    /// Whether the message is part of the current turn, the only one that Gemini checks.
    pub(super) is_current: bool,
}

pub(super) fn has_role(message: &Object<'_>, role: &str) -> bool {
    message.get("role").is_some_and(|value| value.is_string(role))
}
