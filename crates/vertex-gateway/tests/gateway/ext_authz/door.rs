//! The clients, sockets and shutdown of `ext-authz`, and its log.

use std::{process::Stdio, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::{Asked, AuthorizationClient, CheckRequest, Envoy, Place};
use crate::common::{
    Http,
    certificates::Authority,
    gateway::{Gateway, Log},
    text,
};

#[tokio::test]
async fn only_this_machine_gets_tokens_unless_envoy_presents_a_certificate() {
    let place = Place::new().await;
    let keys = place.write("keys", "alice:sk-alice-SECRET-0123456789");
    for options in [&[][..], &["--client-key-file", &keys]] {
        let options = [&["--listen", "0.0.0.0:0"], options].concat();
        let output = place.command(&options).output().await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for remedy in ["--tls-client-ca", "--allow-unauthenticated", "access tokens"] {
            assert!(said.contains(remedy), "{said}");
        }
    }
    let command = place.command(&["--listen", "0.0.0.0:0", "--allow-unauthenticated"]);
    assert!(Gateway::start(command).await.addr.ip().is_unspecified());
    let output = place.command(&["--listen", "unix:"]).output().await.unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("give a path, unix:PATH"));
}

#[tokio::test]
async fn a_socket_file_serves_and_is_removed_at_the_end_of_the_process() {
    let place = Place::new().await;
    let path = place.path("envoy.sock");
    // A socket file that a killed process left behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("unix:{path}");
    let mut child = place.command(&["--listen", &listen]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), format!("listening on {listen}"));
    let second = place.command(&["--listen", &listen]).output().await.unwrap();
    assert_eq!(second.status.code(), Some(2), "the first one still serves");

    let to = path.clone();
    let connector = service_fn(move |_| {
        let path = to.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://envoy");
    let channel = endpoint.connect_with_connector(connector).await.unwrap();
    let mut check = AuthorizationClient::new(channel);
    let error = check.check(CheckRequest::default()).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::InvalidArgument, "the service responds");
    let id = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.unwrap();
    assert!(status.unwrap().success());
    assert!(!std::path::Path::new(&path).exists());
}

#[tokio::test]
async fn a_socket_file_that_accepts_no_stream_is_not_removed() {
    let place = Place::new().await;
    let path = place.path("envoy.sock");
    // A datagram socket serves this file: connecting to it as a stream fails, but not with
    // "refused".
    let _served = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let mut command = place.command(&["--listen", &format!("unix:{path}")]);
    let output = tokio::time::timeout(Duration::from_secs(20), command.output());
    let output = output.await.expect("the process ends").unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(std::path::Path::new(&path).exists());
}

#[tokio::test]
async fn an_idle_connection_does_not_delay_the_shutdown() {
    let place = Place::new().await;
    let (cert, key) = Authority::new().server();
    let (cert, key) = (place.write("cert", &cert), place.write("key", &key));
    for tls in [&[][..], &["--tls-cert", &cert, "--tls-key", &key]] {
        let options = [&["--drain-timeout", "0"], tls].concat();
        let mut gateway = Gateway::start(place.command(&options)).await;
        let mut sockets = Vec::new();
        // The first client sends nothing, the second less than the preface.
        for said in [&b""[..], b"PRI * HTTP/2.0"] {
            let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
            socket.write_all(said).await.unwrap();
            sockets.push(socket);
        }
        gateway.terminate();
        // This fails after 20 s.
        assert!(gateway.ended().await.success());
    }
}

#[tokio::test]
async fn a_connection_that_sends_nothing_is_closed() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.command(&[])).await;
    let mut socket = TcpStream::connect(gateway.addr).await.unwrap();
    let mut rest = Vec::new();
    let closed = socket.read_to_end(&mut rest);
    let closed = tokio::time::timeout(Duration::from_secs(60), closed)
        .await
        .expect("the connection is closed");
    assert_eq!((closed.unwrap(), &*rest), (0, &b""[..]));
}

