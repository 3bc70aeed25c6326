//! Requests for a list of models, in the forms of the three protocols.
//!
//! | path | form |
//! |---|---|
//! | `/v1/models`, `/models` | OpenAI's; Anthropic's with the header `anthropic-version`; the Gemini API's with a key of its clients |
//! | `/v1beta/models`, `/v1alpha/models`, `/v1beta1/models` | the Gemini API's |
//! | `/v1beta1/publishers/google/models` | Vertex AI's, with or without a version, a project and a location |
//!
//! A name after the path requests the description of one model.

use http::{HeaderMap, Method, Request};
use percent_encoding::percent_decode_str;
use tower_vertex::route::Protocol;

/// The form of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    OpenAi,
    Anthropic,
    /// The Gemini API's.
    Gemini,
    /// Vertex AI's list of a publisher.
    Vertex {
        publisher: String,
    },
}

/// A request for all models, or for the description of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) form: Form,
    /// The decoded name of the one model.
    pub(crate) name: Option<String>,
    query: String,
}

impl Question {
    /// The request for models; `None` if it is for something else.
    pub(crate) fn of<B>(request: &Request<B>) -> Option<Self> {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        let (form, rest) = place(path, request.headers(), query)?;
        let name = match rest {
            "" | "/" => None,
            rest => {
                let name = percent_decode_str(rest.strip_prefix('/')?).decode_utf8_lossy();
                // `models/M:generateContent` is a method of a model. A name of the operator's may have
                // a colon, too, on the lists that have such names.
                let is_google = matches!(form, Form::Gemini | Form::Vertex { .. });
                if name.contains(':') && (is_google || *request.method() == Method::POST) {
                    return None;
                }
                Some(name.into_owned())
            }
        };
        Some(Self { form, name, query: query.to_owned() })
    }

    /// The first value of a parameter of the query. All of these have values without escapes, or with
    /// escapes of single characters.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(key, _)| *key == name)?;
        Some(percent_decode_str(value).decode_utf8_lossy().into_owned())
    }

    /// The number in a parameter, at least 1 and at most 1000, which is the limit of all services.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        Some(self.parameter(name)?.parse::<usize>().ok()?.clamp(1, 1000))
    }
}

/// The protocol of a request's client, which decides about the form of a refusal. The path of a list
/// does not say it.
pub(crate) fn protocol_of(path: &str, headers: &HeaderMap, query: Option<&str>) -> Protocol {
    match place(path, headers, query.unwrap_or_default()) {
        Some((form @ (Form::Anthropic | Form::Gemini), _)) => form.protocol(),
        _ => Protocol::of(path),
    }
}

/// The form of a list at this path, and the rest of the path.
fn place<'a>(path: &'a str, headers: &HeaderMap, query: &str) -> Option<(Form, &'a str)> {
    let (version, rest) = ["/v1", "/v1beta", "/v1beta1", "/v1alpha"]
        .into_iter()
        .find_map(|version| {
            let rest = path.strip_prefix(version)?;
            rest.starts_with('/').then_some((version, rest))
        })
        .unwrap_or(("", path));
    if let Some(rest) = rest.strip_prefix("/models") {
        let form = match version {
            "" | "/v1" => form_of(headers, query),
            _ => Form::Gemini,
        };
        return Some((form, rest));
    }
    if !matches!(version, "" | "/v1" | "/v1beta1") {
        return None;
    }
    let rest = match rest.strip_prefix("/projects/") {
        // The project and the location of the client do not matter, as for its requests.
        Some(rest) => {
            let (_project, rest) = rest.split_once("/locations/")?;
            rest.get(rest.find('/')?..)?
        }
        None => rest,
    };
    let (publisher, rest) = rest.strip_prefix("/publishers/")?.split_once('/')?;
    let rest = rest.strip_prefix("models")?;
    let publisher = publisher.to_owned();
    Some((Form::Vertex { publisher }, rest))
}

