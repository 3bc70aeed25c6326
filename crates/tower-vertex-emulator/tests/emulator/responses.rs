//! The Responses API.

use super::*;

const GROK: &str = "xai/grok-4.1-fast-reasoning";

fn path() -> String {
    format!("{OPENAPI}/responses")
}

fn input(input: impl Into<Value>, more: Value) -> Value {
    let mut body = json!({ "model": GROK, "input": input.into() });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn ask(bench: &Bench, body: &Value) -> Value {
    let answer = bench.post(&path(), body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

/// An emulator that serves all models, and stored responses.
async fn any() -> Bench {
    let behavior = ChatBehavior { responses: ResponsesModels::Any, ..ChatBehavior::default() };
    Bench::over(Emulator::builder().chat(behavior).start().await.unwrap(), Version::HTTP_11)
}

fn tools() -> Value {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tool = |name: &str| json!({ "type": "function", "name": name, "parameters": parameters });
    json!([tool("one"), tool("two"), { "type": "web_search" }])
}

#[tokio::test]
async fn a_response_has_the_members_of_groks() {
    let bench = Bench::new().await;
    let response = ask(&bench, &input("hello", json!({}))).await;
    let id = response["id"].as_str().unwrap();
    assert_eq!(id.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
    assert_eq!(response["object"], "response");
    assert_eq!(response["status"], "completed");
    assert_eq!(response["store"], false);
    assert_eq!(response["reasoning"], json!({ "effort": "medium", "summary": "detailed" }));
    assert!(response["completed_at"].is_u64());
    for name in ["background", "max_tool_calls", "service_tier", "top_logprobs", "user"] {
        assert!(response.get(name).is_some(), "{name}");
    }
    let [message] = &response["output"].as_array().unwrap()[..] else { panic!("{response}") };
    assert_eq!(message["content"][0]["text"], ECHO);
    assert_eq!(message["content"][0]["type"], "output_text");
    let usage = &response["usage"];
    assert_eq!(usage["num_sources_used"], 0);
    assert_eq!(usage["input_tokens_details"], json!({ "cached_tokens": 0 }));
    let count = |name: &str| usage[name].as_u64().unwrap();
    assert_eq!(count("total_tokens"), count("input_tokens") + count("output_tokens"));
    assert!(usage["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn the_input_can_be_a_text_messages_or_parts() {
    let bench = Bench::new().await;
    let parts = json!([{ "type": "input_text", "text": "hello" }]);
    for given in [json!([{ "role": "user", "content": parts }]), parts, json!(["hello"])] {
        let response = ask(&bench, &input(given, json!({}))).await;
        assert_eq!(response["output"][0]["content"][0]["text"], ECHO);
    }
    let more = json!({ "instructions": "be brief" });
    let response = ask(&bench, &input("repeat the system message", more)).await;
    assert_eq!(response["output"][0]["content"][0]["text"], "be brief");
    for wrong in [Value::Null, json!(1)] {
        let error = bench.post(&path(), input(wrong, json!({}))).await.error(true);
        assert_eq!(error["status"], "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn a_loop_of_tools_runs_to_its_end() {
    let bench = Bench::new().await;
    let prompt = "call the tool one, then call the tools one and two at once";
    let mut items = vec![json!({ "role": "user", "content": prompt })];
    for names in [&["one"][..], &["one", "two"]] {
        let body = input(items.clone(), json!({ "tools": tools() }));
        let output = ask(&bench, &body).await["output"].as_array().unwrap().clone();
        let called: Vec<&str> = output.iter().map(|call| call["name"].as_str().unwrap()).collect();
        assert_eq!(called, names);
        for (nth, call) in output.iter().enumerate() {
            assert_eq!(
                (&call["type"], &call["status"]),
                (&json!("function_call"), &json!("completed"))
            );
            assert_eq!(call["arguments"], r#"{"city":"example"}"#);
            let call_id = call["call_id"].as_str().unwrap();
            assert!(call_id.starts_with("call-") && call_id.ends_with(&format!("-{nth}")));
            assert!(call["id"].as_str().unwrap().starts_with("fc_"));
        }
        let result = |call: &Value| json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "ok" });
        let results: Vec<Value> = output.iter().map(result).collect();
        items.extend(output);
        items.extend(results);
    }
    let last = ask(&bench, &input(items, json!({ "tools": tools() }))).await;
    let text = last["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("The tool said: ok"), "{text}");
}

#[tokio::test]
async fn the_choice_of_a_tool_is_obeyed() {
    let bench = Bench::new().await;
    for (choice, name) in [
        (json!("none"), Value::Null),
        (json!("auto"), Value::Null),
        (json!("required"), json!("one")),
        (json!({ "type": "function", "name": "two" }), json!("two")),
    ] {
        let more = json!({ "tools": tools(), "tool_choice": choice });
        let output = ask(&bench, &input("hello", more)).await["output"].clone();
        assert_eq!(output[0]["name"], name, "{choice}");
    }
    let more = json!({ "tools": tools(), "tool_choice": { "type": "function", "name": "six" } });
    let error = bench.post(&path(), input("hello", more)).await.error(true);
    assert_eq!(error["status"], "INVALID_ARGUMENT");
}

#[tokio::test]
async fn a_text_has_the_requested_format_and_length() {
    let bench = Bench::new().await;
    let schema = json!({ "type": "object", "properties": { "word": { "type": "string" } } });
    let format =
        json!({ "type": "json_schema", "name": "words", "strict": true, "schema": schema });
    let response = ask(&bench, &input("hello", json!({ "text": { "format": format } }))).await;
    assert_eq!(response["output"][0]["content"][0]["text"], r#"{"word":"hello"}"#);
    assert_eq!(response["text"]["format"], format);
    let model = "xai/grok-4.1-fast-non-reasoning";
    let more = json!({ "max_output_tokens": 2, "model": model });
    let response = ask(&bench, &input("hello", more)).await;
    assert_eq!(response["output"][0]["content"][0]["text"], "This is ");
    assert_eq!(response["status"], "incomplete");
    assert_eq!(response["incomplete_details"], json!({ "reason": "max_output_tokens" }));
    // The thoughts took all tokens.
    let response = ask(&bench, &input("hello", json!({ "max_output_tokens": 2 }))).await;
    assert_eq!((&response["output"], &response["status"]), (&json!([]), &json!("incomplete")));
}

#[tokio::test]
async fn a_streamed_text_goes_from_created_to_completed() {
    let bench = Bench::new().await;
    let answer = bench.post(&path(), input("hello", json!({ "stream": true }))).await;
    let events = json_events(answer.text());
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
    }
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds[..4],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]
    );
    assert_eq!(
        kinds[9..],
        [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(deltas, ECHO);
    let last = events.last().unwrap();
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], ECHO);
}

#[tokio::test]
async fn streamed_calls_have_events_of_their_own() {
    let bench = Bench::new().await;
    let more = json!({ "tools": tools(), "stream": true });
    let answer = bench.post(&path(), input("call the tools one and two at once", more)).await;
    let events = json_events(answer.text());
    let output = &events.last().unwrap()["response"]["output"];
    for (index, name) in ["one", "two"].into_iter().enumerate() {
        let item = &output[index];
        let of_item: Vec<&Value> =
            events.iter().filter(|event| event["output_index"] == index).collect();
        let (first, last) = (of_item[0], of_item[of_item.len() - 1]);
        assert_eq!(first["type"], "response.output_item.added");
        assert_eq!(
            (&first["item"]["arguments"], &first["item"]["name"]),
            (&json!(""), &json!(name))
        );
        assert_eq!(last["type"], "response.output_item.done");
        assert_eq!(last["item"], *item);
        let done = of_item[of_item.len() - 2];
        assert_eq!(done["type"], "response.function_call_arguments.done");
        assert_eq!((&done["arguments"], &done["item_id"]), (&item["arguments"], &item["id"]));
        let deltas: String = of_item.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(deltas, r#"{"city":"example"}"#);
    }
}

#[tokio::test]
async fn grok_stores_nothing() {
    let bench = Bench::new().await;
    for more in [
        json!({ "store": true }),
        json!({ "previous_response_id": "1" }),
        json!({ "background": true }),
    ] {
        let error = bench.post(&path(), input("hello", more.clone())).await.error(true);
        assert_eq!(error["status"], "INVALID_ARGUMENT", "{more}");
        let name = more.as_object().unwrap().keys().next().unwrap();
        assert!(error["message"].as_str().unwrap().contains(name), "{error}");
    }
    let response = ask(&bench, &input("hello", json!({ "store": false }))).await;
    let one = format!("{}/{}", path(), response["id"].as_str().unwrap());
    assert_eq!(bench.get(&one).await.error(true)["status"], "NOT_FOUND");
}

#[tokio::test]
async fn only_grok_is_served_unless_a_setting_says_so() {
    let bench = Bench::new().await;
    let body = input("hello", json!({ "model": MODEL }));
    let error = bench.post(&path(), &body).await.error(true);
    assert_eq!(error["status"], "FAILED_PRECONDITION");
    bench.control("PUT", "chat", json!({ "responses": "any" })).await;
    assert_eq!(ask(&bench, &body).await["model"], MODEL);
    let unknown = input("hello", json!({ "model": "google/gemini-9-ultra" }));
    assert_eq!(bench.post(&path(), unknown).await.status, StatusCode::NOT_FOUND);
    let embeds = input("hello", json!({ "model": "google/text-embedding-005" }));
    assert_eq!(bench.post(&path(), embeds).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_stored_response_can_be_fetched_and_deleted() {
    let bench = any().await;
    let response = ask(&bench, &input("hello", json!({}))).await;
    assert_eq!(response["store"], true);
    let one = format!("{}/{}", path(), response["id"].as_str().unwrap());
    assert_eq!(bench.get(&one).await.json(), response);
    let delete = || bench.request(Method::DELETE, &one).body(full("")).unwrap();
    assert_eq!(bench.send(delete()).await.json()["deleted"], true);
    assert_eq!(bench.send(delete()).await.error(true)["status"], "NOT_FOUND");
    assert_eq!(bench.get(&one).await.status, StatusCode::NOT_FOUND);
    let streamed = bench.post(&path(), input("hello", json!({ "stream": true }))).await;
    let last = json_events(streamed.text()).pop().unwrap();
    let id = last["response"]["id"].as_str().unwrap();
    assert_eq!(bench.get(&format!("{}/{id}", path())).await.json(), last["response"]);
}

#[tokio::test]
async fn a_stored_response_can_be_continued() {
    let bench = any().await;
    let more = json!({ "tools": tools(), "instructions": "be brief" });
    let first = ask(&bench, &input("call the tool one, then call the tool two", more)).await;
    let call = &first["output"][0];
    assert_eq!(call["name"], "one");
    let result =
        json!([{ "type": "function_call_output", "call_id": call["call_id"], "output": "ok" }]);
    let more = json!({ "tools": tools(), "previous_response_id": first["id"] });
    let second = ask(&bench, &input(result, more)).await;
    assert_eq!(second["output"][0]["name"], "two");
    assert_eq!(second["previous_response_id"], first["id"]);
    let unknown = input("hello", json!({ "previous_response_id": "resp_0" }));
    assert_eq!(bench.post(&path(), unknown).await.error(true)["status"], "NOT_FOUND");
}
