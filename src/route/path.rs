//! Checks that no server can read a path as another one.

pub(super) const EMPTY_SEGMENT: &str =
    "has an empty segment: does the client's base URL end with a slash?";

/// Refuses a path that a server, or a proxy in between, could read as another path.
pub(super) fn check_path(path: &str) -> Result<(), &'static str> {
    let path = path.strip_prefix('/').ok_or("does not start with a slash")?;
    path.split('/').try_for_each(check_segment)
}

/// Whether a byte of a path stands for itself to each server.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"-._~!$&'()*+,=:@";
    let mut at = 0;
    while at < others.len() {
        plain[others[at] as usize] = true;
        at += 1;
    }
    plain
};

fn check_segment(segment: &str) -> Result<(), &'static str> {
    // Almost all segments are plain, and need no further look.
    let all_plain = segment.bytes().fold(true, |all, byte| all & PLAIN[usize::from(byte)]);
    if all_plain && segment.bytes().any(|byte| byte != b'.') {
        return Ok(());
    }
    let mut rest = segment.as_bytes();
    // Counts the segment up to its parameters: some servers read `..;x` as `..`.
    let (mut length, mut dots, mut in_name) = (0, 0, true);
    while let [byte, after @ ..] = rest {
        rest = after;
        let byte = match *byte {
            b'%' => {
                let [high, low, after @ ..] = rest else {
                    return Err("has a broken percent escape");
                };
                rest = after;
                match hex(*high, *low).ok_or("has a broken percent escape")? {
                    b'/' => return Err("has an encoded slash"),
                    // After a second decoding, this could become any of the others.
                    b'%' => return Err("has an encoded percent sign"),
                    byte => byte,
                }
            }
            // RFC 3986 §3.3, `pchar`.
            byte @ (b'a'..=b'z'
            | b'A'..=b'Z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b';'
            | b'='
            | b':'
            | b'@'
            | b'\\'
            | 0..=0x1f
            | 0x7f..) => byte,
            _ => return Err("has a character that a path cannot have unencoded"),
        };
        match byte {
            b'\\' => return Err("has a backslash"),
            0..=0x1f | 0x7f => return Err("has a control character"),
            0x80.. => return Err("has a character beyond ASCII"),
            b';' => in_name = false,
            _ if in_name => {
                length += 1;
                dots += usize::from(byte == b'.');
            }
            _ => {}
        }
    }
    match length {
        0 => Err(EMPTY_SEGMENT),
        1 | 2 if dots == length => Err("has a dot segment"),
        _ => Ok(()),
    }
}

pub(super) fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(high)? * 16 + digit(low)?) as u8)
}
