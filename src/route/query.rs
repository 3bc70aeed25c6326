//! The pairs of a query that are forwarded.

use std::borrow::Cow;

use super::path::hex;

/// The query parameters that are forwarded by default. The list is short because most of Google's
/// own are [`SYSTEM`] parameters. `alt` selects the form of a stream.
const LISTED: [&str; 1] = ["alt"];

/// OpenAI's parameters of [`GET /responses/{id}`], in each form in which its SDKs write a list. Its
/// other calls have no parameters.
///
/// [`GET /responses/{id}`]: https://platform.openai.com/docs/api-reference/responses/get
pub(super) const OF_RESPONSES: [&str; 6] =
    ["include", "include[]", "include%5B%5D", "include_obfuscation", "starting_after", "stream"];

/// The system parameter with which Google's generated clients request enums as numbers, in each
/// spelling in which they send it. It changes nothing else. Any other value of `$alt` could select
/// another form.
const ENUMS_AS_NUMBERS: [&str; 4] = [
    "$alt=json;enum-encoding=int",
    "$alt=json%3Benum-encoding%3Dint",
    "%24alt=json;enum-encoding=int",
    "%24alt=json%3Benum-encoding%3Dint",
];

/// Query parameters of Google's that are credentials: a key beside a valid access token causes a
/// 401.
const CREDENTIALS: [&str; 3] = ["key", "access_token", "oauth_token"];

/// Google's other [system parameters], which all of its APIs have, by their names without a `$`.
/// They select the billed project, or change the response or the request. New ones begin with a
/// `$`.
///
/// [system parameters]: https://cloud.google.com/apis/docs/system-parameters
const SYSTEM: [&str; 12] = [
    "bearer_token",
    "callback",
    "fields",
    "pp",
    "prettyprint",
    "quotauser",
    "trace",
    "upload_protocol",
    "uploadprotocol",
    "uploadtype",
    "userip",
    "userproject",
];

/// Returns the pairs of `query` whose names are in [`LISTED`], `own` or `more`; `None` if there are
/// none.
pub(super) fn listed<'a>(query: &'a str, own: &[&str], more: &[String]) -> Option<Cow<'a, str>> {
    only(query, |pair| is_listed(pair, own, more))
}

/// The same for a method of a model, which may have one of Google's system parameters, too.
pub(super) fn listed_of_model<'a>(
    query: &'a str,
    own: &[&str],
    more: &[String],
) -> Option<Cow<'a, str>> {
    only(query, |pair| is_listed(pair, own, more) || ENUMS_AS_NUMBERS.contains(&pair))
}

fn is_listed(pair: &str, own: &[&str], more: &[String]) -> bool {
    let name = name(pair);
    // Names are compared without decoding: a client that needs a parameter sends its plain name. A
    // server may read a pair with a semicolon as two.
    !pair.contains(';')
        && (LISTED.contains(&name) || own.contains(&name) || more.iter().any(|more| more == name))
}

/// Returns the pairs of `query` that are not for Google's front end; `None` if there are none.
pub(super) fn not_of_google<'a>(query: &'a str, more: &[String]) -> Option<Cow<'a, str>> {
    only(query, |pair| {
        let wanted = |pair: &str| !pair.contains(';') && more.iter().any(|more| more == name(pair));
        wanted(pair) || !pair.split(';').any(|pair| is_of_google(name(pair)))
    })
}

/// Returns the pairs of `query` that `goes` accepts.
fn only<'a>(query: &'a str, goes: impl Fn(&str) -> bool) -> Option<Cow<'a, str>> {
    let kept = if query.split('&').all(&goes) {
        Cow::Borrowed(query)
    } else {
        let kept: Vec<&str> = query.split('&').filter(|pair| goes(pair)).collect();
        Cow::Owned(kept.join("&"))
    };
    (!kept.is_empty()).then_some(kept)
}

fn name(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Whether a server could read `name` as that of a system parameter, or as several names one of
/// which is.
fn is_of_google(name: &str) -> bool {
    let decoded = fully_decoded(name);
    decoded.split(|byte| matches!(byte, b'&' | b';' | b'=')).any(|name| {
        let blank = |byte: &u8| *byte <= b' ' || *byte == b'+' || *byte == 0x7f;
        let start = name.iter().position(|byte| !blank(byte)).unwrap_or(name.len());
        let end = name.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
        let name = &name[start..end];
        let mut known = CREDENTIALS.iter().chain(&SYSTEM);
        name.starts_with(b"$") || known.any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    })
}

/// Decodes `text` until nothing changes, like the most lenient of servers. One pass is enough: each
/// escape is decoded at its last byte, and the result may be the end of the next escape.
pub(super) fn fully_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.contains('%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut decoded = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        decoded.push(byte);
        while let [.., b'%', high, low] = decoded[..]
            && let Some(byte) = hex(high, low)
        {
            decoded.truncate(decoded.len() - 3);
            decoded.push(byte);
        }
    }
    Cow::Owned(decoded)
}

/// Whether `name`, from a setting, can be a query parameter to forward.
pub(super) fn may_be_forwarded(name: &str) -> bool {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let bare = name.strip_prefix('$').unwrap_or(name);
    !bare.is_empty()
        && bare.bytes().all(plain)
        && !CREDENTIALS.iter().any(|known| bare.eq_ignore_ascii_case(known))
        && !["ct", "httpMethod", "httpHeaders"].iter().any(|known| bare.eq_ignore_ascii_case(known))
}
