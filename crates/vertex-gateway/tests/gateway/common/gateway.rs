//! The binary `vertex-gateway`, as a running process.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tempfile::TempPath;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStderr, ChildStdout, Command},
};
use tower_vertex::replay::ReplayBody;
use tower_vertex_emulator::Emulator;

use super::{Http, client, in_time, text};

/// The binary that `VERTEX_GATEWAY` names, as in the tests in Python and Node.js, or else the one
/// that was built with the tests.
pub(crate) fn binary() -> std::ffi::OsString {
    std::env::var_os("VERTEX_GATEWAY")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_vertex-gateway").into())
}

/// A command without variables that configure the sidecar on this machine.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars() {
        let ours = ["VERTEX_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_", "OTEL_"]
            .iter()
            .any(|p| name.starts_with(p));
        // Variables by which a machine appears to be one of Google's.
        const PLACES: [&str; 7] = [
            "PROJECT_ID",
            "LOCATION",
            "ENDPOINT",
            "GCE_METADATA_HOST",
            "GCE_METADATA_IP",
            "KUBERNETES_SERVICE_HOST",
            "K_SERVICE",
        ];
        if ours || PLACES.contains(&name.as_str()) {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null()).kill_on_drop(true);
    command
}

pub(crate) struct Gateway {
    pub(crate) child: Child,
    pub(crate) addr: SocketAddr,
    pub(crate) emulator: Option<String>,
    pub(crate) stdout: Lines<BufReader<ChildStdout>>,
}

impl Gateway {
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut emulator = None;
        loop {
            let line = in_time("the line with the address", stdout.next_line()).await;
            let line = line.unwrap().expect("a line with the address");
            if let Some(url) = line.strip_prefix("emulator listening on ") {
                emulator = Some(url.to_owned());
            } else if let Some(url) = line.strip_prefix("listening on ") {
                let addr = url.split_once("://").unwrap().1.parse().unwrap();
                return Self { child, addr, emulator, stdout };
            }
        }
    }

    /// Starts a sidecar in front of an emulator in this process, with a key of that emulator.
    pub(crate) async fn before(vertex: &Emulator, options: &[&str]) -> Self {
        let (command, _key) = before(vertex, &vertex.url(), options);
        // The key is read before the sidecar listens, and the last good one is kept.
        Self::start(command).await
    }

    pub(crate) async fn call(&self, mut request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.call_over(Http::One, &mut request).await
    }

    pub(crate) async fn call_over(
        &self,
        http: Http,
        request: &mut Request<Full<Bytes>>,
    ) -> Response<Incoming> {
        let path = request.uri().path_and_query().unwrap().clone();
        let mut sent = Request::new(ReplayBody::plain(request.body().clone()));
        *sent.method_mut() = request.method().clone();
        *sent.headers_mut() = request.headers().clone();
        *sent.uri_mut() = format!("http://{}{path}", self.addr).parse().unwrap();
        in_time("a response", client(http).request(sent)).await.unwrap()
    }

    /// Sends these bytes, and returns the response up to its end.
    pub(crate) async fn raw(&self, request: &[u8]) -> String {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        socket.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        let _ = in_time("the end of a response", socket.read_to_end(&mut answer)).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        let killed = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(killed.unwrap().success());
    }

    /// Call this after the first signal. It sends further signals until the process ends, because a
    /// signal that follows too closely merges with the first.
    pub(crate) async fn ended_at_once(&mut self) -> ExitStatus {
        in_time("the end of the process", async {
            loop {
                self.terminate();
                if let Ok(ended) =
                    tokio::time::timeout(Duration::from_millis(200), self.child.wait()).await
                {
                    return ended.unwrap();
                }
            }
        })
        .await
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await.unwrap().unwrap()
    }
}

/// The log of a sidecar whose standard error is piped.
pub(crate) struct Log(Lines<BufReader<ChildStderr>>);

impl Log {
    pub(crate) fn of(gateway: &mut Gateway) -> Self {
        Self(BufReader::new(gateway.child.stderr.take().unwrap()).lines())
    }

    /// The next line, or none at the end of the log.
    pub(crate) async fn line(&mut self) -> Option<String> {
        in_time("a line of the log", self.0.next_line()).await.unwrap()
    }

    /// The next line that contains this text.
    pub(crate) async fn until(&mut self, what: &str) -> String {
        in_time(what, async {
            loop {
                let line = self.line().await.expect(what);
                if line.contains(what) {
                    return line;
                }
            }
        })
        .await
    }
}

/// The head of a request for a chat with a body of this many bytes, on a connection that is kept
/// alive.
pub(crate) fn head(length: usize) -> String {
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    )
}

/// The bytes of a whole request for a chat.
pub(crate) async fn bytes(chat: Request<Full<Bytes>>) -> Vec<u8> {
    let body = chat.into_body().collect().await.unwrap().to_bytes();
    [head(body.len()).as_bytes(), &body].concat()
}

/// Reads a `chat` on a connection to a stand-in for Vertex AI, up to the end of its JSON, whose
/// last key is `stream`. Returns false if the connection is closed before.
pub(crate) async fn request(socket: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    while !read.ends_with(b"false}") {
        if socket.read_buf(&mut read).await.unwrap_or(0) == 0 {
            return false;
        }
    }
    true
}

/// A command that takes tokens from `vertex` and sends requests to `upstream`. The file holds the
/// key for the tokens, and must exist until the sidecar listens.
pub(crate) fn before(vertex: &Emulator, upstream: &str, options: &[&str]) -> (Command, TempPath) {
    let mut key = tempfile::NamedTempFile::new().unwrap();
    key.write_all(vertex.service_account_key().as_bytes()).unwrap();
    let key = key.into_temp_path();
    let mut args = vec!["--listen", "127.0.0.1:0", "--project", "p1", "--location", "us-central1"];
    args.extend(["--upstream", upstream, "--credentials", key.to_str().unwrap()]);
    args.extend(options);
    (command(&args), key)
}

/// Parses an error in OpenAI's form. Any other response fails the test.
pub(crate) async fn openai_error(response: Response<Incoming>) -> (u16, String, String) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/json");
    let body = text(response).await;
    let body: serde_json::Value = serde_json::from_str(&body).expect(&body);
    let error = &body["error"];
    assert!(error["type"].is_string() && error["param"].is_null(), "{body}");
    let text = |name: &str| error[name].as_str().expect(name).to_owned();
    (status, text("code"), text("message"))
}
