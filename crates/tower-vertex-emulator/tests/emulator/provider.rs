//! The Responses API of `publishers/openai`, which OpenAI's SDKs call with their provider.

use super::*;

const RESPONSES: &str = "/v1/projects/p1/locations/global/publishers/openai/v1/responses";

fn body(input: &str, more: Value) -> Value {
    let mut body = json!({ "model": "gpt-5", "input": input });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn create(bench: &Bench, body: &Value) -> Value {
    let answer = bench.post(RESPONSES, body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn a_response_is_stored_continued_and_deleted() {
    let bench = Bench::new().await;
    let first = create(&bench, &body("hello", json!({}))).await;
    assert_eq!(first["model"], "gpt-5");
    assert_eq!(first["output"][0]["content"][0]["text"], ECHO);
    let id = first["id"].as_str().unwrap();
    let one = format!("{RESPONSES}/{id}");
    assert_eq!(bench.get(&one).await.json(), first);

    let more = json!({ "previous_response_id": id });
    let second = create(&bench, &body("repeat your last message", more)).await;
    assert_eq!(second["output"][0]["content"][0]["text"], ECHO);

    let request = bench.request(Method::DELETE, &one).body(full("")).unwrap();
    assert_eq!(bench.send(request).await.json()["deleted"], true);
    let error = bench.get(&one).await.error(false);
    assert_eq!(error["status"], "NOT_FOUND");

    let kept = create(&bench, &body("hello", json!({ "store": false }))).await;
    let one = format!("{RESPONSES}/{}", kept["id"].as_str().unwrap());
    assert_eq!(bench.get(&one).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_streamed_response_has_the_events_of_openai() {
    let bench = Bench::new().await;
    let answer = bench.post(RESPONSES, body("hello", json!({ "stream": true }))).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    assert!(answer.text().starts_with("event: response.created\n"));
    assert!(answer.text().contains("event: response.completed\n"));
}

#[tokio::test]
async fn a_conversation_is_compacted_to_the_messages_of_the_user() {
    let bench = Bench::new().await;
    let first = create(&bench, &body("hello", json!({}))).await;
    let path = format!("{RESPONSES}/compact");
    let ask = json!({ "model": "gpt-5", "previous_response_id": first["id"] });
    let compacted = bench.post(&path, &ask).await.json();
    assert_eq!(compacted["object"], "response.compaction");
    let [message, item] = &compacted["output"].as_array().unwrap()[..] else {
        panic!("{compacted}")
    };
    assert_eq!(message["role"], "user");
    assert_eq!(message["content"][0]["text"], "hello");
    assert_eq!(item["type"], "compaction");
    // The output is the input of the next request.
    let mut input = compacted["output"].as_array().unwrap().clone();
    input.push(user("again"));
    let next = create(&bench, &json!({ "model": "gpt-5", "input": input })).await;
    let text = next["output"][0]["content"][0]["text"].as_str().unwrap();
    assert!(text.ends_with("You said: again"), "{text}");
    let error = bench.post(&path, json!({ "model": "gpt-5" })).await.error(false);
    assert_eq!(error["status"], "INVALID_ARGUMENT");
}

#[tokio::test]
async fn only_the_models_of_the_catalogue_are_served() {
    let bench = Bench::new().await;
    let ask = async |path: &str, model: &str| {
        let mut body = body("hello", json!({}));
        body["model"] = model.into();
        bench.post(path, &body).await
    };
    for (model, status) in
        [("gpt-9", "NOT_FOUND"), ("openai/gpt-5", "NOT_FOUND"), ("", "INVALID_ARGUMENT")]
    {
        let error = ask(RESPONSES, model).await.error(false);
        assert_eq!(error["status"], status, "{model}");
    }
    let error = ask(RESPONSES, "gpt-oss-20b-maas").await.error(false);
    assert_eq!(error["status"], "FAILED_PRECONDITION");
    let google = RESPONSES.replace("openai", "google");
    let error = ask(&google, "gemini-2.5-flash").await.error(false);
    assert_eq!(error["status"], "FAILED_PRECONDITION");
    // The file of models can say more.
    let model = Model::new("openai", "gpt-9").surfaces([Surface::OpenAiResponses]);
    let emulator = Emulator::builder().models([model]).start().await.unwrap();
    let bench = Bench::over(emulator, Version::HTTP_11);
    let mut hello = body("hello", json!({}));
    hello["model"] = "gpt-9".into();
    assert_eq!(create(&bench, &hello).await["model"], "gpt-9");
}
