//! A separate `vertex-gateway --emulator` for each cell, and the control API of its emulator.

use std::io::Write as _;

use async_openai::{Client, config::OpenAIConfig, middleware::ReqwestService};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use crate::common::gateway::{Gateway, command};

pub(crate) type OpenAI = Client<OpenAIConfig>;

/// A client with its default settings: with retries, and without a timeout.
fn client(url: &str, key: &str) -> OpenAI {
    let config = OpenAIConfig::new().with_api_base(url).with_api_key(key);
    Client::with_config(config)
}

/// The same client without its retries, which are a layer around this service.
fn without_retries(client: OpenAI) -> OpenAI {
    client.with_http_service(ReqwestService::new(reqwest::Client::new()))
}

pub(crate) struct Sidecar {
    gateway: Gateway,
    http: reqwest::Client,
}

impl Sidecar {
    pub(crate) async fn start(options: &[&str]) -> Self {
        let listen = ["--emulator", "--listen", "127.0.0.1:0"];
        let mut command = command(&[&listen, options].concat());
        command.env("VERTEX_GATEWAY_LOG", "warn");
        let gateway = Gateway::start(command).await;
        Self { gateway, http: reqwest::Client::new() }
    }

    pub(crate) fn client(&self) -> OpenAI {
        client(&format!("http://{}/v1", self.gateway.addr), "unused")
    }

    pub(crate) fn once(&self) -> OpenAI {
        without_retries(self.client())
    }

    /// A client of Vertex AI itself, as in Google's guide: the key is an access token.
    pub(crate) async fn raw(&self) -> OpenAI {
        let url = format!(
            "{}/v1/projects/emulator/locations/us-central1/endpoints/openapi",
            self.emulator()
        );
        without_retries(client(&url, &self.token().await))
    }

    fn emulator(&self) -> &str {
        self.gateway.emulator.as_deref().unwrap()
    }

    async fn control(&self, method: Method, name: &str, body: &Value) -> Value {
        let url = format!("{}/__emulator/{name}", self.emulator());
        let response = self.http.request(method, url).json(body).send().await.unwrap();
        response.error_for_status().unwrap().json().await.unwrap()
    }

    pub(crate) async fn faults(&self, faults: Value) {
        self.control(Method::PUT, "faults", &faults).await;
    }

    pub(crate) async fn revoke(&self) {
        self.control(Method::POST, "revoke", &json!({})).await;
    }

    pub(crate) async fn stats(&self) -> Value {
        self.control(Method::GET, "stats", &json!({})).await
    }

    /// Returns the number of responses of the emulator by status, and resets the counters.
    pub(crate) async fn answers(&self) -> Value {
        let answers = self.stats().await["by_status"].take();
        self.control(Method::DELETE, "stats", &json!({})).await;
        answers
    }

    async fn token(&self) -> String {
        let key = self.control(Method::GET, "service_account_key", &json!({})).await;
        let file = file(&key.to_string());
        let path = file.path().to_str().unwrap();
        let output = command(&["token", "--credentials", path]).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

pub(crate) fn file(content: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file
}
