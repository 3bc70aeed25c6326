//! Stored responses: Vertex AI keeps them for the project, so all clients that use its credentials
//! share them. A key may use them only if its rule says so.

use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;

use super::Client;
use crate::local_reply::LocalReply;
use tower_vertex::model::StoredReferences;

/// Path segments in the place of an id that are not ids.
const NO_IDS: [&str; 2] = ["compact", "input_tokens"];

/// The relation of a path to stored responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Nothing,
    /// A new response. Its body may refer to stored ones.
    New,
    /// A stored response, or all of them.
    Stored,
}

/// Finds the segment anywhere in the path, because a custom model may serve it below `/invoke/`.
fn about(method: &Method, path: &str) -> About {
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let is_stored = |segment: &str| {
        let segment = percent_decode_str(segment).decode_utf8_lossy();
        let name = segment.split([':', ';']).next().unwrap_or_default();
        ["responses", "conversations"].iter().any(|stored| name.eq_ignore_ascii_case(stored))
    };
    let Some(found) = segments.find(|segment| is_stored(segment)) else { return About::Nothing };
    let rest: Vec<&str> = segments.collect();
    let makes_one = match rest[..] {
        [] => found.eq_ignore_ascii_case("responses"),
        [name] => NO_IDS.contains(&name),
        _ => false,
    };
    if makes_one && method == Method::POST { About::New } else { About::Stored }
}

impl Client {
    /// Checks the path of a request. Returns the state in which the check of its body begins, or
    /// `None` if the body needs no check.
    ///
    /// # Errors
    ///
    /// 403 if the path is that of stored responses, and this key may not use them.
    pub(crate) fn allow_stored(
        &self,
        method: &Method,
        path: &str,
    ) -> Result<Option<StoredReferences>, LocalReply> {
        if self.shared_responses {
            return Ok(None);
        }
        match about(method, path) {
            About::Nothing => Ok(None),
            About::New => Ok(Some(StoredReferences::Unread)),
            About::Stored => Err(self.not_shared("")),
        }
    }

    /// # Errors
    ///
    /// 403 if the body refers to a stored response and this key may not use them, or if the gateway
    /// cannot read whether it does.
    pub(crate) fn allow_references(
        &self,
        found: Option<&StoredReferences>,
    ) -> Result<(), LocalReply> {
        match found {
            None | Some(StoredReferences::None) => Ok(()),
            Some(StoredReferences::Found) => Err(self.not_shared(
                "; without it, send the whole conversation in `input`, and neither \
                 `previous_response_id` nor `conversation` nor `item_reference`",
            )),
            Some(StoredReferences::Unread) => Err(self.not_shared(
                "; without it, send the request as uncompressed JSON, so that the gateway can \
                     read whether it refers to a stored response",
            )),
        }
    }

    fn not_shared(&self, advice: &str) -> LocalReply {
        let message = format!(
            "the key {:?} is not allowed to use stored responses, because keys share them: its \
                 [[client]] in the configuration file needs `shared_responses = true`{advice}",
            self.name
        );
        LocalReply::new(StatusCode::FORBIDDEN, "stored_response_not_allowed", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_to_stored_responses_is_found_in_every_spelling() {
        for (method, path, expected) in [
            ("POST", "/v1/chat/completions", About::Nothing),
            ("GET", "/v1/models", About::Nothing),
            ("POST", "/v1/responses", About::New),
            ("POST", "/responses", About::New),
            ("POST", "/v1/responses/", About::New),
            ("POST", "/v1/responses/compact", About::New),
            ("POST", "/v1/responses/input_tokens", About::New),
            ("POST", "/v1/projects/p/locations/l/endpoints/openapi/responses", About::New),
            ("POST", "/v1/invoke/v1/responses", About::New),
            ("GET", "/v1/responses", About::Stored),
            ("GET", "/v1/responses/compact", About::Stored),
            ("GET", "/v1/responses/r", About::Stored),
            ("HEAD", "/v1/responses/r", About::Stored),
            ("DELETE", "/v1/responses/r", About::Stored),
            ("POST", "/v1/responses/r", About::Stored),
            ("POST", "/v1/responses/r/cancel", About::Stored),
            ("GET", "/v1/responses/r/input_items", About::Stored),
            ("GET", "/v1/%72esponses/r", About::Stored),
            ("GET", "/v1/Responses/r", About::Stored),
            ("POST", "/v1/responses:batchGet", About::Stored),
            ("GET", "/v1/projects/p/locations/l/endpoints/openapi/responses/r", About::Stored),
            ("GET", "/v1/invoke/v1/responses/r", About::Stored),
            ("POST", "/v1/conversations", About::Stored),
            ("GET", "/v1/conversations/c/items", About::Stored),
        ] {
            let method: Method = method.parse().unwrap();
            assert_eq!(about(&method, path), expected, "{method} {path}");
        }
    }
}
