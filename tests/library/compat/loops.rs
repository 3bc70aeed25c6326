//! Loops of tools over sockets, with a client that keeps only the members of OpenAI's tool calls.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};
use tower_vertex::{
    compat::{CompatBody, Cures, RequestBody, SignatureScope, VertexCompat, VertexCompatLayer},
    error_format::{ErrorBody, VertexError, VertexErrorLayer},
    replay::ReplayBody,
    retry::{VertexRetry, VertexRetryLayer},
};
use tower_vertex_emulator::{ChatBehavior, Emulator};

use super::script::{MODEL, cures};
use crate::common::{self, Http, key_source, upstream};

type Stack =
    VertexCompat<VertexRetry<VertexError<common::Stack<ReplayBody<RequestBody<Full<Bytes>>>>>>>;

fn stack(vertex: &Emulator, layer: &VertexCompatLayer) -> Stack {
    let errors =
        VertexErrorLayer::new().layer(common::stack(vertex, key_source(vertex), Http::One));
    layer.clone().upstream(upstream(vertex)).layer(VertexRetryLayer::new().layer(errors))
}

/// An agent with three tools.
struct Agent {
    stack: Stack,
    scope: SignatureScope,
    messages: Vec<Value>,
    streamed: bool,
}

impl Agent {
    fn new(stack: &Stack, prompt: &str, streamed: bool) -> Self {
        let messages = vec![json!({ "role": "user", "content": prompt })];
        Self { stack: stack.clone(), scope: SignatureScope::default(), messages, streamed }
    }

    async fn send(&self) -> Response<CompatBody<ErrorBody<hyper::body::Incoming>>> {
        let tool = |name| json!({ "type": "function", "function": { "name": name } });
        let tools = ["one", "two", "three"].map(tool);
        let body = json!({
            "model": MODEL,
            "messages": self.messages,
            "stream": self.streamed,
            "tools": tools,
        });
        let request = Request::post("https://api.openai.com/v1/chat/completions")
            .header("content-type", "application/json")
            .extension(self.scope.clone())
            .body(Full::from(body.to_string()))
            .unwrap();
        self.stack.clone().oneshot(request).await.unwrap()
    }

    /// Takes one step. Returns the names of the tools that were called, and the cures.
    async fn step(&mut self) -> (Vec<String>, Option<String>) {
        let response = self.send().await;
        let applied = cures(&response).map(str::to_owned);
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = std::str::from_utf8(&body).unwrap();
        assert_eq!(status, 200, "{body}");
        let calls = if self.streamed { streamed(body) } else { complete(body) };
        // The client knows `id`, `type` and `function` of a call, as most do.
        let own = calls.iter().map(
            |call| json!({ "id": call["id"], "type": "function", "function": call["function"] }),
        );
        let own: Vec<_> = own.collect();
        if !own.is_empty() {
            self.messages.push(json!({ "role": "assistant", "tool_calls": own }));
        }
        for call in &own {
            let result = json!({ "role": "tool", "tool_call_id": call["id"], "content": "done" });
            self.messages.push(result);
        }
        let names = own.iter().map(|call| call["function"]["name"].as_str().unwrap().to_owned());
        (names.collect(), applied)
    }
}

fn complete(body: &str) -> Vec<Value> {
    let body: Value = serde_json::from_str(body).unwrap();
    body["choices"][0]["message"]["tool_calls"].as_array().cloned().unwrap_or_default()
}

/// The calls of a stream, put together by their indexes as OpenAI's clients do.
fn streamed(body: &str) -> Vec<Value> {
    let mut calls: Vec<Value> = Vec::new();
    let data = body.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    for data in data.filter(|data| *data != "[DONE]") {
        let chunk: Value = serde_json::from_str(data).unwrap();
        let deltas = chunk["choices"][0]["delta"]["tool_calls"].as_array().cloned();
        for delta in deltas.unwrap_or_default() {
            let index = delta["index"].as_u64().unwrap() as usize;
            if calls.len() == index {
                calls.push(json!({ "function": { "name": "", "arguments": "" } }));
            }
            let call = &mut calls[index];
            if let Some(id) = delta["id"].as_str() {
                call["id"] = id.into();
            }
            for member in ["name", "arguments"] {
                let before = call["function"][member].as_str().unwrap();
                let more = delta["function"][member].as_str().unwrap_or_default();
                call["function"][member] = format!("{before}{more}").into();
            }
        }
    }
    calls
}

