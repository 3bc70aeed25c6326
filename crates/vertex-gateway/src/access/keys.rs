//! The keys of clients: they are written as `name:key`, and only their HMACs are kept.

use std::{collections::HashMap, fmt, path::PathBuf};

use http::{HeaderMap, StatusCode, header};
use ring::{hmac, rand::SystemRandom};
use zeroize::Zeroizing;

use super::ClientOptions;
use crate::{error::Error, local_reply::LocalReply, values::LONGEST_FILE};
use tower_vertex::{redact, regular_file};

const VARIABLE: &str = "VERTEX_GATEWAY_CLIENT_KEYS";
/// Shorter keys could be found by trying.
const SHORTEST_KEY: usize = 16;
const LONGEST_NAME: usize = 64;

type Tag = [u8; 32];

/// The sources of client keys besides the variable [`VARIABLE`].
#[derive(Clone, Debug)]
pub(super) struct KeySources {
    pub(super) file: Option<PathBuf>,
}

/// The names of the clients by their keys.
///
/// The map holds the HMAC of each key under a secret of this process, not the key. No client can
/// compute the tag of a key. The time of a lookup depends on the tags alone, so it reveals nothing
/// about a key, and neither does a memory dump or a log of tags.
pub(super) struct Keys {
    secret: hmac::Key,
    names: HashMap<Tag, String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("names", &self.names.values()).finish_non_exhaustive()
    }
}

impl KeySources {
    /// All keys, or `None` if no source is set, so that clients need none.
    pub(super) fn load(&self) -> Result<Option<Keys>, Error> {
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        if self.file.is_none() && variable.is_none() {
            return Ok(None);
        }
        let mut keys = Keys::new()?;
        if let Some(path) = &self.file {
            let refused =
                |why: String| Error::of_file::<ClientOptions>("--client-key-file", path, why);
            let text = regular_file::read(path, LONGEST_FILE).map(Zeroizing::new);
            let text = text.map_err(|error| refused(error.to_string()))?;
            let text = str::from_utf8(&text).map_err(|_| refused("not UTF-8".to_owned()))?;
            // Some editors write a byte order mark.
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if !line.is_empty() && !line.starts_with('#') {
                    let refused_line = |why| refused(format!("line {}: {why}", number + 1));
                    keys.add(line).map_err(refused_line)?;
                }
            }
            if keys.names.is_empty() {
                return Err(refused("the file has no keys: write `name:key`, one a line".into()));
            }
        }
        if let Some(text) = variable {
            let refused = |why: String| Error::new(format!("{VARIABLE}: {why}"));
            let text = text.into_string().map_err(|_| refused("not UTF-8".to_owned()))?;
            let text = Zeroizing::new(text);
            for (number, entry) in text.split(',').enumerate() {
                let refused_entry = |why| refused(format!("entry {}: {why}", number + 1));
                keys.add(entry.trim()).map_err(refused_entry)?;
            }
        }
        Ok(Some(keys))
    }
}

impl Keys {
    fn new() -> Result<Self, Error> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let secret = secret.map_err(|_| {
            Error::new(
                "the system's random number generator \
             failed",
            )
        })?;
        Ok(Self { secret, names: HashMap::new() })
    }

    /// Adds an entry `name:key`. The error never contains the key.
    fn add(&mut self, entry: &str) -> Result<(), String> {
        // Without a colon, the whole entry may be a key.
        let Some((name, key)) = entry.split_once(':') else {
            return Err("give `name:key`".to_owned());
        };
        let (name, key) = (name.trim_end(), key.trim_start());
        // In an entry in the wrong order, the key is in the place of the name.
        let shown = redact::value(name);
        let fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(fit) {
            return Err(format!(
                "the text before the colon is not a name: use up to {LONGEST_NAME} letters, \
                     digits, `.`, `_` and `-`"
            ));
        }
        if key.len() < SHORTEST_KEY {
            return Err(format!(
                "the key of {shown:?} is shorter than {SHORTEST_KEY} characters: make one with \
                 `openssl rand -hex 32`"
            ));
        }
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!(
                "the key of {shown:?} has a space or another character that a header cannot have"
            ));
        }
        if self.names.values().any(|known| known == name) {
            return Err(format!("{shown:?} has a key already: give each key its own name"));
        }
        let tag = self.tag(key.as_bytes());
        if let Some(other) = self.names.insert(tag, name.to_owned()) {
            return Err(format!(
                "{:?} and {shown:?} have the same key: give each name its own key",
                redact::value(&other)
            ));
        }
        Ok(())
    }

    fn tag(&self, key: &[u8]) -> Tag {
        let mut tag = Tag::default();
        tag.copy_from_slice(hmac::sign(&self.secret, key).as_ref());
        tag
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.values().map(String::as_str)
    }

    /// The name of the key in `Authorization`.
    pub(super) fn owner(&self, headers: &HeaderMap) -> Result<&str, LocalReply> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Err(refused(
                "the request has no API key: send a key of this gateway as `Authorization: Bearer \
                     KEY`, as OpenAI's clients do with OPENAI_API_KEY",
            ));
        };
        if values.next().is_some() {
            return Err(refused("the request has more than one `Authorization` header: send one"));
        }
        let value = value.as_bytes().trim_ascii();
        let at = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, key) = value.split_at(at);
        if !scheme.eq_ignore_ascii_case(b"bearer") {
            return Err(refused("`Authorization` is not `Bearer KEY`: send a key of this gateway"));
        }
        let owner = self.names.get(&self.tag(key.trim_ascii()));
        owner.map(String::as_str).ok_or_else(unknown)
    }
}

