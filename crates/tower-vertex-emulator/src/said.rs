//! The text of messages. Each image is replaced by a short description.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;

/// The text of the user's last message, or the error in it.
pub(crate) fn by_user(messages: &[Value]) -> Result<String, String> {
    let by_user = |message: &&Value| role(message) == Some("user");
    let content = |message: &Value| text_of(message.get("content").unwrap_or(&Value::Null));
    messages.iter().rev().find(by_user).map_or_else(|| Ok(String::new()), content)
}

pub(crate) fn role(message: &Value) -> Option<&str> {
    message.get("role").and_then(Value::as_str)
}

/// The text of a string, or of an array of strings, text parts and images.
pub(crate) fn text_of(content: &Value) -> Result<String, String> {
    match content {
        Value::String(text) => Ok(text.clone()),
        Value::Array(parts) => {
            let said: Result<Vec<String>, String> = parts.iter().filter_map(part).collect();
            Ok(said?.join(" "))
        }
        _ => Ok(String::new()),
    }
}

fn part(part: &Value) -> Option<Result<String, String>> {
    if let Some(text) = part.as_str().or_else(|| part.get("text")?.as_str()) {
        return Some(Ok(text.to_owned()));
    }
    // It is an object in Chat Completions, and a string in the Responses API.
    let image = part.get("image_url")?;
    let url = image.as_str().or_else(|| image.get("url")?.as_str());
    Some(url.ok_or_else(|| "`image_url` must have a URL".to_owned()).and_then(image_at))
}

/// Describes an image for the echo, such as `[image/png, 70 bytes]`.
fn image_at(url: &str) -> Result<String, String> {
    let Some(data) = url.strip_prefix("data:") else {
        return Ok("[image]".to_owned());
    };
    // Google's page accepts documents, audio and video in `image_url`, too.
    let split = data.split_once(";base64,").filter(|(kind, _)| is_mime_type(kind));
    let (kind, data) = split.ok_or("`image_url` must be a file in base64 with its MIME type")?;
    let bytes = STANDARD.decode(data).map_err(|_| "`image_url` has bad base64")?;
    Ok(format!("[{kind}, {} bytes]", bytes.len()))
}

/// Whether a text is like `application/pdf`.
fn is_mime_type(text: &str) -> bool {
    let word = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.+_".contains(&b))
    };
    text.split_once('/').is_some_and(|(kind, name)| word(kind) && word(name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_user_message_is_found_in_both_forms() {
        let messages = json!([
            { "role": "user", "content": "first" },
            { "role": "assistant", "content": "answer" },
            { "role": "user", "content": [
                { "type": "text", "text": "look" },
                { "type": "image_url", "image_url": { "url": "data:image/gif;base64,R0lG" } },
                { "type": "input_image", "image_url": "https://example.com/cat.png" },
                { "type": "text", "text": "here" },
            ]},
            { "role": "tool", "content": "42" },
        ]);
        let said = by_user(messages.as_array().unwrap());
        assert_eq!(said.as_deref(), Ok("look [image/gif, 3 bytes] [image] here"));
        assert_eq!(by_user(&[]).as_deref(), Ok(""));
    }

    #[test]
    fn a_broken_image_is_an_error() {
        for url in
            ["data:", "data:image/png;base64,=", "data:plain;base64,eA==", "data:image/png,x"]
        {
            let content = json!([{ "type": "image_url", "image_url": { "url": url } }]);
            assert!(text_of(&content).is_err(), "{url}");
        }
        assert!(text_of(&json!([{ "type": "image_url", "image_url": {} }])).is_err());
    }
}
