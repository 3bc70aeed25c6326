//! The keys of clients: they are written as `name:key`, and only their HMACs are kept.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt::{self, Write as _},
    path::PathBuf,
    sync::Arc,
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use percent_encoding::percent_decode_str;
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use zeroize::Zeroizing;

use super::ClientOptions;
use crate::{
    config::parse::ClientRules, error::Error, local_reply::LocalReply, values::LONGEST_FILE,
};
use tower_vertex::{redact, regular_file, route::Protocol};

const VARIABLE: &str = "VERTEX_GATEWAY_CLIENT_KEYS";
/// The headers besides `Authorization` that may have a key, with their names for an error.
const KEY_HEADERS: [(HeaderName, &str); 2] = [
    (HeaderName::from_static("x-api-key"), "`x-api-key`"),
    (HeaderName::from_static("x-goog-api-key"), "`x-goog-api-key`"),
];
/// Shorter keys could be found by trying.
const SHORTEST_KEY: usize = 16;
const LONGEST_NAME: usize = 64;

type Tag = [u8; 32];

/// The sources of client keys.
#[derive(Clone, Debug)]
pub(super) enum KeySources {
    /// The variable [`VARIABLE`] and a file, for all clients.
    Operator { file: Option<PathBuf> },
    /// The key of the command that this process runs.
    Own(Arc<OwnKey>),
}

/// The name of the client that has an [`OwnKey`].
const OWN: &str = "run";

/// A random key for the only client of a sidecar.
pub(crate) struct OwnKey(Zeroizing<String>);

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnKey").finish_non_exhaustive()
    }
}

impl OwnKey {
    pub(super) fn generate() -> Result<Self, Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut bytes[..]).map_err(|_| no_random_numbers())?;
        let mut key = Zeroizing::new(String::with_capacity(2 * bytes.len()));
        for byte in bytes.iter() {
            // Writing to a `String` does not fail.
            let _ = write!(key, "{byte:02x}");
        }
        Ok(Self(key))
    }

    /// The key itself. The name marks each use of it as intended.
    pub(crate) fn in_clear(&self) -> &str {
        &self.0
    }
}

fn no_random_numbers() -> Error {
    Error::new("the system's random number generator failed")
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
    pub(super) fn file(&self) -> Option<&PathBuf> {
        match self {
            Self::Operator { file } => file.as_ref(),
            Self::Own(_) => None,
        }
    }

    /// The rules of the client with an [`OwnKey`]: it may do all that clients without a key may.
    pub(super) fn own_rules(&self) -> Option<ClientRules> {
        matches!(self, Self::Own(_)).then(|| ClientRules {
            name: OWN.to_owned(),
            models: None,
            requests_per_minute: None,
            max_concurrent_requests: None,
            shared_responses: true,
        })
    }

    /// All keys, or `None` if no source is set, so that clients need none.
    pub(super) fn load(&self) -> Result<Option<Keys>, Error> {
        let file = match self {
            Self::Operator { file } => file,
            Self::Own(key) => {
                let mut keys = Keys::new()?;
                let entry = Zeroizing::new(format!("{OWN}:{}", key.in_clear()));
                keys.add(&entry).map_err(Error::new)?;
                return Ok(Some(keys));
            }
        };
        let variable = std::env::var_os(VARIABLE).filter(|value| !value.is_empty());
        if file.is_none() && variable.is_none() {
            return Ok(None);
        }
        let mut keys = Keys::new()?;
        if let Some(path) = file {
            let refused =
                |why: String| Error::of_file::<ClientOptions>("--client-key-file", path, why);
            let text = regular_file::read(path, LONGEST_FILE).map(Zeroizing::new);
            let text = text.map_err(|error| refused(error.to_string()))?;
            keys.add_file(&text).map_err(refused)?;
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
    pub(super) fn new() -> Result<Self, Error> {
        let secret = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let secret = secret.map_err(|_| no_random_numbers())?;
        Ok(Self { secret, names: HashMap::new() })
    }

    /// Adds the keys of a file, one `name:key` a line. The error never contains a key.
    pub(super) fn add_file(&mut self, text: &[u8]) -> Result<(), String> {
        let text = str::from_utf8(text).map_err(|_| "not UTF-8")?;
        // Some editors write a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                self.add(line).map_err(|why| format!("line {}: {why}", number + 1))?;
            }
        }
        if self.names.is_empty() {
            return Err("the file has no keys: write `name:key`, one a line".to_owned());
        }
        Ok(())
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

    /// The name of the key in a request, which may be in any of the places of [`presented`]. A value
    /// beside it that is no key of this gateway is ignored: a client of Vertex AI sends Google's
    /// token too.
    ///
    /// # Errors
    ///
    /// 401 if there is no key of this gateway, if there are keys of two clients, or if one place has
    /// several values, because another program could read another one of them.
    pub(super) fn owner(
        &self,
        headers: &HeaderMap,
        query: Option<&str>,
        protocol: Protocol,
    ) -> Result<&str, LocalReply> {
        let Presented { keys, is_other_scheme } = presented(headers, query)?;
        let mut owners = keys.iter().filter_map(|key| self.names.get(&self.tag(key.trim_ascii())));
        let Some(owner) = owners.next() else {
            return Err(match (keys.is_empty(), is_other_scheme) {
                (false, _) => unknown(),
                (true, true) => {
                    refused("`Authorization` is not `Bearer KEY`: send a key of this gateway")
                }
                (true, false) => missing(protocol),
            });
        };
        if owners.any(|other| other != owner) {
            return Err(refused("the request has the keys of two clients: send one of them"));
        }
        Ok(owner)
    }
}

/// The values in the places of a key.
#[derive(Default)]
struct Presented<'a> {
    keys: Vec<Cow<'a, [u8]>>,
    /// `Authorization` has another scheme than `Bearer`.
    is_other_scheme: bool,
}

