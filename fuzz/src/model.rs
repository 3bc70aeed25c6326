//! The search for `model` in a body, and the edit of its value, in comparison with serde_json.

use std::{cell::RefCell, rc::Rc, sync::LazyLock};

use http::{Request, Response};
use tower::Layer as _;
use tower_vertex::{
    Error,
    error::ModelError,
    model::{
        ModelRoute, ModelTable, ReadModel, RequestedModel, StoredReferences, UpstreamModel,
        VertexModelLayer,
    },
    route::Upstream,
};

use crate::{
    body::{End, Pieces, call, inner},
    input::Input,
    json,
};

static LAYER: LazyLock<VertexModelLayer> = LazyLock::new(|| {
    let table = ModelTable::builder(Upstream::new("p", "us-central1").unwrap())
        .route("alias", ModelRoute::new().model("google/a \"quoted\" name"))
        .route("short", ModelRoute::new().model("m"))
        .route("mine", ModelRoute::new().endpoint_id("123"))
        .route("claude-x", ModelRoute::new().publisher("anthropic").model("claude-y"))
        .build();
    VertexModelLayer::new(table.unwrap()).body_limit(1 << 20)
});

/// The path, and whether it is one of Anthropic's.
const PATHS: [(&str, bool); 3] =
    [("/v1/chat/completions", false), ("/v1/messages", true), ("/v1/messages/count_tokens", true)];

/// The members that the layer may change, besides `model`.
const VERSION: &str = "anthropic_version";

type Sent = (http::request::Parts, Vec<u8>);

/// Controls: the path, and the pieces. Text: the body.
pub fn run(data: &[u8]) {
    let Some(mut input) = Input::of(data) else { return };
    let (path, is_message) = PATHS[input.choose(PATHS.len())];
    let pieces = input.pieces();
    let result = send(path, &pieces);
    let again = send(path, &[input.text]);
    assert_eq!(result.as_ref().map(|sent| &sent.1), again.as_ref().map(|sent| &sent.1));
    if json::depth(input.text) > 1000 {
        return;
    }
    check(path, is_message, input.text, result);
    for padded in at_seams(input.text) {
        let bytes: Vec<&[u8]> = padded.chunks(1).collect();
        check(path, is_message, &padded, send(path, &bytes));
    }
}

/// The text with spaces before it, so that a `model` begins or ends where a piece of the body does. The layer
/// puts bytes that come one by one into pieces, which begin at multiples of 64 in a build for fuzzing.
fn at_seams(text: &[u8]) -> Vec<Vec<u8>> {
    const PIECE: usize = 64;
    let text = std::str::from_utf8(text).ok();
    let Some((text, members)) = text.and_then(|text| Some((text, json::members(text)?))) else {
        return Vec::new();
    };
    let model = members.iter().find(|(_, key, _)| key == "model");
    let edges = model.map(|(key, _, value)| {
        let (key, start) = (json::position(text, key), json::position(text, value));
        [key, start, start + value.len()]
    });
    let padded = |edge: usize| {
        let mut padded = vec![b' '; PIECE - edge % PIECE];
        padded.extend_from_slice(text.as_bytes());
        padded
    };
    edges.into_iter().flatten().map(padded).collect()
}

fn check(path: &str, is_message: bool, text: &[u8], result: Result<Sent, ModelError>) {
    let members = std::str::from_utf8(text).ok().and_then(json::members);
    match is_message {
        false => check_chat(text, members.as_deref(), result),
        true => check_message(path, text, members.as_deref(), result),
    }
}

/// The request that the layer sends, or its refusal.
fn send(path: &str, pieces: &[&[u8]]) -> Result<Sent, ModelError> {
    let sent: Rc<RefCell<Option<Sent>>> = Rc::default();
    let place = Rc::clone(&sent);
    let mut service = LAYER.layer(inner(move |request: Request<Vec<u8>>| {
        *place.borrow_mut() = Some(request.into_parts());
        Response::new(())
    }));
    let request = Request::post(path)
        .extension(ReadModel)
        .extension(StoredReferences::Unread)
        .body(Pieces::new(pieces, End::Complete).waiting())
        .unwrap();
    let result = call(&mut service, request);
    drop(service);
    match result {
        Ok(_) => Ok(sent.take().unwrap()),
        Err(error) => match *error.downcast::<Error>().unwrap() {
            Error::Model(error) => Err(error),
            other => panic!("{other}"),
        },
    }
}

type Members<'a> = [(&'a str, String, &'a str)];

/// The outcome for the top-level `model` of a body, by the documentation of `model`.
enum Expected {
    /// The body stays.
    None,
    /// The values with this name are replaced.
    Name(String),
    Refused,
}

