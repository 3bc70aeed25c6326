//! A server between the sidecar and Vertex AI that causes the trouble named in a request's message,
//! so that each test knows the outcome of its request.

use std::{
    collections::HashSet,
    convert::Infallible,
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, channel::Channel, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tower_vertex_emulator::Emulator;

type Body = BoxBody<Bytes, Broken>;

#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken on purpose")
    }
}

impl std::error::Error for Broken {}

pub(crate) struct Troubled {
    pub(crate) addr: SocketAddr,
}

struct Way {
    behind: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Bodies that had their trouble once and succeed the next time.
    had: Mutex<HashSet<Bytes>>,
}

impl Troubled {
    pub(crate) async fn before(vertex: &Emulator) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let way = Arc::new(Way { behind: vertex.addr(), client, had: Mutex::default() });
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, Arc::clone(&way)));
            }
        });
        Self { addr }
    }
}

async fn serve(socket: TcpStream, way: Arc<Way>) {
    socket.set_nodelay(true).unwrap();
    let reset = Arc::new(AtomicBool::new(false));
    let of_service = Arc::clone(&reset);
    let service = service_fn(move |request| {
        Box::pin(Arc::clone(&way).answer(request, Arc::clone(&of_service)))
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    if reset.load(Relaxed) {
        let socket = connection.into_parts().io.into_inner();
        let _ = socket.set_zero_linger();
    }
}

impl Way {
    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
        reset: Arc<AtomicBool>,
    ) -> Result<Response<Body>, Broken> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
        let trouble = trouble(&body);
        let trouble = match trouble.strip_suffix("-once") {
            Some(_) if !self.had.lock().unwrap().insert(body.clone()) => "",
            Some(trouble) => trouble,
            None => &trouble,
        };
        match trouble {
            "busy" => return Ok(refusal(429, "RESOURCE_EXHAUSTED")),
            "unavailable" => return Ok(refusal(503, "UNAVAILABLE")),
            "reset" => {
                reset.store(true, Relaxed);
                return Err(Broken);
            }
            _ => {}
        }
        let path = head.uri.path_and_query().unwrap();
        head.uri = format!("http://{}{path}", self.behind).parse().unwrap();
        let request = Request::from_parts(head, Full::from(body));
        let (head, body) = self.client.request(request).await.map_err(|_| Broken)?.into_parts();
        if trouble == "slow" {
            // By now the sidecar has checked the credential.
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        let body = match trouble {
            "cut" => {
                let mut body = body;
                let first = body.frame().await.ok_or(Broken)?.map_err(|_| Broken)?;
                let (mut sender, cut) = Channel::new(1);
                tokio::spawn(async move {
                    let _ = sender.send(first).await;
                    // hyper discards unwritten data when a body fails.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    sender.abort(Broken);
                });
                cut.boxed()
            }
            _ => body.map_err(|_| Broken).boxed(),
        };
        Ok(Response::from_parts(head, body))
    }
}

/// The word in brackets at the beginning of the message.
fn trouble(body: &[u8]) -> String {
    let asked: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let said = asked["messages"][0]["content"].as_str().unwrap_or_default();
    let word = said.strip_prefix('[').and_then(|said| said.split_once(']'));
    word.map(|(word, _)| word.to_owned()).unwrap_or_default()
}

fn refusal(status: u16, word: &str) -> Response<Body> {
    let error = json!([{ "error": { "code": status, "message": "on purpose", "status": word } }]);
    let body = Full::from(error.to_string()).map_err(|never: Infallible| match never {});
    Response::builder()
        .status(status)
        .header("content-type", "application/json; charset=UTF-8")
        .body(body.boxed())
        .unwrap()
}
