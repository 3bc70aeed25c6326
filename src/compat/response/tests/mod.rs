//! Behaviour of whole streams and bodies.

mod bodies;
mod events;
mod properties;
mod responses;
mod signatures;
mod streams;
mod tool_calls;

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::Value as Json;

use super::*;
use crate::compat::Cures;

/// Two parallel calls, with `stream_function_call_arguments`, from Google's page of examples.
const DOCUMENTED_ARGUMENTS: &str = include_str!("documented_arguments.txt");

fn context(cures: Cures) -> ResponseContext {
    ResponseContext { cures, operation: Operation::Chat { usage_chunk: false }, signatures: None }
}

/// The output for a stream that arrives in these chunks.
fn stream_of<'a>(context: &ResponseContext, chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut cures = StreamCures::new(context.clone());
    let mut ready = VecDeque::new();
    for chunk in chunks {
        cures.push(Bytes::copy_from_slice(chunk), &mut ready);
    }
    ready.push_back(cures.finish());
    assert!(cures.is_empty());
    String::from_utf8(ready.into_iter().flatten().collect()).unwrap()
}

/// The output for a stream. It is the same for every division into chunks.
fn stream_with(context: &ResponseContext, text: &str) -> String {
    let expected = stream_of(context, [text.as_bytes()]);
    for size in [1, 2, 3, 7, 64, 300, 1000] {
        let output = stream_of(context, text.as_bytes().chunks(size));
        assert_eq!(output, expected, "in chunks of {size} bytes");
    }
    let events: Vec<_> = text.split_inclusive("\n\n").map(str::as_bytes).collect();
    assert_eq!(stream_of(context, events), expected, "by events");
    let step = 1 + text.len() / 100;
    for at in (0..text.len()).step_by(step) {
        let (first, second) = text.as_bytes().split_at(at);
        assert_eq!(stream_of(context, [first, second]), expected, "divided at {at}");
    }
    expected
}

fn stream(cures: Cures, text: &str) -> String {
    stream_with(&context(cures), text)
}

fn body(cures: Cures, text: &str) -> String {
    body_with(&context(cures), text)
}

fn body_with(context: &ResponseContext, text: &str) -> String {
    let body = cure_body(context, Bytes::copy_from_slice(text.as_bytes()));
    String::from_utf8(body.to_vec()).unwrap()
}

/// The JSON texts of a stream, whose events have one `data` line each.
fn texts(stream: &str) -> Vec<Json> {
    let events = stream.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':'));
    let data = events.map(|event| event.strip_prefix("data: ").unwrap());
    data.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// A chunk as Gemini sends it, with these members of the choice.
fn chunk(choice: &str) -> String {
    format!(
        "data: {{\"choices\":[{{{choice},\"index\":0,\"logprobs\":null}}],\"created\":1770850461,\
         \"id\":\"nQiNafGyF5rw998PstqooAY\",\"model\":\"google/gemini-2.5-flash\",\
         \"object\":\"chat.completion.chunk\",\"system_fingerprint\":\"\"}}\n\n"
    )
}

/// A chunk with this text.
fn text_chunk(text: &str) -> String {
    chunk(&format!("\"delta\":{{\"content\":\"{text}\",\"role\":\"assistant\"}}"))
}

/// A chunk with these tool calls.
fn calls_chunk(calls: &str) -> String {
    chunk(&format!("\"delta\":{{\"role\":\"assistant\",\"tool_calls\":[{calls}]}}"))
}

const DONE: &str = "data: [DONE]\n\n";

/// A stream as OpenAI sends it, with text, two parallel calls and usage.
const OPENAI: &str = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","service_tier":"default","choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{"content":"Hi \"role\" \n"},"logprobs":null,"finish_reason":null}],"usage":null}

: comment

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{}"}}]},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"{\"a\":"}}]},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"function":{"arguments":"1}"}}]},"finish_reason":null}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":null}

data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":9,"total_tokens":10,"completion_tokens_details":{"reasoning_tokens":4}}}

data: [DONE]

"#;
