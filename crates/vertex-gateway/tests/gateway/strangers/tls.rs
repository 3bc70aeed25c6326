//! TLS: the certificate of the server, and the certificates of clients.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tower_vertex_emulator::Emulator;

use super::{ALICE, Files, bearer};
use crate::common::{certificates::Authority, chat, in_time};

async fn connect(addr: SocketAddr, config: &ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(addr).await?;
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = TlsConnector::from(Arc::new(config.clone())).connect(name, socket);
    in_time("a handshake", connecting).await
}

/// The status line of a response, or the reason why there is none: in TLS 1.3 a client learns from
/// its first read that its certificate was refused.
async fn ask(addr: SocketAddr, config: &ClientConfig) -> io::Result<String> {
    let mut socket = connect(addr, config).await?;
    socket
        .write_all(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    let read = in_time("a response", socket.read_to_string(&mut answer)).await;
    if answer.is_empty() {
        read?;
    }
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// The first certificate that the server presents.
async fn shown(addr: SocketAddr, config: &ClientConfig) -> Vec<u8> {
    let socket = connect(addr, config).await.unwrap();
    socket.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(file: &str) -> Vec<u8> {
    CertificateDer::from_pem_file(file).unwrap().to_vec()
}

#[tokio::test]
async fn clients_choose_http1_or_http2_over_tls() {
    let (vertex, files, authority) =
        (Emulator::start().await.unwrap(), Files::with_keys(), Authority::new());
    let (cert, key) = files.write_pair("server", authority.server());
    let keys = files.path("keys");
    let options = ["--client-key-file", &keys, "--tls-cert", &cert, "--tls-key", &key];
    let gateway = files.start(&vertex, &options).await;
    let port = gateway.addr.port();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let https = HttpsConnectorBuilder::new().with_tls_config(authority.trusting_client(None));
        let https = match version {
            Version::HTTP_2 => https.https_only().enable_all_versions().build(),
            _ => https.https_only().enable_http1().build(),
        };
        let client = Client::builder(TokioExecutor::new()).build::<_, Full<Bytes>>(https);
        let mut request: Request<Full<Bytes>> = chat("x");
        request.headers_mut().insert("authorization", bearer(ALICE));
        *request.uri_mut() =
            format!("https://localhost:{port}/v1/chat/completions").parse().unwrap();
        let answer = in_time("a response", client.request(request)).await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
    }
    // Clear text and silent clients are not served, and do not block others.
    let mut silent = TcpStream::connect(gateway.addr).await.unwrap();
    assert!(!gateway.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.contains("HTTP/"));
    let status = ask(gateway.addr, &authority.trusting_client(None)).await.unwrap();
    assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    assert_eq!(vertex.stats().api_requests, 2);
    silent.write_all(b"x").await.unwrap();
    files.told(1, "TLS handshake failed").await;
}

#[tokio::test]
async fn a_client_that_starts_no_handshake_is_closed() {
    let (vertex, files, authority) =
        (Emulator::start().await.unwrap(), Files::new(), Authority::new());
    let (cert, key) = files.write_pair("server", authority.server());
    let options = ["--tls-handshake-timeout", "1", "--tls-cert", &cert, "--tls-key", &key];
    let gateway = files.start(&vertex, &options).await;
    let mut silent = TcpStream::connect(gateway.addr).await.unwrap();
    let mut answer = Vec::new();
    let ended = silent.read_to_end(&mut answer);
    tokio::time::timeout(std::time::Duration::from_secs(20), ended).await.unwrap().unwrap();
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn a_changed_certificate_is_reloaded() {
    let (vertex, files, authority) =
        (Emulator::start().await.unwrap(), Files::new(), Authority::new());
    let (cert, key) = files.write_pair("server", authority.server_until(2001));
    let gateway = files.start(&vertex, &["--tls-cert", &cert, "--tls-key", &key]).await;
    let client = authority.trusting_client(None);
    files.told(1, "the certificate has expired").await;
    assert!(connect(gateway.addr, &client).await.is_err());

    files.write_pair("server", authority.server());
    // One file of the pair exists first, and the sidecar may or may not see that state.
    files.told(1, "certificate reloaded").await;
    let second = der(&cert);
    assert_eq!(shown(gateway.addr, &client).await, second);
    let mut open = connect(gateway.addr, &client).await.unwrap();

    files.write("server.pem", "nothing");
    files.told(1, "the file has no certificate").await;
    assert_eq!(shown(gateway.addr, &client).await, second, "the previous certificate is kept");
    let before = files.log().matches("certificate reloaded").count();
    files.write_pair("server", authority.server());
    files.told(before + 1, "certificate reloaded").await;
    assert_eq!(shown(gateway.addr, &client).await, der(&cert));
    assert_ne!(der(&cert), second);
    // Open connections continue.
    let request = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    open.write_all(request).await.unwrap();
    let mut answer = String::new();
    in_time("a response", open.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(!files.log().contains("PRIVATE KEY"), "{}", files.log());
}

#[tokio::test]
async fn mutual_tls_refuses_a_stranger_in_the_handshake() {
    let (vertex, files, authority) =
        (Emulator::start().await.unwrap(), Files::new(), Authority::new());
    let (mine, other) = (Authority::new(), Authority::new());
    let (cert, key) = files.write_pair("server", authority.server());
    let ca = files.write("ca", &mine.pem());
    let options = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
    let gateway = files.start(&vertex, &options).await;
    let ask = async |shows| ask(gateway.addr, &authority.trusting_client(shows)).await;
    for stranger in [None, Some(other.client()), Some(authority.client())] {
        let error = ask(stranger).await.unwrap_err();
        assert!(error.to_string().contains("alert"), "{error}");
    }
    assert_eq!(ask(Some(mine.client())).await.unwrap(), "HTTP/1.1 200 OK");
    files.told(3, "TLS handshake failed").await;
    // The authorities of clients are reloaded, too.
    files.write("ca", &other.pem());
    files.told(1, "certificate reloaded").await;
    assert_eq!(ask(Some(other.client())).await.unwrap(), "HTTP/1.1 200 OK");
    assert!(ask(Some(mine.client())).await.is_err());
}

#[tokio::test]
async fn a_connection_ends_when_its_authority_is_removed() {
    let (vertex, files, authority) =
        (Emulator::start().await.unwrap(), Files::new(), Authority::new());
    let (mine, other) = (Authority::new(), Authority::new());
    let (cert, key) = files.write_pair("server", authority.server());
    let ca = files.write("ca", &mine.pem());
    let options = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
    let options = [&options[..], &["--keepalive-timeout", "10m"]].concat();
    let gateway = files.start(&vertex, &options).await;
    let client = authority.trusting_client(Some(mine.client()));
    let mut open = connect(gateway.addr, &client).await.unwrap();
    open.write_all(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = vec![0; 15];
    in_time("a response", open.read_exact(&mut answer)).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 200 OK");
    // With another certificate and the same authorities, the connection stays open.
    files.write_pair("server", authority.server());
    files.told(1, "certificate reloaded").await;
    open.write_all(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answers = Vec::new();
    while !answers.windows(15).any(|bytes| bytes == b"HTTP/1.1 200 OK") {
        assert!(in_time("a response", open.read_buf(&mut answers)).await.unwrap() > 0);
    }
    files.write("ca", &other.pem());
    let _ = in_time("the end of the connection", open.read_to_end(&mut answers)).await;
}

#[tokio::test]
async fn only_the_negotiated_protocol_is_served() {
    let (vertex, files, authority) =
        (Emulator::start().await.unwrap(), Files::new(), Authority::new());
    let (cert, key) = files.write_pair("server", authority.server());
    let gateway = files.start(&vertex, &["--tls-cert", &cert, "--tls-key", &key]).await;
    let one = &b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"[..];
    let two = &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..];
    for (agreed, spoken, begins) in [
        (&b"http/1.1"[..], one, &b"HTTP/1.1 200"[..]),
        (b"h2", one, b"\0\0"),
        (b"http/1.1", two, b""),
    ] {
        let mut client = authority.trusting_client(None);
        client.alpn_protocols = vec![agreed.to_vec()];
        let mut socket = connect(gateway.addr, &client).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(agreed));
        socket.write_all(spoken).await.unwrap();
        let mut answer = Vec::new();
        let _ = in_time("the end of the connection", socket.read_to_end(&mut answer)).await;
        assert!(answer.starts_with(begins), "{answer:?}");
        assert!(!begins.is_empty() || answer.is_empty(), "{answer:?}");
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), agreed == b"http/1.1" && spoken == one);
    }
}
