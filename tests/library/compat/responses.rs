//! The cures of responses against the emulator, which sends the shapes that break OpenAI's clients.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};
use tower::{Layer as _, ServiceExt as _};
use tower_vertex::compat::{Cures, RequestBody, VertexCompat, VertexCompatLayer};
use tower_vertex_emulator::{
    ChatBehavior, ChoiceShape, Emulator, SignaturePlace, StopAfterCalls, StreamEvent, ToolStream,
    UsageShape,
};

use crate::common::{Http, Stack, key_source, stack};

const MODEL: &str = "google/gemini-3.1-pro-preview";

struct Vertex {
    emulator: Emulator,
    service: VertexCompat<Stack<RequestBody<Full<Bytes>>>>,
}

impl Vertex {
    async fn start(cures: Cures) -> Self {
        let emulator = Emulator::start().await.unwrap();
        let inner = stack(&emulator, key_source(&emulator), Http::One);
        Self { service: VertexCompatLayer::new(cures).layer(inner), emulator }
    }

    /// Sends a request with these messages. Returns the body of the response.
    async fn chat(&self, messages: &Value, stream: bool) -> String {
        let tool = |name| {
            let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
            json!({"type": "function", "function": {"name": name, "parameters": parameters}})
        };
        let body = json!({"model": MODEL, "messages": messages, "stream": stream,
            "tools": [tool("find_city"), tool("get_weather")]});
        let request = Request::post("/v1/chat/completions")
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(body.to_string()))
            .unwrap();
        let response = self.service.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// The message that a client of OpenAI's API builds from a stream.
    async fn streamed(&self, messages: &Value) -> Value {
        message_of(&self.chat(messages, true).await)
    }
}

/// Builds a message as openai-python's and openai-node's helpers do: strings of the same member are
/// joined, and the elements of a list belong together by their `index`.
fn message_of(stream: &str) -> Value {
    let mut message = json!({"tool_calls": []});
    let mut has_ended = false;
    for event in stream.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':')) {
        let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("no data: {event}"));
        if data == "[DONE]" {
            has_ended = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).unwrap_or_else(|_| panic!("no JSON: {data}"));
        for choice in chunk["choices"].as_array().expect("choices") {
            let delta = choice["delta"].as_object().expect("a delta");
            for (key, value) in delta {
                if key != "tool_calls" {
                    join(&mut message[key], value);
                }
            }
            for call in delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten() {
                let index = usize::try_from(call["index"].as_u64().expect("an index")).unwrap();
                let calls = message["tool_calls"].as_array_mut().unwrap();
                if index == calls.len() {
                    calls.push(json!({"type": "function", "function": {}}));
                }
                join(&mut calls[index]["id"], &call["id"]);
                for key in ["name", "arguments"] {
                    join(&mut calls[index]["function"][key], &call["function"][key]);
                }
            }
            join(&mut message["finish_reason"], &choice["finish_reason"]);
        }
    }
    assert!(has_ended, "{stream}");
    message
}

fn join(known: &mut Value, more: &Value) {
    if let Some(more) = more.as_str() {
        let known_text = known.as_str().unwrap_or_default();
        *known = format!("{known_text}{more}").into();
    }
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

/// Runs the loop of an agent that sends back the members of the message that OpenAI's API has.
/// Returns the names of the functions that it called.
async fn agent(vertex: &Vertex, messages: &mut Value) -> Vec<String> {
    let mut called = Vec::new();
    for _ in 0..4 {
        let message = vertex.streamed(messages).await;
        assert_eq!(message["role"], "assistant", "{message}");
        let calls = message["tool_calls"].as_array().unwrap().clone();
        let reason = if calls.is_empty() { "stop" } else { "tool_calls" };
        assert_eq!(message["finish_reason"], reason, "{message}");
        if calls.is_empty() {
            return called;
        }
        let list = messages.as_array_mut().unwrap();
        list.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
        for call in calls {
            called.push(call["function"]["name"].as_str().unwrap().to_owned());
            let arguments = call["function"]["arguments"].as_str().unwrap();
            assert!(serde_json::from_str::<Value>(arguments).unwrap().is_object(), "{arguments}");
            list.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "done"}));
        }
    }
    panic!("the agent has not ended");
}

