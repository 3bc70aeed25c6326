//! A redirect of Vertex AI is its response: no HTTP client of this crate follows it, because the token would
//! go to a host that the layers have not checked.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    sync::mpsc,
};
use tower::ServiceExt as _;
use tower_vertex::{
    Client,
    http_client::{HyperClient, ReqwestClient},
    route::Upstream,
    token::StaticToken,
};

/// Returns the origin of a server that redirects every request, and the connections to the place it names.
async fn redirecting() -> (String, mpsc::UnboundedReceiver<tokio::net::TcpStream>) {
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let response = format!(
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://{}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        stranger.local_addr().unwrap()
    );
    let (reached, connections) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = stranger.accept().await {
            let _ = reached.send(socket);
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(socket.read_buf(&mut head).await.unwrap(), 0, "half a request");
            }
            assert!(String::from_utf8(head).unwrap().contains("Bearer ya29.example"));
            socket.write_all(response.as_bytes()).await.unwrap();
        }
    });
    (origin, connections)
}

#[tokio::test]
async fn no_client_follows_a_redirect_to_another_host() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (origin, mut connections) = redirecting().await;
    let get = || {
        Request::get(format!("{origin}/v1/models")).header("authorization", "Bearer ya29.example")
    };

    let hyper = HyperClient::new().unwrap();
    let response = hyper.oneshot(get().body(Full::<Bytes>::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);

    let reqwest = ReqwestClient::build(reqwest::Client::builder().no_proxy()).unwrap();
    let response = reqwest.oneshot(get().body(reqwest::Body::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);

    let upstream = Upstream::builder().project("p").location("global").origin(&*origin);
    let token = StaticToken::new("ya29.example").unwrap();
    let client = Client::new(upstream.build().unwrap(), token).unwrap();
    let response =
        client.send(Request::get("/v1/responses/resp_1").body(()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TEMPORARY_REDIRECT);

    assert!(connections.try_recv().is_err(), "a client went to the stranger's host");
}
