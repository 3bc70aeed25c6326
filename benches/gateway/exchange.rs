//! The request and the response, which are the same for all rows.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use tower::BoxError;

/// The path at the upstream to which the sidecar sends a chat in project `p`.
pub const PATH: &str = "/v1/projects/p/locations/us-central1/endpoints/openapi/chat/completions";
pub const PROJECT: &str = "p";
pub const LOCATION: &str = "us-central1";

/// The client's key. Only the sidecar with client keys checks it.
pub const CLIENT_KEY: &str = "a-key-of-the-usual-length-0123456789";

/// The beginning of the body of a request for a stream.
pub const STREAMING: &str = r#"{"stream":true,"#;

/// The number of chunks in a stream, without the last event, which only marks the end.
pub const CHUNKS: usize = 20;

/// A chat response in the format of Vertex AI.
pub const ANSWER: &str = r#"{"id":"2f1c6a0e-5b1f-4c34-9a1c-0d2f6f3a7b58","object":"chat.completion","created":1763000000,"model":"google/gemini-2.5-flash","choices":[{"index":0,"logprobs":null,"finish_reason":"stop","message":{"role":"assistant","content":"A reverse proxy stands in front of one server or of several, takes the requests that are meant for them, and passes each on to one that can answer it. What it adds on the way is what no server behind it has to know about: who may ask, how often, with whose credentials, and what is written down about it afterwards. The answer goes back the same way."}}],"usage":{"prompt_tokens":231,"completion_tokens":78,"total_tokens":309,"extra_properties":{"google":{"traffic_type":"ON_DEMAND"}}},"system_fingerprint":""}"#;

/// An event of a stream.
pub fn event(number: usize) -> Bytes {
    Bytes::from(format!(
        "data: {{\"id\":\"2f1c6a0e\",\"object\":\"chat.completion.chunk\",\"created\":1763000000,\
         \"model\":\"google/gemini-2.5-flash\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\
         \"assistant\",\"content\":\"word {number:2}\"}}}}]}}\n\n"
    ))
}

pub fn last_event() -> Bytes {
    Bytes::from_static(b"data: [DONE]\n\n")
}

/// The request of a client: 5 headers, as in OpenAI's client for Python, and a body of 1 KiB.
#[derive(Clone, Debug)]
pub struct Question {
    request: Request<Full<Bytes>>,
    answer: Bytes,
}

impl Question {
    pub fn new(streaming: bool) -> Result<Self, http::Error> {
        let begin = if streaming { STREAMING } else { "{" };
        let model = r#""model":"google/gemini-2.5-flash","#;
        let begin = format!(r#"{begin}{model}"messages":[{{"role":"user","content":""#);
        let end = r#""}]}"#;
        let content = "why is this slow? ".repeat(64);
        let body = format!("{begin}{}{end}", &content[..1024 - begin.len() - end.len()]);
        let request = Request::post("/v1/chat/completions")
            .header(header::HOST, "127.0.0.1")
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "OpenAI/Python 2.8.1")
            .header(header::AUTHORIZATION, format!("Bearer {CLIENT_KEY}"))
            .body(Full::from(body))?;
        let events = || (0..CHUNKS).map(event).chain([last_event()]);
        let answer = if streaming { events().flatten().collect() } else { Bytes::from(ANSWER) };
        Ok(Self { request, answer })
    }

    /// Sends the request, and reads the whole response. Returns the time to the first byte of the
    /// body, or an error if the response is wrong.
    pub async fn ask(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
    ) -> Result<Duration, BoxError> {
        let began = Instant::now();
        connection.ready().await?;
        let response = connection.send_request(self.request.clone()).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut first = None;
        let mut missing = &self.answer[..];
        let mut right = status == StatusCode::OK;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            first.get_or_insert_with(|| began.elapsed());
            match missing.strip_prefix(&data[..]) {
                Some(rest) => missing = rest,
                None => right = false,
            }
        }
        match first {
            Some(first) if right && missing.is_empty() => Ok(first),
            _ => Err(format!("a wrong response, with status {status}").into()),
        }
    }
}
