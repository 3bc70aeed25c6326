//! The sidecar with Google's own host names, in a network namespace where they lead to the
//! emulator.

use std::fs;

use http::{Request, StatusCode};
use serde_json::json;
use tower_vertex_emulator::{Emulator, EndpointInfo};

use crate::common::{
    gateway::{Gateway, command},
    text,
    world::World,
};

const DNS: &str = "7.us-east1-123456789012.prediction.vertexai.goog";
const HOSTS: &str = "127.0.0.1 us-central1-aiplatform.googleapis.com aiplatform.googleapis.com \
     us-east1-aiplatform.googleapis.com aiplatform.eu.rep.googleapis.com \
     7.us-east1-123456789012.prediction.vertexai.goog";

const CONFIG: &str = r#"
project = "p1"
location = "us-central1"

[[model]]
name = "everywhere"
model = "gemini-2.5-pro"
location = "global"

[[model]]
name = "in-europe"
model = "gemini-2.5-flash"
location = "eu"

[[model]]
name = "llama-*"
location = "us-east1"
endpoint = "display-name:my-llama"

[[model]]
name = "nowhere"
model = "gemini-2.5-flash"
location = "europe-west9"
"#;

#[tokio::test]
async fn each_model_is_served_by_its_own_host_with_one_token_for_all() {
    let world = World::new().hosts(HOSTS).variable("SSL_CERT_FILE", "authority.pem");
    if !world.enter(module_path!(), "each_model_is_served_by_its_own_host_with_one_token_for_all") {
        return;
    }
    let emulator = Emulator::builder()
        .listen(([127, 0, 0, 1], 443).into())
        .tls(true)
        .host_aware(true)
        .endpoint(EndpointInfo::dedicated("7", "my-llama", DNS).location("us-east1"));
    let vertex = emulator.start().await.unwrap();
    fs::write("authority.pem", vertex.certificate_pem().unwrap()).unwrap();
    fs::write("key.json", vertex.service_account_key()).unwrap();
    fs::write("gateway.toml", CONFIG).unwrap();
    let args = ["--listen", "127.0.0.1:0", "--config", "gateway.toml", "--credentials", "key.json"];
    let gateway = Gateway::start(command(&args)).await;

    for (model, host, place) in [
        (
            "gemini-2.5-flash",
            "us-central1-aiplatform.googleapis.com",
            "us-central1/endpoints/openapi",
        ),
        ("everywhere", "aiplatform.googleapis.com", "global/endpoints/openapi"),
        ("in-europe", "aiplatform.eu.rep.googleapis.com", "eu/endpoints/openapi"),
        ("llama-3", DNS, "us-east1/endpoints/7"),
    ] {
        let body = json!({ "model": model, "messages": [{ "role": "user", "content": "x" }] });
        let request = Request::post("/v1/chat/completions");
        let answer = gateway.call(request.body(body.to_string().into()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{model}");
        let seen = vertex.requests().pop().unwrap();
        assert_eq!(seen.host.as_deref(), Some(host), "{model}");
        assert_eq!(seen.path, format!("/v1/projects/p1/locations/{place}/chat/completions"));
    }
    let stats = vertex.stats();
    assert_eq!((stats.token_mints, stats.api_requests), (1, 5), "{stats:?}");
    // The fifth request looked up the endpoint, at the host of the API of all endpoints.
    let looked = &vertex.requests()[0];
    assert_eq!(looked.host.as_deref(), Some("us-east1-aiplatform.googleapis.com"));

    // An error names the host of this request, and not the host of another model.
    let request = Request::post("/v1/chat/completions");
    let request = request.body(json!({ "model": "nowhere" }).to_string().into()).unwrap();
    let answer = gateway.call(request).await;
    assert!(answer.status().is_server_error());
    let body = text(answer).await;
    assert!(body.contains("to https://europe-west9-aiplatform.googleapis.com"), "{body}");
}
