//! Queries: any text in a name stays one value of one parameter.

use std::fmt::Write as _;

/// `display_name="…"`. Google does not document the escapes of its filters; AIP-160 and all similar
/// languages put a backslash before a quotation mark and before a backslash.
pub(super) fn display_name_filter(name: &str) -> String {
    let mut filter = String::from("display_name=\"");
    for c in name.chars() {
        if is_escaped(c) {
            filter.push('\\');
        }
        filter.push(c);
    }
    filter.push('"');
    filter
}

/// Whether a service with other escapes would not find `name`.
pub(super) fn has_escapes(name: &str) -> bool {
    name.contains(is_escaped)
}

fn is_escaped(c: char) -> bool {
    matches!(c, '"' | '\\')
}

/// `name=value&…`, with everything percent-encoded that is not unreserved (RFC 3986 §2.3).
pub(super) fn query(pairs: &[(&str, &str)]) -> String {
    let mut query = String::new();
    for (name, value) in pairs {
        if !query.is_empty() {
            query.push('&');
        }
        query.push_str(name);
        query.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                query.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(query, "%{byte:02X}");
            }
        }
    }
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_string_of_the_filter() {
        for (name, filter) in [
            ("my-llama", r#"display_name="my-llama""#),
            (r#"a "b" c"#, r#"display_name="a \"b\" c""#),
            (r"a\", r#"display_name="a\\""#),
            (r#"x" OR endpoint!=""#, r#"display_name="x\" OR endpoint!=\"""#),
            ("\u{fc}\u{1f999}", "display_name=\"\u{fc}\u{1f999}\""),
        ] {
            assert_eq!(display_name_filter(name), filter);
            assert_eq!(has_escapes(name), name.contains(['"', '\\']), "{name}");
        }
    }

    #[test]
    fn a_value_is_encoded_byte_by_byte() {
        for (value, encoded) in [
            ("az-AZ_09.~", "az-AZ_09.~"),
            ("a b+c", "a%20b%2Bc"),
            ("&pageSize=1#?/", "%26pageSize%3D1%23%3F%2F"),
            ("%41\r\n\0", "%2541%0D%0A%00"),
            ("\u{fc}\u{1f999}", "%C3%BC%F0%9F%A6%99"),
        ] {
            assert_eq!(query(&[("a", value), ("b", "1")]), format!("a={encoded}&b=1"));
        }
        assert_eq!(query(&[]), "");
    }
}
