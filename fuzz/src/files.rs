//! Files of client keys and configuration files: no key or value gets into a message.

use std::sync::LazyLock;

use http::HeaderMap;
use tower_vertex::route::Upstream;
use vertex_gateway::fuzzing::{ClientKeys, KnownOptions};

use crate::{SECRET, input::Input};

static KNOWN: LazyLock<KnownOptions> = LazyLock::new(KnownOptions::default);

/// Controls: the kind of file. Text: the file.
pub fn run(data: &[u8]) {
    let Some(mut input) = Input::of(data) else { return };
    let result = match input.choose(2) {
        0 => keys(input.text),
        _ => {
            // The gateway refuses a file that is not UTF-8 when it reads it.
            let Ok(text) = std::str::from_utf8(input.text) else { return };
            KNOWN.configuration(text, Upstream::new("p", "us-central1").unwrap())
        }
    };
    if let Err(shown) = result {
        assert!(!has_secret(&shown), "{shown}");
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
    }
}

/// Whether a message has the secret as a word of its own. A part of the name of an unknown key may be shown.
fn has_secret(shown: &str) -> bool {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    shown.match_indices(SECRET).any(|(at, _)| {
        let (before, after) = (&shown[..at], &shown[at + SECRET.len()..]);
        !before.ends_with(is_part) && !after.starts_with(is_part)
    })
}

/// Each line of a file that is accepted is a name and a key, and the key is that of the name.
fn keys(text: &[u8]) -> Result<(), String> {
    let keys = ClientKeys::read(text)?;
    let text = std::str::from_utf8(text).expect("a file of keys is UTF-8");
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut count = 0;
    for line in lines {
        count += 1;
        let (name, key) = line.split_once(':').expect("a line is `name:key`");
        let (name, key) = (name.trim(), key.trim());
        assert!(key.len() >= 16);
        let headers = |key: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", format!("Bearer {key}").parse().unwrap());
            headers
        };
        let owner = keys.owner(&headers(key)).unwrap().unwrap();
        assert_eq!(&*owner, name);
        // A part of a key may be the key of another line.
        let is_other = text.contains(&key[1..]) && text.matches(&key[1..]).count() > 1;
        assert!(is_other || keys.owner(&headers(&key[1..])).is_err());
    }
    assert_eq!(keys.count(), count);
    Ok(())
}