#[tokio::test]
async fn a_call_without_a_message_is_ended() {
    let place = Place::new().await;
    let gateway = Gateway::start(place.command(&[])).await;
    let socket = TcpStream::connect(gateway.addr).await.unwrap();
    let (mut requests, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
    const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
    let calls = [(CHECK, &b""[..]), (CHECK, b"\0\0\0\0\x05a"), (PROCESS, b"")];
    let calls: Vec<_> = calls
        .into_iter()
        .map(|(path, begun)| {
            let request = http::Request::post(format!("http://envoy{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers");
            let (answer, mut body) =
                requests.send_request(request.body(()).unwrap(), false).unwrap();
            body.send_data(bytes::Bytes::from_static(begun), false).unwrap();
            (answer, body)
        })
        .collect();
    for (answer, _body) in calls {
        let ended = async {
            let mut answer = answer.await.unwrap().into_body();
            while let Some(data) = answer.data().await {
                data.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the call is ended");
    }
}

#[tokio::test]
async fn mutual_tls_requires_a_client_certificate() {
    let place = Place::new().await;
    let authority = Authority::new();
    let (cert, key) = authority.server();
    let (cert, key) = (place.write("cert", &cert), place.write("key", &key));
    let ca = place.write("ca", &authority.pem());
    let options = ["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca];
    let options = [&["--listen", "0.0.0.0:0"], &options[..]].concat();
    let gateway = Gateway::start(place.command(&options)).await;
    let port = gateway.addr.port();

    let connect = |mut config: ClientConfig| async move {
        config.alpn_protocols = vec![b"h2".to_vec()];
        let config = Arc::new(config);
        let connector = service_fn(move |_| {
            let config = Arc::clone(&config);
            async move {
                let socket = TcpStream::connect(("127.0.0.1", port)).await?;
                let name = ServerName::try_from("localhost").unwrap();
                TlsConnector::from(config).connect(name, socket).await.map(TokioIo::new)
            }
        });
        Endpoint::from_static("http://envoy").connect_with_connector(connector).await
    };
    let channel: Channel =
        connect(authority.trusting_client(Some(authority.client()))).await.unwrap();
    let envoy = Envoy::new(gateway, channel);
    envoy.pass(Asked::chat()).await;
    // In TLS 1.3 a client learns from its first read that its certificate was required.
    if let Ok(channel) = connect(authority.trusting_client(None)).await {
        let error = AuthorizationClient::new(channel).check(CheckRequest::default()).await;
        assert_ne!(
            error.unwrap_err().code(),
            tonic::Code::InvalidArgument,
            "the service responded"
        );
    }
}

#[tokio::test]
async fn sigterm_lets_calls_finish_and_no_token_is_in_the_log() {
    let place = Place::new().await;
    let options =
        ["--admin-listen", "127.0.0.1:0", "--log-format", "json", "--drain-timeout", "20"];
    let mut command = place.command(&options);
    command.env("VERTEX_GATEWAY_LOG", "trace").stderr(Stdio::piped());
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let mut gateway = Gateway::start(command).await;
    let admin = gateway.stdout.next_line().await.unwrap().unwrap();
    let admin = admin.strip_prefix("admin on ").unwrap().to_owned();
    let mut log = Log::of(&mut gateway);
    let log = tokio::spawn(async move {
        let mut lines = Vec::new();
        while let Some(line) = log.line().await {
            lines.push(line);
        }
        lines
    });
    let channel = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    let mut envoy = Envoy::new(gateway, channel.connect().await.unwrap());
    let token =
        envoy.pass(Asked::chat().key("of-a-client-SECRET")).await.0["authorization"].clone();
    envoy.refused(Asked::of_model("gemini-2.5-flash").with("x-request-id", "mine")).await;
    let metrics = http::Request::get(format!("{admin}/metrics")).body(Default::default()).unwrap();
    let metrics = crate::common::client::<http_body_util::Empty<bytes::Bytes>>(Http::One)
        .request(metrics.map(tower_vertex::replay::ReplayBody::plain))
        .await
        .unwrap();
    let metrics = text(metrics).await;
    assert!(
        metrics.contains(
            "vertex_gateway_requests_total{client=\"\",model=\"google/gemini-2.5-flash\",\
             location=\"us-central1\",status=\"200\",end=\"complete\"} 1"
        ),
        "{metrics}"
    );
    assert!(metrics.contains(
        "vertex_gateway_local_replies_total{error_code=\"model_alias_not_supported\"} 1"
    ));

    // This stream waits for the response of Vertex AI.
    let (messages, stream) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut answers = envoy.heal().process(stream).await.unwrap().into_inner();
    envoy.gateway.terminate();
    let mut patience = 0;
    while TcpStream::connect(envoy.gateway.addr).await.is_ok() {
        patience += 1;
        assert!(patience < 1000, "the listener still accepts connections");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let request =
        envoy_types::pb::envoy::service::ext_proc::v3::processing_request::Request::RequestHeaders(
            Default::default(),
        );
    messages
        .send(envoy_types::pb::envoy::service::ext_proc::v3::ProcessingRequest {
            request: Some(request),
            ..Default::default()
        })
        .await
        .unwrap();
    assert!(answers.message().await.unwrap().is_some(), "the stream is served after SIGTERM");
    drop(messages);
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(envoy.gateway.ended().await.code(), Some(0));

    let lines = log.await.unwrap();
    let all = lines.join("\n");
    assert!(!all.contains("SECRET") && !all.contains(token.strip_prefix("Bearer ").unwrap()));
    assert!(all.contains("traces are not exported: Envoy forwards the requests"), "{all}");
    let line = lines.iter().find(|line| line.contains("\"mine\"")).expect(&all);
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(
        (&line["error_code"], &line["status"]),
        (&"model_alias_not_supported".into(), &400.into())
    );
    assert!(line["error_message"].as_str().unwrap().contains("use \""), "{line}");
    assert!(!all.contains("2001:db8::7"), "the peer is logged without --log-peer-address: {all}");
}

#[tokio::test]
async fn log_peer_address_adds_envoys_client_to_each_line() {
    let place = Place::new().await;
    let mut command = place.command(&["--log-format", "json", "--log-peer-address"]);
    command.stderr(Stdio::piped());
    let mut gateway = Gateway::start(command).await;
    let mut log = Log::of(&mut gateway);
    let channel = Endpoint::from_shared(format!("http://{}", gateway.addr)).unwrap();
    let envoy = Envoy::new(gateway, channel.connect().await.unwrap());
    envoy.pass(Asked::chat()).await;
    envoy.refused(Asked::of_model("gemini-2.5-flash")).await;
    for status in [200, 400] {
        let line = log.until("gateway::access").await;
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&line["status"], &line["peer_address"]),
            (&status.into(), &"[2001:db8::7]:4711".into())
        );
    }
}
