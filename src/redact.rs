//! Redaction of settings: the form of their values that errors, logs and reports may show.
//!
//! A setting can hold a text that was never meant for it: the text of a key in place of its path, a
//! password in a URL, a token in place of a name. Such a value is never repeated, because errors
//! and logs are stored and shared. All code that shows the value of a setting uses this module.

use std::{borrow::Cow, fmt, path::Path};

/// In bytes. No name is longer, and no URL that is worth showing in an error.
const LONGEST: usize = 256;
/// The longest path and, below, the longest segment of a path on Linux and macOS.
const LONGEST_PATH: usize = 4096;
const LONGEST_SEGMENT: usize = 255;
/// The beginnings of keys and tokens: of Google, OpenAI, Anthropic, AWS, GitHub, GitLab, Slack,
/// Hugging Face, and of those that are JSON in base64.
const MARKS: [&str; 19] = [
    "AIza",
    "ya29.",
    "GOCSPX-",
    "1//0",
    "4/0A",
    "AQ.A",
    "eyJ",
    "sk-",
    "sk_",
    "AKIA",
    "ASIA",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "hf_",
];
/// The beginnings, in lower case, of header values that are secrets.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];
/// The texts, in lower case, that precede a secret in a header or in a list of settings.
const NAMES: [&str; 9] = [
    "authorization:",
    "api-key:",
    "api_key=",
    "apikey=",
    "cookie:",
    "password=",
    "passwd=",
    "pwd=",
    "secret=",
];
/// A shorter run of characters is taken as a word.
const SHORTEST_RANDOM: usize = 20;
const SHORTEST_HEX: usize = 32;

/// A value, or the reason why it is not shown. `Debug` puts the value into quotes, `Display` does
/// not.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown<'a> {
    /// The value, without a password and a query.
    Value(Cow<'a, str>),
    /// The reason why no part of the value is shown.
    Hidden(Hidden),
}

/// Why a value is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hidden {
    /// The value is the content of a file with a key or with credentials.
    Content,
    /// The value could be a key, a token or a password.
    Secret,
}

impl fmt::Display for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Content => "(not shown: it is the content of a file)",
            Self::Secret => "(not shown: it could be a secret)",
        })
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) if text.chars().any(char::is_control) => write!(f, "{text:?}"),
            Self::Value(text) => f.write_str(text),
            Self::Hidden(why) => why.fmt(f),
        }
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(text) => write!(f, "{text:?}"),
            Self::Hidden(why) => why.fmt(f),
        }
    }
}

impl Shown<'_> {
    /// Returns the same without a borrow.
    pub fn into_owned(self) -> Shown<'static> {
        match self {
            Self::Value(text) => Shown::Value(text.into_owned().into()),
            Self::Hidden(why) => Shown::Hidden(why),
        }
    }
}

/// Shows a name, a number, an address or a URL. A URL is shown without its user, its password and
/// its query.
pub fn value(text: &str) -> Shown<'_> {
    if is_content(text) {
        return Shown::Hidden(Hidden::Content);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let user = text.rsplit_once('@').map(|(user, _)| user);
        let has_password = user.is_some_and(|user| user.contains(':'));
        return match has_password || text.len() > LONGEST || text.split('@').any(is_secret) {
            true => Shown::Hidden(Hidden::Secret),
            false => Shown::Value(text.into()),
        };
    };
    // The text before `://` may be a password, too.
    if !scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) {
        return Shown::Hidden(Hidden::Secret);
    }
    // A password may contain any character, even a slash and an `@`, so the last `@` counts.
    let (before, after) = match rest.rsplit_once('@') {
        Some((_, after)) => ("…@", after),
        None => ("", rest),
    };
    let (after, cut) = match after.find(['?', '#']) {
        Some(end) => (after.get(..=end).unwrap_or_default(), "…"),
        None => (after, ""),
    };
    if scheme.len() + after.len() > LONGEST || is_secret(scheme) || is_secret(after) {
        return Shown::Hidden(Hidden::Secret);
    }
    Shown::Value(match (before, cut) {
        ("", "") => text.into(),
        _ => format!("{scheme}://{before}{after}{cut}").into(),
    })
}