fn refused(why: &str) -> LocalReply {
    LocalReply::new(StatusCode::UNAUTHORIZED, "invalid_api_key", why)
}

pub(super) fn unknown() -> LocalReply {
    refused("the API key is not a key of this gateway: get one from its operator")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ONE: &str = "sk-one-0123456789";
    const TWO: &str = "sk-two-0123456789";

    fn keys(entries: &[String]) -> Result<Keys, String> {
        let mut keys = Keys::new().unwrap();
        entries.iter().try_for_each(|entry| keys.add(entry)).map(|()| keys)
    }

    #[test]
    fn the_error_of_an_entry_does_not_contain_its_key() {
        for (entries, why) in [
            (vec![ONE.to_owned()], "give `name:key`"),
            (vec![format!(":{ONE}")], "is not a name"),
            (vec![format!("a b:{ONE}")], "is not a name"),
            (vec![format!("{}:{ONE}", "a".repeat(65))], "is not a name"),
            (vec!["one:0123456789abcde".to_owned()], "shorter than 16"),
            (vec![format!("one:{ONE} {TWO}")], "has a space"),
            (vec![format!("one:{ONE}é")], "has a space"),
            (vec![format!("one:{ONE}"), format!("one:{TWO}")], "has a key already"),
            (vec![format!("one:{ONE}"), format!("two:{ONE}")], "\"one\" and \"two\" have the same"),
        ] {
            let error = keys(&entries).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("0123456789"), "{error}");
        }
    }

    #[test]
    fn each_key_has_its_name_and_other_keys_are_rejected() {
        let keys = keys(&[format!("one:{ONE}"), format!("two : {TWO}")]).unwrap();
        assert!(!format!("{keys:?}").contains("sk-"));
        let owner = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("authorization", HeaderValue::from_str(value).unwrap());
            }
            keys.owner(&headers).map(str::to_owned).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(owner(&[&format!("Bearer {ONE}")]).unwrap(), "one");
        assert_eq!(owner(&[&format!("bearer  {TWO} ")]).unwrap(), "two");
        for (values, why) in [
            (vec![], "no API key"),
            (vec![String::new()], "is not `Bearer KEY`"),
            (vec![ONE.to_owned()], "is not `Bearer KEY`"),
            (vec![format!("Basic {ONE}")], "is not `Bearer KEY`"),
            (vec![format!("Bearer{ONE}")], "is not `Bearer KEY`"),
            (vec!["Bearer".to_owned()], "not a key of this gateway"),
            (vec![format!("Bearer {ONE}x")], "not a key of this gateway"),
            (vec![format!("Bearer {}", &ONE[1..])], "not a key of this gateway"),
            (vec![format!("Bearer {}", ONE.to_uppercase())], "not a key of this gateway"),
            (vec![format!("Bearer {ONE}"), format!("Bearer {ONE}")], "more than one"),
        ] {
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            let error = owner(&values).unwrap_err();
            assert!(error.contains(why) && !error.contains("0123456789"), "{values:?}: {error}");
        }
    }
}