fn expected(members: Option<&Members<'_>>) -> Expected {
    let Some(members) = members else { return Expected::None };
    let mut values = Vec::new();
    for (_, key, value) in members {
        if key == "model" {
            values.push(*value);
        }
    }
    let has_other_case = members.iter().any(|(_, key, _)| {
        key != "model" && key.eq_ignore_ascii_case("model") && key.len() <= 1024
    });
    let mut names = Vec::new();
    for value in &values {
        names.push(match value.as_bytes().first() {
            Some(b'"') => match serde_json::from_str::<String>(value) {
                Ok(name) => Some(name),
                // Half a surrogate pair: not every parser reads this text.
                Err(_) => return Expected::None,
            },
            Some(b'n') => None,
            _ => return refused_unless_broken(members),
        });
    }
    let Some(first) = names.first() else { return Expected::None };
    let strings = names.iter().flatten().count();
    if has_other_case
        || names.iter().any(|name| name != first)
        || strings > 64
        || names.iter().flatten().any(|name| name.len() > 1024)
    {
        return refused_unless_broken(members);
    }
    match first {
        Some(name) => Expected::Name(name.clone()),
        None => Expected::None,
    }
}

/// A text with half a surrogate pair in a name is not JSON, regardless of its other mistakes.
fn refused_unless_broken(members: &Members<'_>) -> Expected {
    let is_broken = members.iter().any(|(_, key, value)| {
        key == "model" && value.starts_with('"') && serde_json::from_str::<String>(value).is_err()
    });
    if is_broken { Expected::None } else { Expected::Refused }
}

fn check_chat(text: &[u8], members: Option<&Members<'_>>, result: Result<Sent, ModelError>) {
    match (expected(members), result) {
        (Expected::Refused, Err(_)) => {}
        (Expected::None, Ok((head, body))) => {
            assert_eq!(body, text, "the body without a model was changed");
            assert_eq!(head.extensions.get::<UpstreamModel>(), None);
        }
        (Expected::Name(name), Ok((head, body))) => {
            let requested = head.extensions.get::<RequestedModel>().unwrap();
            assert_eq!(requested.as_str(), name);
            let upstream = head.extensions.get::<UpstreamModel>().unwrap().as_str();
            let text = std::str::from_utf8(text).unwrap();
            let new = match upstream == name {
                true => None,
                false => Some(serde_json::Value::from(upstream).to_string()),
            };
            let spans = members.unwrap().iter().filter(|(_, key, _)| key == "model");
            let (mut spliced, mut at) = (String::new(), 0);
            for (_, _, value) in spans {
                let start = json::position(text, value);
                spliced += &text[at..start];
                spliced += new.as_deref().unwrap_or(value);
                at = start + value.len();
            }
            spliced += &text[at..];
            assert_eq!(String::from_utf8_lossy(&body), spliced);
        }
        (Expected::Refused, Ok(_)) => panic!("an ambiguous model was accepted"),
        (Expected::None | Expected::Name(_), Err(error)) => panic!("refused: {error}"),
    }
}

fn check_message(
    path: &str,
    text: &[u8],
    members: Option<&Members<'_>>,
    result: Result<Sent, ModelError>,
) {
    let Ok((head, body)) = result else { return };
    let members = members.expect("a message that serde_json does not read was accepted");
    let Expected::Name(name) = expected(Some(members)) else { panic!("no model was accepted") };
    assert!(!name.is_empty());
    let body = std::str::from_utf8(&body).unwrap();
    let after = json::members(body).expect("the edited message is JSON");
    let counts = path.ends_with("count_tokens");
    let of = |members: &Members<'_>, added: bool| -> Vec<(String, String)> {
        let kept =
            members.iter().filter(|(_, key, _)| key != "model" && !(added && key == VERSION));
        kept.map(|(key, _, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let had_version = members.iter().any(|(_, key, _)| key == VERSION);
    assert_eq!(of(members, false), of(&after, !had_version));
    let versions = after.iter().filter(|(_, key, _)| key == VERSION).count();
    assert_eq!(versions, 1);
    let models: Vec<&str> =
        after.iter().filter(|(_, key, _)| key == "model").map(|(_, _, value)| *value).collect();
    assert_eq!(models.is_empty(), !counts, "{body}");
    // Bytes between the other members stay, too: all but whitespace is in the members.
    let streams = members.iter().rfind(|(_, key, _)| key == "stream").map(|(_, _, value)| *value);
    let method = head.uri.path().rsplit_once(':').unwrap().1;
    let expected =
        if streams == Some("true") && !counts { "streamRawPredict" } else { "rawPredict" };
    assert_eq!(method, expected, "{}", String::from_utf8_lossy(text));
}