/// Shows the path of a file.
pub fn path(path: &Path) -> Shown<'_> {
    let text = path.to_string_lossy();
    let segments = || text.split(['/', '\\']);
    if is_content(&text)
        || text.len() > LONGEST_PATH
        || segments().any(|segment| segment.len() > LONGEST_SEGMENT)
    {
        return Shown::Hidden(Hidden::Content);
    }
    let rooted = text.starts_with(['/', '.', '~', '\\']) || text.get(1..3) == Some(":\\");
    // Base64 has slashes, and a URL and `name:key` have colons, where a path has none.
    let is_bare = !rooted && !text.contains(['/', '\\']);
    let ending = text.rsplit_once('.').map(|(_, ending)| ending);
    let has_ending = ending.is_some_and(|ending| (1..=8).contains(&ending.len()));
    // A text that resembles a URL, such as `https:/user:password@host`.
    let has_password =
        segments().any(|part| part.rsplit_once('@').is_some_and(|p| p.0.contains(':')));
    let hidden = if has_password || text.contains("://") {
        true
    } else if is_bare {
        text.contains([':', '@']) || is_secret(&text) || !has_ending && text.len() >= 16
    } else if rooted {
        segments().any(is_secret)
    } else {
        is_secret(&text) || segments().any(is_secret)
    };
    if hidden { Shown::Hidden(Hidden::Secret) } else { Shown::Value(text) }
}

/// Whether a setting for a path holds the content of a file instead.
pub fn is_content_of_a_file(path: &Path) -> bool {
    matches!(self::path(path), Shown::Hidden(Hidden::Content))
}

/// Whether a word of another program's text could be a key, a token or a password.
pub fn could_be_secret(word: &str) -> bool {
    let user = word.rsplit_once('@').map(|(user, _)| user);
    is_content(word) || is_secret(word) || user.is_some_and(|user| user.contains(':'))
}

/// Whether the text is JSON or PEM, in clear, in base64 or in URL encoding.
fn is_content(text: &str) -> bool {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    let opens = |text: &str| text.trim_start_matches('\u{feff}').trim_start().starts_with('{');
    let lower = text.get(..9).unwrap_or(text).to_ascii_lowercase();
    opens(text)
        || text.len() >= SHORTEST_RANDOM && (text.contains(['\n', '\r']) || text.contains("\\n"))
        || text.contains("-----BEGIN")
        || text.contains("PRIVATE KEY")
        || lower.starts_with("%7b")
        || lower.starts_with("\\\"{")
        || decoded_start(text).is_some_and(|start| {
            let start = String::from_utf8_lossy(&start);
            // Words that begin with `ex` decode to a brace, too.
            let json = start.trim_start_matches('\u{feff}').trim_start().strip_prefix('{');
            json.is_some_and(|rest| rest.trim_start().starts_with(['"', '}']))
                || start.trim_start().starts_with("-----")
        })
}

/// Returns the first bytes of a text that may be base64 of either alphabet.
fn decoded_start(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' | b'-' => Some(62),
        b'/' | b'_' => Some(63),
        _ => None,
    };
    let digits = text.bytes().filter(|byte| !byte.is_ascii_whitespace() && *byte != b'=');
    let digits: Option<Vec<u8>> = digits.take(64).map(digit).collect();
    let digits = digits.filter(|digits| digits.len() >= 8)?;
    let bytes = digits.chunks_exact(4).flat_map(|four| {
        let all = four.iter().fold(0_u32, |all, digit| all << 6 | u32::from(*digit));
        [16, 8, 0].map(|shift| (all >> shift & 0xff) as u8)
    });
    Some(bytes.collect())
}

/// Whether the text can contain a key, a token or a random password.
fn is_secret(text: &str) -> bool {
    let of_a_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '=');
    let (mut marks, lower) = (MARKS.iter(), text.to_ascii_lowercase());
    let is_base64 = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b));
    marks.any(|mark| text.trim_start().starts_with(mark))
        || SCHEMES.iter().any(|scheme| lower.trim_start().starts_with(scheme))
        || NAMES.iter().any(|name| lower.contains(name))
        || is_base64 && text.len() >= SHORTEST_HEX && is_mixed(&text.replace('/', ""), 3)
        || text.split(|c| !of_a_word(c)).any(is_random)
}

/// Whether letters and digits are mixed as in random text.
fn is_random(word: &str) -> bool {
    let hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f' | b'A'..=b'F');
    if word.len() >= SHORTEST_HEX && word.bytes().all(hex) {
        return word.bytes().any(|byte| byte.is_ascii_alphabetic());
    }
    if word.len() < SHORTEST_RANDOM {
        return false;
    }
    let two = |part: &str| part.len() >= SHORTEST_RANDOM && is_mixed(part, 2);
    is_mixed(word, 3) || word.split(['-', '_']).any(two)
}