/// Reads the places in which the clients of the three protocols send a key: `Authorization` for
/// OpenAI's, `x-api-key` for Anthropic's, `x-goog-api-key` and the parameter `key` for Gemini's. None of
/// them is ever forwarded to Vertex AI.
fn presented<'a>(
    headers: &'a HeaderMap,
    query: Option<&'a str>,
) -> Result<Presented<'a>, LocalReply> {
    let mut found = Presented::default();
    if let Some(value) = only_value(headers, &header::AUTHORIZATION, "`Authorization`")? {
        let value = value.trim_ascii();
        let at = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
        let (scheme, key) = value.split_at(at);
        found.is_other_scheme = !scheme.eq_ignore_ascii_case(b"bearer");
        if !found.is_other_scheme {
            found.keys.push(key.into());
        }
    }
    for (name, shown) in KEY_HEADERS {
        found.keys.extend(only_value(headers, &name, shown)?.map(Cow::from));
    }
    let pairs = query.unwrap_or_default().split('&');
    let mut keys = pairs.filter_map(|pair| pair.strip_prefix("key="));
    if let Some(key) = keys.next() {
        found.keys.push(percent_decode_str(key).into());
    }
    if keys.next().is_some() {
        return Err(refused("the request has more than one parameter `key`: send one"));
    }
    Ok(found)
}

fn only_value<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
    shown: &str,
) -> Result<Option<&'a [u8]>, LocalReply> {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map(HeaderValue::as_bytes);
    if values.next().is_some() {
        return Err(refused(&format!("the request has more than one {shown} header: send one")));
    }
    Ok(value)
}

/// The response to a request without a key. It names the header of the client's protocol.
fn missing(protocol: Protocol) -> LocalReply {
    refused(match protocol {
        Protocol::Gemini => {
            "the request has no API key: send a key of this gateway as `x-goog-api-key: KEY`, as \
             Google's clients do with GEMINI_API_KEY"
        }
        Protocol::Anthropic => {
            "the request has no API key: send a key of this gateway as `x-api-key: KEY`, as \
             Anthropic's clients do with ANTHROPIC_API_KEY"
        }
        _ => {
            "the request has no API key: send a key of this gateway as `Authorization: Bearer \
             KEY`, as OpenAI's clients do with OPENAI_API_KEY"
        }
    })
}

fn refused(why: &str) -> LocalReply {
    LocalReply::new(StatusCode::UNAUTHORIZED, "invalid_api_key", why)
}

pub(super) fn unknown() -> LocalReply {
    refused("the API key is not a key of this gateway: get one from its operator")
}

#[cfg(test)]
mod tests;
