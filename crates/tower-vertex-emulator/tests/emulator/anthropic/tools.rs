//! Calls of tools, and their results.

use super::*;

#[tokio::test]
async fn a_loop_of_tools_runs_to_its_end() {
    let bench = Bench::new().await;
    let tools = json!({ "tools": [tool("one"), tool("two")] });
    let prompt = user("call the tool one, then call the tools one and two at once");
    let first =
        ask(&bench, OPUS, &conversation(std::slice::from_ref(&prompt), tools.clone())).await;
    assert_eq!(first["stop_reason"], "tool_use");
    let [text, call] = &first["content"].as_array().unwrap()[..] else { panic!("{first}") };
    assert_eq!(text["type"], "text");
    assert_eq!(call["type"], "tool_use");
    assert_eq!(call["name"], "one");
    assert_eq!(call["input"], json!({ "city": "example" }));
    assert!(call["id"].as_str().unwrap().starts_with("toolu_vrtx_01"));

    let mut messages = vec![prompt, assistant(&first), results(&first, "41")];
    let second = ask(&bench, OPUS, &conversation(&messages, tools.clone())).await;
    let names: Vec<_> =
        second["content"].as_array().unwrap().iter().filter_map(|b| b["name"].as_str()).collect();
    assert_eq!(names, ["one", "two"]);

    // Clients add reminders after the results, which are no prompt.
    let mut reminded = results(&second, "42");
    let reminder = json!({ "type": "text", "text": "call the tool two" });
    reminded["content"].as_array_mut().unwrap().push(reminder);
    messages.extend([assistant(&second), reminded]);
    let last = ask(&bench, OPUS, &conversation(&messages, tools)).await;
    assert_eq!(last["stop_reason"], "end_turn");
    let text = last["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("The tool said: 42"), "{text}");
}

#[tokio::test]
async fn a_choice_demands_a_call_or_forbids_it() {
    let bench = Bench::new().await;
    for (choice, said, calls) in [
        (json!({ "type": "any" }), "hello", 1),
        (json!({ "type": "tool", "name": "two" }), "hello", 1),
        (json!({ "type": "auto" }), "hello", 0),
        (json!({ "type": "auto" }), "call the tools one and two at once", 2),
        (
            json!({ "type": "auto", "disable_parallel_tool_use": true }),
            "call the tools one and two at once",
            1,
        ),
        (json!({ "type": "none" }), "call the tool one", 0),
    ] {
        let more = json!({ "tools": [tool("one"), tool("two")], "tool_choice": choice });
        let response = ask(&bench, OPUS, &message(said, more)).await;
        let blocks = response["content"].as_array().unwrap();
        let called = blocks.iter().filter(|block| block["type"] == "tool_use").count();
        assert_eq!(called, calls, "{choice}");
        // A forced call has no text before it.
        let is_forced = matches!(choice["type"].as_str(), Some("any" | "tool"));
        assert_eq!(blocks.len() - called, usize::from(!is_forced), "{choice}");
    }
    // The server's own tools are never called.
    let search = json!({ "type": "web_search_20250305", "name": "web_search", "max_uses": 1 });
    let body = message("call the tool web_search", json!({ "tools": [search] }));
    assert_eq!(ask(&bench, OPUS, &body).await["stop_reason"], "end_turn");
}

#[tokio::test]
async fn each_call_has_one_result_in_the_next_turn() {
    let bench = Bench::new().await;
    let call = |id: &str| json!({ "type": "tool_use", "id": id, "name": "one", "input": {} });
    let calls = |ids: &[&str]| {
        let calls: Vec<Value> = ids.iter().copied().map(call).collect();
        json!({ "role": "assistant", "content": calls })
    };
    let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "1" });
    let text = json!({ "type": "text", "text": "now" });
    let missing = "messages.1: `tool_use` ids were found without `tool_result` blocks immediately \
         after: ";
    for (turns, start) in [
        (vec![user("a"), calls(&["x"])], "This model does not support assistant message prefill."),
        (vec![user("a"), calls(&["x"]), user("b")], missing),
        (vec![user("a"), calls(&["x", "y"]), user(json!([result("x")]))], missing),
        (vec![user("a"), calls(&["x"]), user(json!([text, result("x")]))], missing),
        (
            vec![user(json!([result("z")]))],
            "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: z.",
        ),
        (
            vec![user("a"), calls(&["x"]), user(json!([result("x"), result("x")]))],
            "messages.2.content.1: each tool_use must have a single result.",
        ),
        (
            vec![user("a"), calls(&["x", "x"]), user(json!([result("x")]))],
            "messages.1.content.1: `tool_use` ids must be unique",
        ),
    ] {
        let body = conversation(&turns, json!({ "tools": [tool("one")] }));
        let found = refusal(&bench, OPUS, &body).await;
        assert!(found.starts_with(start), "{found}");
    }
    // Two messages of the user are one turn.
    let turns =
        [user("a"), calls(&["x", "y"]), user(json!([result("y")])), user(json!([result("x")]))];
    ask(&bench, OPUS, &conversation(&turns, json!({ "tools": [tool("one")] }))).await;
}
