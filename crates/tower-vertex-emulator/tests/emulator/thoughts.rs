//! Thoughts, images, system messages, and the formats of partner models.

use super::*;

const THOUGHTS: &str = "The user wants a response. I will choose one. ";

fn thinking(more: Value) -> Value {
    let mut google = json!({ "thinking_config": { "include_thoughts": true } });
    google.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "extra_body": { "google": google } })
}

async fn content(bench: &Bench, model: &str, messages: &[Value], more: Value) -> Value {
    let answer = bench.post(CHAT, &chat_with(model, messages, more)).await.json();
    answer["choices"][0]["message"]["content"].clone()
}

async fn deltas(bench: &Bench, model: &str, mut more: Value) -> Vec<Value> {
    more["stream"] = true.into();
    let answer = bench.post(CHAT, &chat_with(model, &[user("hello")], more)).await;
    let chunks = json_events(answer.text());
    chunks.iter().map(|chunk| chunk["choices"][0]["delta"].clone()).collect()
}

fn joined(deltas: &[Value], member: &str) -> String {
    deltas.iter().filter_map(|delta| delta[member].as_str()).collect()
}

#[tokio::test]
async fn thoughts_come_without_tags_and_with_a_flag_in_a_stream() {
    let bench = Bench::new().await;
    let both = format!("{THOUGHTS}{ECHO}");
    assert_eq!(content(&bench, MODEL, &[user("hello")], thinking(json!({}))).await, both);
    let flagged = |delta: &&Value| delta["extra_content"]["google"]["thought"] == true;
    let streamed = deltas(&bench, MODEL, thinking(json!({}))).await;
    let thoughts: Vec<Value> = streamed.iter().filter(flagged).cloned().collect();
    assert_eq!(joined(&thoughts, "content"), THOUGHTS);
    assert_eq!(joined(&streamed, "content"), both);
    bench.control("PUT", "chat", json!({ "thoughts": "nothing" })).await;
    let streamed = deltas(&bench, MODEL, thinking(json!({}))).await;
    assert_eq!(streamed.iter().filter(flagged).count(), 0);
    assert_eq!(joined(&streamed, "content"), both);
    // The field has its meaning in one place.
    for more in [
        thinking(json!({}))["extra_body"].clone(),
        json!({ "thinking_config": { "include_thoughts": true } }),
    ] {
        assert_eq!(content(&bench, MODEL, &[user("hello")], more).await, ECHO);
    }
}

#[tokio::test]
async fn a_marker_tags_the_thoughts_and_strips_them_from_later_requests() {
    let bench = Bench::new().await;
    let marker = || thinking(json!({ "thought_tag_marker": "think" }));
    let tagged = format!("<think>{THOUGHTS}</think>{ECHO}");
    assert_eq!(content(&bench, MODEL, &[user("hello")], marker()).await, tagged);
    let streamed = deltas(&bench, MODEL, marker()).await;
    assert_eq!(joined(&streamed, "content"), tagged);
    assert!(streamed.iter().all(|delta| delta.get("extra_content").is_none()));

    let messages = [
        user("hello"),
        json!({ "role": "assistant", "content": tagged }),
        user("repeat your last message"),
    ];
    let off = json!({ "extra_body": { "google": { "thought_tag_marker": "think" } } });
    assert_eq!(content(&bench, MODEL, &messages, off).await, ECHO);
    assert_eq!(content(&bench, MODEL, &messages, json!({})).await, tagged);
}

#[tokio::test]
async fn gemini_follows_its_last_system_message_and_others_follow_all() {
    let bench = Bench::new().await;
    let message = |role: &str, content: &str| json!({ "role": role, "content": content });
    let messages = [
        message("system", "start with FOO"),
        message("system", "end with BAR"),
        message("developer", "be brief"),
        user("Please repeat the system message."),
    ];
    assert_eq!(content(&bench, MODEL, &messages, json!({})).await, "end with BAR");
    let all = "start with FOO\n\nend with BAR\n\nbe brief";
    let partner = "meta/llama-3.3-70b-instruct-maas";
    assert_eq!(content(&bench, partner, &messages, json!({})).await, all);
    assert_eq!(content(&bench, MODEL, &messages[3..], json!({})).await, "");
}

#[tokio::test]
async fn an_image_is_in_the_member_audio() {
    let bench = Bench::new().await;
    let model = "google/gemini-3-pro-image-preview";
    let more = || json!({ "modalities": ["image"] });
    let answer = bench.post(CHAT, &chat_with(model, &[user("hello")], more())).await.json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message.get("content"), Some(&Value::Null));
    let audio = &message["audio"];
    assert_eq!(audio["extra_content"]["google"]["mime_type"], "image/png");
    let image = STANDARD.decode(audio["data"].as_str().unwrap()).unwrap();
    assert!(image.starts_with(b"\x89PNG"));
    assert!(message["extra_content"]["google"]["thought_signature"].is_string());
    let streamed = deltas(&bench, model, more()).await;
    assert_eq!(streamed.len(), 1);
    assert_eq!(streamed[0]["audio"], *audio);
    assert_eq!(content(&bench, MODEL, &[user("hello")], more()).await, ECHO);
}

#[tokio::test]
async fn partner_models_think_in_their_own_formats() {
    let bench = Bench::new().await;
    let deepseek = "deepseek-ai/deepseek-r1-0528-maas";
    let said = content(&bench, deepseek, &[user("hello")], json!({})).await;
    assert_eq!(said, format!("<think>\n{THOUGHTS}\n</think>\n\n{ECHO}"));
    let gpt = "openai/gpt-oss-120b-maas";
    let answer = bench.post(CHAT, &chat_with(gpt, &[user("hello")], json!({}))).await.json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(
        (&message["content"], &message["reasoning_content"]),
        (&json!(ECHO), &json!(THOUGHTS))
    );
    let streamed = deltas(&bench, gpt, json!({})).await;
    assert_eq!(joined(&streamed, "content"), ECHO);
    assert_eq!(joined(&streamed, "reasoning_content"), THOUGHTS);
}

#[tokio::test]
async fn a_partner_stream_has_its_usage_in_a_chunk_of_its_own() {
    let bench = Bench::new().await;
    let model = "meta/llama-3.3-70b-instruct-maas";
    for (asks, length) in [(false, 5), (true, 6)] {
        let more = json!({ "stream": true, "stream_options": { "include_usage": asks } });
        let answer = bench.post(CHAT, &chat_with(model, &[user("hello")], more)).await;
        let chunks = json_events(answer.text());
        assert_eq!(chunks.len(), length);
        assert_eq!(chunks[4]["choices"][0]["finish_reason"], "stop");
        assert_eq!(chunks[4].get("usage"), None);
        let roles = chunks.iter().filter(|c| c["choices"][0]["delta"].get("role").is_some());
        assert_eq!(roles.count(), 1);
        if asks {
            assert_eq!(chunks[5]["choices"], json!([]));
            assert!(chunks[5]["usage"]["total_tokens"].is_u64());
        }
    }
}
