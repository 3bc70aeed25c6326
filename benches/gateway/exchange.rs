//! The requests and the responses, which are the same for all rows.

use std::fmt::Write as _;

use tower::BoxError;

/// The path at the upstream to which the sidecar sends a chat in project `p`.
pub const PATH: &str = "/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions";
/// The path of clients.
pub const CHAT: &str = "/v1/chat/completions";
/// The path at the upstream that gives Envoy a token.
pub const TOKEN_PATH: &str = "/token";
pub const PROJECT: &str = "p";
pub const LOCATION: &str = "us-central1";
pub const MODEL: &str = "google/gemini-2.5-flash";

/// The token that the proxies send instead of the client's key.
pub const TOKEN: &str = "ya29.a-token-of-the-usual-length-as-google-gives-it-to-a-service-account";

/// The client's key. Only the sidecar with client keys checks it.
pub const CLIENT_KEY: &str = "sk-of-the-usual-length-0123456789abcdef";

/// The number of events in a stream: 50 of text, and the one that marks the end.
pub const EVENTS: usize = 51;

/// The value of `user` in a request for a stream that sends one event, and then nothing.
pub const IDLE: &str = "idle";

/// A chat response in the format of Vertex AI.
pub const ANSWER: &str = r#"{"id":"2f1c6a0e-5b1f-4c34-9a1c-0d2f6f3a7b58","object":"chat.completion","created":1763000000,"model":"google/gemini-2.5-flash","choices":[{"index":0,"logprobs":null,"finish_reason":"stop","message":{"role":"assistant","content":"A reverse proxy stands in front of one server or of several, takes the requests that are meant for them, and passes each on to one that can answer it. What it adds on the way is what no server behind it has to know about: who may ask, how often, with whose credentials, and what is written down about it afterwards. The answer goes back the same way."}}],"usage":{"prompt_tokens":231,"completion_tokens":78,"total_tokens":309,"extra_properties":{"google":{"traffic_type":"ON_DEMAND"}}},"system_fingerprint":""}"#;

/// An event of a stream.
pub fn event(number: usize) -> String {
    format!(
        "data: {{\"id\":\"2f1c6a0e\",\"object\":\"chat.completion.chunk\",\"created\":1763000000,\
         \"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\
         \"assistant\",\"content\":\"word {number:2}\"}}}}]}}\n\n"
    )
}

pub const LAST_EVENT: &str = "data: [DONE]\n\n";

/// All events of a stream of this length.
pub fn events(number: usize) -> impl Iterator<Item = String> {
    (1..number).map(event).chain([LAST_EVENT.to_owned()])
}

/// The body that a client demands.
#[derive(Clone, Debug)]
pub enum Expected {
    /// Exactly these bytes, which the upstream sends.
    Exactly(Vec<u8>),
    /// These texts, from a proxy that writes the JSON again.
    Contains(Vec<String>),
}

/// The server of a row, as a client sees it.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The path of the requests.
    pub path: &'static str,
    /// The key, or the token.
    pub key: &'static str,
    /// Whether the row passes the bytes of the upstream's responses unchanged.
    pub unchanged: bool,
}

/// A request with 5 headers, as in OpenAI's client for Python, and a body of 1 KiB, and the response.
#[derive(Clone, Debug)]
pub struct Question {
    pub bytes: Vec<u8>,
    pub expected: Expected,
}

impl Question {
    /// A request for a complete response.
    pub fn chat(manner: Manner) -> Self {
        let words = ["goes back the same way."];
        Self {
            bytes: request(manner, ""),
            expected: expected(manner, ANSWER.as_bytes().to_vec(), &words),
        }
    }

    /// A request for a stream with this number of events.
    pub fn stream(manner: Manner, number: usize) -> Self {
        let all: String = events(number).collect();
        let last = format!("\"word {:2}\"", number - 1);
        Self {
            bytes: request(manner, &format!("\"stream\":true,\"max_tokens\":{number},")),
            expected: expected(manner, all.into_bytes(), &[&last, "[DONE]"]),
        }
    }

    /// A request for a stream with one event that does not end.
    pub fn idle(manner: Manner) -> Self {
        Self {
            bytes: request(manner, &format!("\"stream\":true,\"user\":\"{IDLE}\",")),
            expected: Expected::Exactly(Vec::new()),
        }
    }
}

fn expected(manner: Manner, bytes: Vec<u8>, words: &[&str]) -> Expected {
    if manner.unchanged {
        Expected::Exactly(bytes)
    } else {
        Expected::Contains(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

fn request(manner: Manner, fields: &str) -> Vec<u8> {
    let begin = format!(r#"{{{fields}"model":"{MODEL}","messages":[{{"role":"user","content":""#);
    let end = r#""}]}"#;
    let content = "why is this slow? ".repeat(64);
    let body = format!("{begin}{}{end}", &content[..1024 - begin.len() - end.len()]);
    let mut request = format!("POST {} HTTP/1.1\r\n", manner.path);
    for (name, value) in [
        ("host", "127.0.0.1"),
        ("accept", "application/json"),
        ("content-type", "application/json"),
        ("user-agent", "OpenAI/Python 2.8.1"),
        ("authorization", &format!("Bearer {}", manner.key)),
        ("content-length", &body.len().to_string()),
    ] {
        let _ = write!(request, "{name}: {value}\r\n");
    }
    (request + "\r\n" + &body).into_bytes()
}

/// Compares the body of a response with the expected one while it arrives.
#[derive(Debug)]
pub struct Check<'a> {
    expected: &'a Expected,
    compared: usize,
    right: bool,
    kept: Vec<u8>,
}

impl<'a> Check<'a> {
    pub fn new(expected: &'a Expected) -> Self {
        Self { expected, compared: 0, right: true, kept: Vec::new() }
    }

    pub fn feed(&mut self, data: &[u8]) {
        match self.expected {
            Expected::Exactly(bytes) => {
                self.right &= bytes[self.compared..].starts_with(data);
                self.compared += if self.right { data.len() } else { 0 };
            }
            Expected::Contains(_) => self.kept.extend_from_slice(data),
        }
    }

    pub fn end(self) -> Result<(), BoxError> {
        let right = match self.expected {
            Expected::Exactly(bytes) => self.right && self.compared == bytes.len(),
            Expected::Contains(words) => {
                let body = String::from_utf8_lossy(&self.kept);
                words.iter().all(|word| body.contains(word))
            }
        };
        if right { Ok(()) } else { Err("a wrong body".into()) }
    }
}
