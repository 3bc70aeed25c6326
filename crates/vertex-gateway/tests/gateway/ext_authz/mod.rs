//! `vertex-gateway ext-authz`, called over gRPC as Envoy calls it.

mod check;
mod door;
mod heal;
mod protocols;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
};

use envoy_types::pb::envoy::{
    config::core::v3::{
        Address, HeaderValueOption, SocketAddress, address,
        header_value_option::HeaderAppendAction, socket_address::PortSpecifier,
    },
    service::{
        auth::v3::{
            AttributeContext, CheckRequest, attribute_context,
            authorization_client::AuthorizationClient, check_response::HttpResponse,
        },
        ext_proc::v3::external_processor_client::ExternalProcessorClient,
    },
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tonic::transport::{Channel, Endpoint};
use tower_vertex_emulator::Emulator;

use crate::common::gateway::{Gateway, command};

const CHAT: &str = "/v1/chat/completions";
const BODY: &str = r#"{"model":"google/gemini-2.5-flash","messages":[]}"#;
const OPENAPI: &str = "/v1/projects/p1/locations/us-central1/endpoints/openapi";

/// The emulator, and a folder with a key for it.
struct Place {
    vertex: Emulator,
    folder: TempDir,
}

impl Place {
    async fn new() -> Self {
        let place =
            Self { vertex: Emulator::start().await.unwrap(), folder: tempfile::tempdir().unwrap() };
        place.write("key.json", &place.vertex.service_account_key());
        place
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Replaces the file in one step, as a careful operator does.
    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path("new"), text).unwrap();
        fs::rename(self.path("new"), self.path(name)).unwrap();
        self.path(name)
    }

    fn command(&self, options: &[&str]) -> Command {
        let (key, url) = (self.path("key.json"), self.vertex.url());
        let mut args = vec!["ext-authz", "--project", "p1", "--location", "us-central1"];
        args.extend(["--upstream", &url, "--credentials", &key]);
        if !options.contains(&"--listen") {
            args.extend(["--listen", "127.0.0.1:0"]);
        }
        command(&[&args[..], options].concat())
    }

    async fn start(&self, options: &[&str]) -> Envoy {
        let gateway = Gateway::start(self.command(options)).await;
        let channel = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
        Envoy::new(gateway, channel.connect().await.unwrap())
    }

    fn host(&self) -> String {
        self.vertex.url().strip_prefix("http://").unwrap().to_owned()
    }
}

/// An Envoy that calls the sidecar.
struct Envoy {
    gateway: Gateway,
    channel: Channel,
    check: AuthorizationClient<Channel>,
}

impl Envoy {
    fn new(gateway: Gateway, channel: Channel) -> Self {
        let check = AuthorizationClient::new(channel.clone());
        Self { gateway, channel, check }
    }

    fn heal(&self) -> ExternalProcessorClient<Channel> {
        ExternalProcessorClient::new(self.channel.clone())
    }

    async fn ask(&self, asked: Asked) -> Verdict {
        let destination = asked.at.map(|address| {
            let socket = SocketAddress { address: address.to_owned(), ..Default::default() };
            let address = Some(address::Address::SocketAddress(socket));
            let address = Some(Address { address });
            attribute_context::Peer { address, ..Default::default() }
        });
        let http = asked.http();
        let request = attribute_context::Request { http: Some(http), ..Default::default() };
        let address = SocketAddress {
            address: "2001:db8::7".to_owned(),
            port_specifier: Some(PortSpecifier::PortValue(4711)),
            ..Default::default()
        };
        let address = Some(Address { address: Some(address::Address::SocketAddress(address)) });
        let source = Some(attribute_context::Peer { address, ..Default::default() });
        let attributes =
            AttributeContext { request: Some(request), source, destination, ..Default::default() };
        let request = CheckRequest { attributes: Some(attributes) };
        let response = self.check.clone().check(request).await.unwrap().into_inner();
        let code = response.status.unwrap().code;
        match response.http_response.unwrap() {
            HttpResponse::OkResponse(ok) => {
                assert_eq!(code, 0);
                let told = ok.response_headers_to_add.into_iter().map(|option| {
                    let header = option.header.clone().unwrap();
                    let appends = option.append_action() == HeaderAppendAction::AppendIfExistsOrAdd;
                    assert_eq!(appends, header.key == "vary");
                    (header.key, header.value)
                });
                let told = told.collect();
                Verdict::Pass { set: set(ok.headers), removed: ok.headers_to_remove, told }
            }
            HttpResponse::DeniedResponse(denied) => {
                assert_eq!(code, 7);
                Verdict::Answer {
                    status: denied.status.unwrap().code,
                    headers: set(denied.headers),
                    body: serde_json::from_str(&denied.body).unwrap_or_default(),
                }
            }
            HttpResponse::ErrorResponse(_) => panic!("an error of its own"),
        }
    }