#[tokio::test]
async fn an_agent_ends_its_turn_with_every_shape_of_streamed_calls() {
    let vertex = Vertex::start(Cures::default()).await;
    let streams = [
        ToolStream::Whole,
        ToolStream::OpenAi,
        ToolStream::NoIndex,
        ToolStream::NullIndex,
        ToolStream::IndexZero,
        ToolStream::EmptyIds,
        ToolStream::AsDocumented,
    ];
    let places = [SignaturePlace::OnCall, SignaturePlace::Trailing, SignaturePlace::TrailingCall];
    let stops = [StopAfterCalls::No, StopAfterCalls::SameChunk, StopAfterCalls::TwoChunks];
    let mut steps = 0;
    for tool_stream in streams {
        for (signature, stop_after_calls) in places.iter().zip(stops) {
            vertex.emulator.set_chat(ChatBehavior {
                tool_stream: Some(tool_stream),
                signature: *signature,
                stop_after_calls,
                ..ChatBehavior::default()
            });
            let context = format!("{tool_stream:?} {signature:?} {stop_after_calls:?}");
            let mut messages =
                user("Please call the tool find_city, then call the tool get_weather.");
            let called = agent(&vertex, &mut messages).await;
            assert_eq!(called, ["find_city", "get_weather"], "{context}");
            let mut messages = user("Please call the tools find_city and get_weather at once.");
            let called = agent(&vertex, &mut messages).await;
            assert_eq!(called, ["find_city", "get_weather"], "{context}");
            // One check after the first step, two after the second, and one of the parallel calls.
            steps += 4;
            let counts = vertex.emulator.signatures();
            assert_eq!(counts.valid, steps, "{context}: {counts:?}");
            assert_eq!(
                counts.placeholder + counts.missing + counts.wrong,
                0,
                "{context}: {counts:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_text_is_read_with_every_shape_of_events() {
    let vertex = Vertex::start(Cures::default()).await;
    let plain = vertex.streamed(&user("good morning")).await;
    assert!(plain["content"].as_str().unwrap().contains("good morning"), "{plain}");
    assert_eq!(plain["role"], "assistant");
    for events in [
        &[StreamEvent::KeepAlive][..],
        &[StreamEvent::EmptyData],
        &[StreamEvent::MultiLineData],
        &[StreamEvent::SingleNewlines],
        &[StreamEvent::KeepAlive, StreamEvent::EmptyData, StreamEvent::SingleNewlines],
        &[StreamEvent::KeepAlive, StreamEvent::MultiLineData, StreamEvent::SingleNewlines],
    ] {
        let stream_events = events.to_vec();
        vertex.emulator.set_chat(ChatBehavior { stream_events, ..ChatBehavior::default() });
        assert_eq!(vertex.streamed(&user("good morning")).await, plain, "{events:?}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_has_the_form_that_clients_raise() {
    let vertex = Vertex::start(Cures::default()).await;
    for event in [StreamEvent::Error, StreamEvent::BareError] {
        let stream_events = vec![event];
        vertex.emulator.set_chat(ChatBehavior { stream_events, ..ChatBehavior::default() });
        let stream = vertex.chat(&user("good morning"), true).await;
        let last = stream.trim_end().rsplit("\n\n").next().unwrap();
        let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert!(error["error"]["message"].is_string(), "{last}");
        assert!(error["error"]["code"].is_string(), "{last}");
        assert!(error["error"]["type"].is_string(), "{last}");
    }
}

#[tokio::test]
async fn blocked_and_empty_responses_have_the_members_of_openai() {
    let vertex = Vertex::start(Cures::default()).await;
    let reasons = [
        None,
        Some("content_filter: PROHIBITED_CONTENT"),
        Some("content_filter: RECITATION"),
        Some("function_call_filter: MALFORMED_FUNCTION_CALL"),
    ];
    let choices = [ChoiceShape::Whole, ChoiceShape::WithoutMessage, ChoiceShape::OnlyRole];
    for (reason, choice) in reasons.iter().flat_map(|reason| choices.map(|shape| (*reason, shape)))
    {
        let context = format!("{reason:?} {choice:?}");
        vertex.emulator.set_chat(ChatBehavior {
            finish_reason: reason.map(str::to_owned),
            choice,
            usage: UsageShape::WithoutCounts,
            ..ChatBehavior::default()
        });
        let body = vertex.chat(&user("good morning"), false).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let message = body["choices"][0]["message"].as_object().unwrap();
        assert_eq!(message["role"], "assistant", "{context}");
        assert!(message.contains_key("content"), "{context}");
        let expected = reason.filter(|_| choice != ChoiceShape::OnlyRole);
        let finish_reason = if expected.is_some() { "content_filter" } else { "stop" };
        assert_eq!(body["choices"][0]["finish_reason"], finish_reason, "{context}");
        assert_eq!(body["choices"][0]["native_finish_reason"].as_str(), expected, "{context}");
        for count in ["prompt_tokens", "completion_tokens", "total_tokens"] {
            assert!(body["usage"][count].is_u64(), "{context}: {}", body["usage"]);
        }
        let streamed = vertex.chat(&user("good morning"), true).await;
        message_of(&streamed);
    }
}

#[tokio::test]
async fn without_cures_the_bytes_are_those_of_vertex_ai() {
    let vertex = Vertex::start(Cures::none()).await;
    vertex.emulator.set_chat(ChatBehavior {
        stream_events: vec![StreamEvent::KeepAlive],
        ..ChatBehavior::default()
    });
    let stream = vertex.chat(&user("good morning"), true).await;
    assert!(stream.starts_with("data: : keepalive\n\n"));
    let mut roles = BTreeMap::new();
    for event in stream.split("\n\n") {
        *roles.entry(event.contains("\"role\":\"assistant\"")).or_insert(0) += 1;
    }
    assert!(roles[&true] > 1, "{stream}");
}