/// The form that a client of this request reads.
fn form_of(headers: &HeaderMap, query: &str) -> Form {
    let has_key = || {
        headers.contains_key("x-goog-api-key")
            || query.split('&').any(|pair| pair.starts_with("key="))
    };
    if headers.contains_key("anthropic-version") {
        Form::Anthropic
    } else if has_key() {
        Form::Gemini
    } else {
        Form::OpenAi
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &str, path: &str, headers: &[&str]) -> Option<(Form, Option<String>)> {
        let mut request = Request::builder().method(method).uri(path);
        for name in headers {
            request = request.header(*name, "x");
        }
        let question = Question::of(&request.body(()).unwrap())?;
        Some((question.form, question.name))
    }

    #[test]
    fn each_path_has_its_form() {
        let vertex = |publisher: &str| Form::Vertex { publisher: publisher.to_owned() };
        for (path, headers, form, name) in [
            ("/v1/models", &[][..], Form::OpenAi, None),
            ("/models/", &[], Form::OpenAi, None),
            ("/v1/models?x=1", &[], Form::OpenAi, None),
            ("/v1/models/google/gemini%2d3", &[], Form::OpenAi, Some("google/gemini-3")),
            ("/v1/models", &["anthropic-version"], Form::Anthropic, None),
            (
                "/models/claude-opus-5",
                &["anthropic-version"],
                Form::Anthropic,
                Some("claude-opus-5"),
            ),
            ("/v1/models", &["x-goog-api-key"], Form::Gemini, None),
            ("/v1/models?key=x", &[], Form::Gemini, None),
            ("/v1/models?monkey=x", &[], Form::OpenAi, None),
            ("/v1beta/models", &["anthropic-version"], Form::Gemini, None),
            ("/v1beta/models/gemini-3", &[], Form::Gemini, Some("gemini-3")),
            ("/v1alpha/models/", &[], Form::Gemini, None),
            ("/v1beta1/models", &[], Form::Gemini, None),
            ("/v1beta1/publishers/google/models", &[], vertex("google"), None),
            ("/publishers/google/models", &[], vertex("google"), None),
            ("/v1/publishers/qwen/models/x", &["x-goog-api-key"], vertex("qwen"), Some("x")),
            (
                "/v1beta1/projects/p/locations/us-central1/publishers/google/models/gemini-3",
                &[],
                vertex("google"),
                Some("gemini-3"),
            ),
        ] {
            let expected = Some((form, name.map(str::to_owned)));
            for method in ["GET", "HEAD", "POST"] {
                assert_eq!(asked(method, path, headers), expected, "{method} {path}");
            }
        }
        for path in [
            "/",
            "/v1",
            "/v1/modelsx",
            "/v2/models",
            "/v1/v1/models",
            "/v1/chat/completions",
            "/v1beta/publishers/google/models",
            "/v1beta1/publishers/google",
            "/v1beta1/publishers/google/modelsx",
            "/v1/projects/p/locations/l/models",
            "/v1/projects/p/locations/l",
            "/v1/projects/p/publishers/google/models",
        ] {
            assert_eq!(asked("GET", path, &[]), None, "{path}");
        }
    }

    #[test]
    fn a_method_of_a_model_is_no_question() {
        for (path, may_be_a_name) in [
            ("/v1/models/gemini-3:generateContent", true),
            ("/v1beta/models/gemini-3%3AgenerateContent", false),
            ("/v1/publishers/google/models/gemini-3:predict", false),
        ] {
            assert_eq!(asked("POST", path, &[]), None, "{path}");
            assert_eq!(asked("GET", path, &[]).is_some(), may_be_a_name, "{path}");
        }
    }

    #[test]
    fn a_parameter_is_decoded_and_limited() {
        let of = |query: &str| {
            let request = Request::get(format!("/v1/models?{query}")).body(()).unwrap();
            let question = Question::of(&request).unwrap();
            (question.number("limit"), question.parameter("after_id"))
        };
        assert_eq!(of("limit=5&after_id=a%40b"), (Some(5), Some("a@b".to_owned())));
        assert_eq!(of("limit=0&limit=7"), (Some(1), None));
        assert_eq!(of("limit=99999999"), (Some(1000), None));
        assert_eq!(of("limit=x&after_id="), (None, Some(String::new())));
        assert_eq!(of("&&=&limit"), (None, None));
    }
}