/// Whether capitals, small letters and digits, or at least `kinds` of them, alternate often.
fn is_mixed(word: &str, kinds: usize) -> bool {
    let class = |byte: u8| match byte {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let classes: Vec<u8> = word.bytes().map(class).collect();
    let changes = classes.windows(2).filter(|pair| pair.first() != pair.last()).count();
    let mixed = [0, 1, 2].iter().filter(|class| classes.contains(class)).count();
    mixed >= kinds && changes * 3 >= word.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str =
        r#"{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----\nSECRET\n"}"#;

    #[test]
    fn the_content_of_a_file_is_never_shown_as_its_path_or_a_name() {
        // `printf '{"type": "service_account"' | base64`, and of a PEM.
        for text in [
            JSON,
            " {\"a\": 1}",
            "\u{feff}{}",
            "\"{}\"",
            "'{\"a\": 1}'",
            "eyJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCI",
            "ewogICJ0eXBlIjogInNlcnZpY2VfYWNjb3VudCI=",
            "ew0KICAidHlwZSI6",
            "IHsidHlwZSI6IDF9",
            "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0t",
            "eyJ0eXBl\nIjogInNl\ncnZpY2Vf",
            "-----BEGIN PRIVATE KEY-----",
            "MIIEvQIBADANBgkqhk\niG9w0BAQEFAASC",
            "%7B%22type%22%3A",
        ] {
            assert_eq!(path(Path::new(text)), Shown::Hidden(Hidden::Content), "{text}");
            assert_eq!(value(text), Shown::Hidden(Hidden::Content), "{text}");
            let shown = format!("{0} {0:?}", value(text));
            assert!(!shown.contains(text.trim()), "{shown}");
        }
        let long = format!("/{}/key", "a".repeat(300));
        assert_eq!(path(Path::new(&long)), Shown::Hidden(Hidden::Content));
    }

    #[test]
    fn a_possible_secret_is_not_shown() {
        for text in [
            "AIzaSyD9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
            "sk-proj-aaaaaaaaaaaaaaaaaaaa",
            "ya29.a0AfH6SMBx",
            "1//0gFr-refresh",
            "user:hunter2@10.0.0.7:80",
            "user:hunter2@https://host/x",
            "password=hunter2 https://host",
            "hunter2\u{fc}://host",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "0123456789abcdef0123456789abcdef",
            "bearer hunter2",
            "Authorization: Basic dTpw",
            "x-api-key: hunter2",
            "Cookie: session=hunter2",
            "Server=db;User=u;Password=hunter2",
        ] {
            assert_eq!(value(text), Shown::Hidden(Hidden::Secret), "{text}");
            assert_eq!(path(Path::new(text)), Shown::Hidden(Hidden::Secret), "{text}");
        }
        for text in ["https:/user:hunter2@host/key", "/user:hunter2@host"] {
            assert_eq!(path(Path::new(text)), Shown::Hidden(Hidden::Secret), "{text}");
        }
        for text in ["alice:a-short-key", "correct-horse-battery-staple", "https://u:p@host/key"] {
            assert_eq!(path(Path::new(text)), Shown::Hidden(Hidden::Secret), "{text}");
        }
        assert_eq!(value(&"a".repeat(257)), Shown::Hidden(Hidden::Secret));
    }

    #[test]
    fn a_url_is_shown_without_its_password_and_its_query() {
        for (text, shown) in [
            ("https://host/path", "https://host/path"),
            ("https://user:hunter2@host:8443/a", "https://…@host:8443/a"),
            ("https://user:hunter2/@?#@host", "https://…@host"),
            ("https://host/a?key=hunter2", "https://host/a?…"),
            ("https://host#hunter2", "https://host#…"),
            ("p?x", "p?x"),
        ] {
            assert_eq!(value(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn the_usual_values_of_settings_are_shown() {
        for text in [
            "Berlin",
            "experiments",
            "exhausted",
            "us-central1",
            "my-project-123456",
            "example.com:my-project",
            "1234567890123456789",
            "vertex@my-project.iam.gserviceaccount.com",
            "projects/p/locations/l/endpoints/1234567890123456789",
            "google/gemini-2.5-flash-preview-native-audio-dialog",
            "publishers/anthropic/models/claude-sonnet-4-5@20250929",
            "1234567890.us-central1-123456789012.prediction.vertexai.goog",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10 minutes",
            "display-name:basic chat: prod",
            "p\n",
            "",
        ] {
            // A line break at the end is escaped.
            assert_eq!(value(text), Shown::Value(text.into()), "{text}");
        }
        for text in [
            "key.json",
            "key",
            "/nowhere/key.json",
            "./keys",
            "~/.config/gcloud/application_default_credentials.json",
            "/var/run/secrets/tokens/gcp-ksa/google-application-credentials.json",
            "/etc/vertex-gateway/client-keys",
            "/srv/JohnSmith2024/Projects/vertexGateway/keys",
            "my-project-123456-0a1b2c3d4e5f.json",
            "/run/user/1000/8f14e45f-ceea-467f-a0e6-b5e8c1f0d2a3/key.json",
            "C:\\Users\\me\\key.json",
            "secrets/prod/key.json",
        ] {
            assert_eq!(path(Path::new(text)), Shown::Value(text.into()), "{text}");
        }
        assert_eq!(format!("{0} {0:?}", value("a\u{1b}[31m")), r#""a\u{1b}[31m" "a\u{1b}[31m""#);
    }
}
