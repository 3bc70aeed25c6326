//! A thousand concurrent streams, over TLS on both sides.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};
use tower_vertex_emulator::{Emulator, StreamBehavior};

use crate::common::{
    certificates::Authority,
    chat, chat_stream, echo,
    gateway::{Gateway, before},
    in_time, pace, said, text,
    vitals::{Admin, Vitals},
};

/// Half of the streams use HTTP/1.1, half HTTP/2.
const STREAMS: usize = 1000;
/// Streams on one connection of a client over HTTP/2.
const SHARED: usize = 100;
/// The number of streams that may wait for their first chunk at a time. With one processor, a
/// handshake that waits for a thousand others may time out.
const BEGINNING: usize = 100;
/// The time between the first and the last chunk of a stream.
const LENGTH: Duration = Duration::from_secs(60);
const CHUNKS: usize = 7;

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

fn client(authority: &Authority, version: Version) -> Https {
    let https = HttpsConnectorBuilder::new().with_tls_config(authority.trusting_client(None));
    let two = version == Version::HTTP_2;
    let https = https.https_only();
    let https = if two { https.enable_http2().build() } else { https.enable_http1().build() };
    Client::builder(TokioExecutor::new()).http2_only(two).build(https)
}

async fn ask(
    client: &Https,
    addr: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Response<Incoming> {
    let path = request.uri().path_and_query().unwrap();
    *request.uri_mut() = format!("https://localhost:{}{path}", addr.port()).parse().unwrap();
    in_time("a response", client.request(request)).await.unwrap()
}

async fn chunk(body: &mut Incoming) -> Option<Bytes> {
    Some(in_time("a chunk", body.frame()).await?.unwrap().into_data().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_streams_of_a_minute_do_not_wait_for_each_other() {
    rlimit::increase_nofile_limit(u64::MAX).unwrap();
    // Like Google, the emulator offers HTTP/2 with 100 streams for each connection.
    let vertex = Emulator::builder().tls(true).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let of_vertex = file("authority.pem", vertex.certificate_pem().unwrap());
    let authority = Authority::new();
    let (cert, key) = authority.server();
    let (cert, key) = (file("cert.pem", &cert), file("key.pem", &key));
    let options = ["--admin-listen", "127.0.0.1:0", "--tls-cert", &cert, "--tls-key", &key];
    let (mut command, _key) = before(&vertex, &vertex.url(), &options);
    command.env("SSL_CERT_FILE", of_vertex).env("VERTEX_GATEWAY_LOG", "error");
    let mut gateway = Gateway::start(command).await;
    let admin = Admin::of(&mut gateway).await;
    let addr = gateway.addr;

    let one = client(&authority, Version::HTTP_11);
    let twos: Vec<Https> =
        (0..STREAMS / 2 / SHARED).map(|_| client(&authority, Version::HTTP_2)).collect();
    // These requests fetch the token and open a connection of each client over HTTP/2.
    for client in twos.iter().chain([&one]) {
        let answer = ask(client, addr, chat("before")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer).await;
    }
    let start = Vitals::of(&gateway);
    vertex.reset_stats();
    let (chunks, chunk_delay) = (Some(CHUNKS), LENGTH / (CHUNKS as u32 - 1));
    pace(&vertex, StreamBehavior { chunks, chunk_delay, ..StreamBehavior::default() });

    let (began, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (all_began, begin_to_end) = watch::channel(false);
    let beginning = Arc::new(Semaphore::new(BEGINNING));
    let mut streams = JoinSet::new();
    for number in 0..STREAMS {
        let (client, version) = match number % 2 {
            0 => (one.clone(), Version::HTTP_11),
            _ => (twos[number / 2 % twos.len()].clone(), Version::HTTP_2),
        };
        let (began, ended, mut all_began) =
            (Arc::clone(&began), Arc::clone(&ended), begin_to_end.clone());
        let beginning = Arc::clone(&beginning);
        streams.spawn(async move {
            let question = format!("stream {number} of many");
            let turn = beginning.acquire().await.unwrap();
            let sent = Instant::now();
            let answer = ask(&client, addr, chat_stream(&question)).await;
            assert_eq!((answer.status(), answer.version()), (StatusCode::OK, version));
            let mut body = answer.into_body();
            let mut stream = chunk(&mut body).await.unwrap().to_vec();
            let first = sent.elapsed();
            began.fetch_add(1, Relaxed);
            drop(turn);
            while let Some(next) = chunk(&mut body).await {
                stream.extend(next);
            }
            // No stream ends before all have begun.
            assert!(*all_began.borrow_and_update(), "{number} ended before all had begun");
            ended.fetch_add(1, Relaxed);
            assert_eq!(said(std::str::from_utf8(&stream).unwrap()), Some(echo(&question)));
            (first, sent.elapsed())
        });
    }
    while began.load(Relaxed) < STREAMS {
        if let Some(early) = streams.try_join_next() {
            early.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stats = vertex.stats();
    assert_eq!((stats.streams.open, stats.streams.completed), (STREAMS as u64, 0), "{stats:?}");
    assert_eq!(ended.load(Relaxed), 0);
    all_began.send_replace(true);

    // All streams are open. Other requests are served beside them.
    let open = Vitals::of(&gateway);
    let metrics = admin.metrics().await;
    assert_eq!(metrics.sum("vertex_gateway_requests_in_flight", ""), STREAMS as f64);
    let connections = metrics.sum("vertex_gateway_upstream_connections", "");
    for number in 0..20 {
        let question = format!("beside the streams {number}");
        let client = if number % 2 == 0 { &one } else { &twos[0] };
        let answer = text(ask(client, addr, chat(&question)).await).await;
        assert!(answer.contains(&format!("{}\"", echo(&question))), "{answer}");
    }
    assert_eq!(vertex.stats().streams.completed, 0);

    let mut firsts = Vec::new();
    while let Some(stream) = streams.join_next().await {
        let (first, whole) = stream.unwrap();
        assert!(whole >= LENGTH, "{whole:?}");
        firsts.push(first);
    }
    firsts.sort();
    let of_versions = |version: &str| {
        vertex.requests().iter().filter(|seen| seen.http_version == version).count()
    };
    println!(
        "{STREAMS} streams: first chunks after {:?} (median), {:?} (p99), {:?} (last); {} bytes and \
         {:.1} file descriptors of the gateway for each; {connections} connections to Vertex AI, \
         {} requests over HTTP/2",
        firsts[STREAMS / 2],
        firsts[STREAMS * 99 / 100],
        firsts[STREAMS - 1],
        open.memory.saturating_sub(start.memory) / STREAMS as u64,
        open.files.saturating_sub(start.files) as f64 / STREAMS as f64,
        of_versions("HTTP/2.0"),
    );
    let stats = vertex.stats();
    assert_eq!(stats.by_status, [(200, STREAMS as u64 + 20)].into());
    assert_eq!((stats.streams.completed, stats.streams.aborted, stats.token_mints), (1000, 0, 0));

    // Usage falls to its level before the streams: requests end at once, connections after their
    // idle timeout.
    admin.until("vertex_gateway_requests_in_flight", |number| number == 0.0).await;
    drop((one, twos));
    admin.until("vertex_gateway_client_connections", |number| number == 0.0).await;
    // A pool checks its idle connections only when it is used.
    let last = client(&authority, Version::HTTP_11);
    for _ in 0..1500 {
        let answer = ask(&last, addr, chat("afterwards")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer).await;
        let now = Vitals::of(&gateway);
        if now.files <= start.files + 20
            && now.memory < start.memory + open.memory.saturating_sub(start.memory) / 4
        {
            println!("afterwards {now:?}, before {start:?}, meanwhile {open:?}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{start:?}, with the streams {open:?}, and afterwards {:?}", Vitals::of(&gateway));
}
