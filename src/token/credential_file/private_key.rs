//! Repairs a service account's key from a file or a variable.

use serde_json::Value;

use super::{field_fault, field_of};
use crate::error::Fault;

/// Restores the form of a key: literal `\n` from variables and templates becomes a line break, and
/// quotes around the key are removed.
pub(super) fn mend_key(json: &mut Value) -> Result<(), Fault> {
    const NAME: &str = "private_key";
    const AGAIN: &str = "use the file as it was made, or make a new key with \
                         `gcloud iam service-accounts keys create`";
    let wrong = |what: &str, remedy: &'static str| Err(field_fault(NAME, what, remedy));
    let Some(key) = field_of(json, NAME) else { return wrong("is not text", AGAIN) };
    let mended = key.replace("\\r", "").replace("\\n", "\n");
    let mended = mended.trim().trim_matches(['"', '\'']).trim();
    if mended.contains("BEGIN RSA PRIVATE KEY") {
        return wrong("is in PKCS#1 form", "convert it with `openssl pkcs8 -topk8 -nocrypt`");
    }
    if mended.contains("BEGIN ENCRYPTED PRIVATE KEY") {
        return wrong("has a password", "take it off with `openssl pkcs8 -topk8 -nocrypt`");
    }
    if mended.contains("BEGIN EC PRIVATE KEY") {
        return wrong("is an EC key, and Google's service accounts have RSA keys", AGAIN);
    }
    if mended.contains("BEGIN PUBLIC KEY") || mended.contains("BEGIN CERTIFICATE") {
        return wrong("is not the private one but public", AGAIN);
    }
    let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    let Some((_, rest)) = mended.split_once(begin) else {
        return wrong("is not an RSA key in PKCS#8 PEM form", AGAIN);
    };
    let Some((body, _)) = rest.split_once(end) else {
        return wrong("has lost its end: there is no line \"-----END PRIVATE KEY-----\"", AGAIN);
    };
    // Line breaks may be spaces, missing or indented. The text between both lines is base64 in any
    // layout.
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    if let Some(other) = body.chars().find(|c| !c.is_ascii_alphanumeric() && !"+/=".contains(*c)) {
        return wrong(
            match other {
                '\\' => "has backslashes in it: it was escaped more than once",
                '.' | '*' | '\u{2026}' => "was shortened: it has dots or asterisks in it",
                '%' => "is encoded as in a URL",
                _ => "has characters in it that are not base64",
            },
            AGAIN,
        );
    }
    let lines = body.as_bytes().chunks(64).map(String::from_utf8_lossy).collect::<Vec<_>>();
    json[NAME] = format!("{begin}\n{}\n{end}\n", lines.join("\n")).into();
    Ok(())
}