    async fn pass(&self, asked: Asked) -> (BTreeMap<String, String>, Vec<String>) {
        match self.ask(asked).await {
            Verdict::Pass { set, removed, told } => {
                assert!(told.is_empty(), "{told:?}");
                (set, removed)
            }
            other => panic!("{other:?}"),
        }
    }

    /// The status, the code and the message of a refusal.
    async fn refused(&self, asked: Asked) -> (i32, String, String) {
        match self.ask(asked).await {
            Verdict::Answer { status, headers, body } => {
                assert_eq!(headers["content-type"], "application/json");
                assert!(!headers["x-request-id"].is_empty());
                let error = &body["error"];
                assert!(error["type"].is_string() && error["param"].is_null(), "{body}");
                let text = |name: &str| error[name].as_str().expect(name).to_owned();
                (status, text("code"), text("message"))
            }
            other => panic!("{other:?}"),
        }
    }

    /// The token that requests get now.
    async fn token(&self) -> String {
        self.pass(Asked::chat()).await.0["authorization"].clone()
    }
}

#[derive(Debug)]
enum Verdict {
    Pass {
        set: BTreeMap<String, String>,
        removed: Vec<String>,
        /// Headers that Envoy adds to the response of Vertex AI.
        told: BTreeMap<String, String>,
    },
    Answer {
        status: i32,
        headers: BTreeMap<String, String>,
        body: Value,
    },
}

/// Checks that each header occurs once, and overwrites the one of the request.
#[allow(deprecated)]
fn set(headers: Vec<HeaderValueOption>) -> BTreeMap<String, String> {
    let mut set = BTreeMap::new();
    for option in headers {
        assert_eq!(option.append_action(), HeaderAppendAction::OverwriteIfExistsOrAdd);
        assert_eq!(option.append, None);
        let header = option.header.unwrap();
        let value = header.value + str::from_utf8(&header.raw_value).unwrap();
        assert_eq!(set.insert(header.key.clone(), value), None, "{} twice", header.key);
    }
    set
}

/// A request as Envoy describes it.
#[derive(Clone)]
struct Asked {
    method: &'static str,
    path: String,
    headers: HashMap<String, String>,
    body: Vec<u8>,
    host: String,
    /// The address of Envoy that the request came to.
    at: Option<&'static str>,
}

impl Asked {
    fn new(method: &'static str, path: &str) -> Self {
        let headers = [
            (":path", path),
            (":method", method),
            (":authority", "envoy.example.com"),
            ("x-envoy-auth-partial-body", "false"),
        ];
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = headers.map(owned).into_iter().collect();
        Self {
            method,
            path: path.to_owned(),
            headers,
            body: Vec::new(),
            host: "envoy.example.com".into(),
            at: None,
        }
    }

    /// Sets the address of Envoy and the host that the client names.
    fn at(mut self, address: &'static str, host: &str) -> Self {
        (self.at, self.host) = (Some(address), host.to_owned());
        self.with(":authority", host)
    }

    fn chat() -> Self {
        Self::new("POST", CHAT).body(BODY)
    }

    fn of_model(model: &str) -> Self {
        Self::new("POST", CHAT).body(&format!(r#"{{"model":"{model}","messages":[]}}"#))
    }

    fn body(mut self, body: &str) -> Self {
        self.body = body.into();
        self.with("content-type", "application/json")
            .with("content-length", &body.len().to_string())
    }

    /// Omits the body, like an Envoy that is not configured to send bodies.
    fn unread(mut self) -> Self {
        self.body.clear();
        self.without("x-envoy-auth-partial-body")
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(name.to_owned(), value.to_owned());
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    fn key(self, key: &str) -> Self {
        self.with("authorization", &format!("Bearer {key}"))
    }

    fn http(self) -> attribute_context::HttpRequest {
        attribute_context::HttpRequest {
            id: "1".into(),
            method: self.method.into(),
            path: self.path,
            host: self.host,
            scheme: "http".into(),
            protocol: "HTTP/1.1".into(),
            size: i64::try_from(self.body.len()).unwrap(),
            headers: self.headers,
            raw_body: self.body,
            ..Default::default()
        }
    }
}