const THREE_STEPS: &str = "call the tool one, then call the tool two, then call the tool three";

#[tokio::test]
async fn a_client_that_drops_signatures_completes_a_loop_of_three_steps() {
    for tool_stream in ["whole", "no_index", "as_documented"] {
        let vertex = Emulator::start().await.unwrap();
        vertex.set_chat(chat_behavior(json!({ "tool_stream": tool_stream })));
        let layer = VertexCompatLayer::default();
        let stack = stack(&vertex, &layer);
        for streamed in [false, true] {
            let mut agent = Agent::new(&stack, THREE_STEPS, streamed);
            for (step, tool) in ["one", "two", "three"].into_iter().enumerate() {
                let (called, applied) = agent.step().await;
                assert_eq!(called, [tool]);
                assert_eq!(applied.as_deref(), (step > 0).then_some("signatures"));
            }
            assert_eq!(agent.step().await, (Vec::new(), Some("signatures".to_owned())));
        }
        let counts = vertex.signatures();
        assert_eq!((counts.placeholder, counts.missing, counts.wrong), (0, 0, 0), "{counts:?}");
        assert!(counts.valid >= 12, "{counts:?}");
        assert_eq!((layer.stats().missing, layer.stats().placeholders), (0, 0));
    }
}

fn chat_behavior(behavior: Value) -> ChatBehavior {
    serde_json::from_value(behavior).unwrap()
}

#[tokio::test]
async fn parallel_calls_and_a_signature_behind_them_are_restored() {
    for behavior in [json!({}), json!({ "signature": "trailing" })] {
        let vertex = Emulator::start().await.unwrap();
        vertex.set_chat(chat_behavior(behavior.clone()));
        let stack = stack(&vertex, &VertexCompatLayer::default());
        for streamed in [false, true] {
            let mut agent = Agent::new(&stack, "call the tools one and two at once", streamed);
            assert_eq!(agent.step().await.0, ["one", "two"]);
            let (called, applied) = agent.step().await;
            assert!(called.is_empty());
            assert_eq!(applied.as_deref(), Some("signatures"), "{behavior} {streamed}");
        }
        assert_eq!(vertex.signatures().placeholder, 0);
    }
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_loop_is_healed_by_the_placeholder() {
    for streamed in [false, true] {
        let vertex = Emulator::start().await.unwrap();
        let before = stack(&vertex, &VertexCompatLayer::default());
        let mut agent = Agent::new(&before, THREE_STEPS, streamed);
        agent.step().await;
        agent.step().await;
        agent.stack = stack(&vertex, &VertexCompatLayer::default());
        let (called, applied) = agent.step().await;
        assert_eq!(
            (&called[..], applied.as_deref()),
            (&["three".to_owned()][..], Some("placeholder_signature"))
        );
        // The newest step has a signature of its own again, and the older ones do not.
        let (called, applied) = agent.step().await;
        assert!(called.is_empty());
        assert_eq!(applied.as_deref(), Some("signatures, placeholder_signature"));
        assert!(vertex.signatures().placeholder > 0);
    }
}

#[tokio::test]
async fn without_the_cures_the_loop_ends_with_a_400() {
    let vertex = Emulator::start().await.unwrap();
    let stack = stack(&vertex, &VertexCompatLayer::new(Cures::none()));
    let mut agent = Agent::new(&stack, THREE_STEPS, false);
    agent.step().await;
    assert_eq!(agent.send().await.status(), 400);
}

#[tokio::test]
async fn callers_never_share_signatures() {
    let vertex = Emulator::start().await.unwrap();
    let layer = VertexCompatLayer::new(Cures::default().placeholder_signature(false));
    let stack = stack(&vertex, &layer);
    let mut agent = Agent::new(&stack, THREE_STEPS, false);
    agent.scope = SignatureScope::new("team-a");
    agent.step().await;
    let own = std::mem::replace(&mut agent.scope, SignatureScope::new("team-b"));
    assert_eq!(agent.send().await.status(), 400);
    agent.scope = own;
    assert_eq!(agent.step().await.0, ["two"]);
}
