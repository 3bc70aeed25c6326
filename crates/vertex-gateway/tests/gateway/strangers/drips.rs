//! Memory for bodies of requests and responses that arrive in small pieces, each of which is read
//! on its own. A stream may take at most twice its bytes and 16 KiB, measured by the resident
//! memory of the process.
//!
//! Without optimisations the sidecar's stacks and futures are larger, but they exist before the
//! measurement, so the same limit holds for every build.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::channel::{Channel, Sender};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tower_vertex::BoxError;
use tower_vertex_emulator::Emulator;

use crate::common::{
    Http, eventually,
    gateway::{Gateway, before},
    in_time,
    vitals::Vitals,
    world::World,
};

/// With this many streams, other allocations of the process are small for each stream.
const STREAMS: usize = 50;
/// The memory that a stream may take besides twice its bytes.
const ALLOWANCE: u64 = 16 << 10;
/// The lengths of pieces, and their numbers. Earlier versions kept 3,571 bytes for each byte of the
/// first kind, and three and a half for each byte of the second.
const DRIPS: [(usize, usize); 2] = [(1, 200), (1024, 100)];

/// The gateway waits ten seconds for the rest of an error, so these are fewer pieces.
const FEW_DRIPS: [(usize, usize); 2] = [(1, 40), (1024, 20)];

/// The first small pieces share the buffer into which the request head was read. These pieces fill
/// it, so that each later piece is read into a buffer of its own.
const FILLING: (usize, usize) = (4000, 4);

/// A network namespace with a short table of sockets. The kernel walks through the whole table for
/// each read of `/proc/net/tcp`, and the machine's table has hundreds of thousands of slots.
/// Kernels before Linux 6.1 have only that one, and there the test takes longer.
const SHORT_TABLE: &str =
    "if echo 256 2>/dev/null >/proc/sys/net/ipv4/tcp_child_ehash_entries; then
    exec unshare -n sh -ec 'ip link set lo up; exec \"$0\" \"$@\"' \"$0\" \"$@\"
fi";

/// Runs the test of this name again in such a network namespace, and returns `true` inside of it.
fn enter(name: &str) -> bool {
    let mut world = World::new().hosts("").network(SHORT_TABLE);
    if let Some(gateway) = std::env::var_os("VERTEX_GATEWAY") {
        world = world.variable("VERTEX_GATEWAY", gateway);
    }
    world.enter(module_path!(), name)
}

/// A stand-in for Vertex AI that reads all requests and does not respond by itself.
struct Silent {
    addr: SocketAddr,
    read: Arc<AtomicUsize>,
    /// Each connection, once it has sent something.
    connections: mpsc::UnboundedReceiver<tokio::net::tcp::OwnedWriteHalf>,
}

impl Silent {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (connected, connections) = mpsc::unbounded_channel();
        let read = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&read);
        tokio::spawn(async move {
            loop {
                let socket = listener.accept().await.unwrap().0;
                // Otherwise the kernel delays a piece, to send it with the next one.
                socket.set_nodelay(true).unwrap();
                let (mut reader, writer) = socket.into_split();
                let (connected, counter) = (connected.clone(), Arc::clone(&counter));
                tokio::spawn(async move {
                    let mut buffer = vec![0; 16 << 10];
                    let mut writer = Some(writer);
                    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
                        counter.fetch_add(length, Relaxed);
                        if let Some(writer) = writer.take() {
                            let _ = connected.send(writer);
                        }
                    }
                });
            }
        });
        Self { addr, read, connections }
    }

    async fn next(&mut self) -> tokio::net::tcp::OwnedWriteHalf {
        in_time("a request upstream", self.connections.recv()).await.unwrap()
    }
}

/// Waits until the sidecar has read all bytes that its clients and `upstream` sent. A piece that
/// waits in the kernel would be read together with the next one.
async fn all_is_read(gateway: &Gateway, upstream: SocketAddr) {
    // Lets the tasks of this runtime send the data that they just got.
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    let (ours, theirs) =
        (format!(":{:04X}", gateway.addr.port()), format!(":{:04X}", upstream.port()));
    let is_unread = || {
        let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
        sockets.lines().skip(1).any(|socket| {
            let mut fields = socket.split_whitespace().skip(1);
            let (local, remote) = (fields.next().unwrap(), fields.next().unwrap());
            let queues = fields.nth(1).unwrap();
            let of_gateway = local.ends_with(&ours) || remote.ends_with(&theirs);
            of_gateway && !queues.ends_with(":00000000")
        })
    };
    in_time("the sidecar reads", async {
        while is_unread() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// An upload in progress.
enum Upload {
    One(TcpStream),
    Two(Sender<Bytes, BoxError>),
}

impl Upload {
    async fn begin(http: Http, addr: SocketAddr, headers: &[(&str, &str)]) -> Self {
        let mut socket = TcpStream::connect(addr).await.unwrap();
        socket.set_nodelay(true).unwrap();
        if http == Http::One {
            let mut head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n".to_owned();
            head += "transfer-encoding: chunked\r\n";
            headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
            socket.write_all((head + "\r\n").as_bytes()).await.unwrap();
            return Self::One(socket);
        }
        let io = TokioIo::new(socket);
        let (mut client, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        let (sender, body) = Channel::<Bytes, BoxError>::new(1);
        let mut request = Request::post(format!("http://{addr}/v1/chat/completions"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).unwrap();
        tokio::spawn(async move { client.send_request(request).await });
        Self::Two(sender)
    }

    async fn send(&mut self, piece: &Bytes) {
        match self {
            Self::One(socket) => socket.write_all(&chunk(piece)).await.unwrap(),
            Self::Two(sender) => sender.send_data(piece.clone()).await.unwrap(),
        }
    }
}

fn chunk(data: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat()
}

/// Fails if each stream keeps more than twice its bytes and the allowance.
fn check_memory(what: &str, gateway: &Gateway, begin: Vitals, sent: usize) {
    let memory = Vitals::of(gateway).memory;
    let each = memory.saturating_sub(begin.memory) / STREAMS as u64;
    println!("{what}: {each} bytes for {sent}");
    let most = 2 * sent as u64 + ALLOWANCE;
    assert!(each <= most, "{what}: {each} bytes for {sent} of each stream, {most} are allowed");
}

/// How the pieces of an upload are written.
#[derive(Clone, Copy)]
enum Coded {
    Plain,
    /// Each piece is a block of its own, which is not compressed (RFC 1951 §3.2.4).
    Gzip,
}

impl Coded {
    fn begin(self, piece: &[u8]) -> Bytes {
        const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        match self {
            Self::Plain => Bytes::copy_from_slice(piece),
            Self::Gzip => [&HEADER[..], &self.piece(piece)].concat().into(),
        }
    }

    fn piece(self, piece: &[u8]) -> Bytes {
        let Self::Gzip = self else { return Bytes::copy_from_slice(piece) };
        let length = u16::try_from(piece.len()).unwrap();
        [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), piece].concat().into()
    }
}

/// Sends uploads with these headers, over each protocol and in each kind of piece, to a sidecar
/// with these options.
async fn uploads(what: &str, headers: &[(&str, &str)], options: &[&str], is_forwarded: bool) {
    let vertex = Emulator::start().await.unwrap();
    let coded = if headers.contains(&GZIP) { Coded::Gzip } else { Coded::Plain };
    for http in [Http::One, Http::Two] {
        for (length, times) in DRIPS {
            let mut upstream = Silent::start().await;
            let url = format!("http://{}", upstream.addr);
            let (command, _key) = before(&vertex, &url, options);
            let minted = vertex.stats().token_mints;
            let gateway = Gateway::start(command).await;
            // The first token takes memory, too.
            eventually("the first token", || vertex.stats().token_mints > minted).await;
            let mut uploads = Vec::new();
            for _ in 0..STREAMS {
                let mut upload = Upload::begin(http, gateway.addr, headers).await;
                upload.send(&coded.begin(br#"{"model":"m","messages":""#)).await;
                uploads.push(upload);
            }
            // The connections stay open.
            let mut forwarded = Vec::new();
            while is_forwarded && forwarded.len() < STREAMS {
                forwarded.push(upstream.next().await);
            }
            all_is_read(&gateway, upstream.addr).await;
            let mut begin = None;
            for (length, times) in [FILLING, (length, times)] {
                begin = Some(Vitals::of(&gateway));
                let piece = coded.piece(&vec![b'x'; length]);
                for _ in 0..times {
                    for upload in &mut uploads {
                        upload.send(&piece).await;
                    }
                    all_is_read(&gateway, upstream.addr).await;
                }
            }
            let what = format!("{what} over {http:?} by {length}");
            let all = STREAMS * (FILLING.0 * FILLING.1 + length * times);
            let has_arrived = || upstream.read.load(Relaxed) >= all;
            if is_forwarded {
                eventually(&what, has_arrived).await;
            }
            check_memory(&what, &gateway, begin.unwrap(), length * times);
            assert_eq!(is_forwarded, has_arrived(), "{what}");
        }
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

#[tokio::test]
async fn a_body_that_drips_takes_at_most_twice_its_bytes_if_it_is_read_for_its_model() {
    if enter("a_body_that_drips_takes_at_most_twice_its_bytes_if_it_is_read_for_its_model") {
        uploads("JSON", &[JSON], &[], false).await;
    }
}

#[tokio::test]
async fn a_body_that_drips_takes_at_most_twice_its_bytes_if_it_is_no_json() {
    if enter("a_body_that_drips_takes_at_most_twice_its_bytes_if_it_is_no_json") {
        uploads("text", &[("content-type", "text/plain")], &[], true).await;
    }
}

#[tokio::test]
async fn a_body_that_drips_takes_at_most_twice_its_bytes_if_two_layers_may_send_it_again() {
    if enter("a_body_that_drips_takes_at_most_twice_its_bytes_if_two_layers_may_send_it_again") {
        let options = ["--max-attempts", "3"];
        uploads("text, to be retried", &[("content-type", "text/plain")], &options, true).await;
    }
}

#[tokio::test]
async fn a_body_that_drips_takes_at_most_twice_its_bytes_if_it_is_compressed() {
    if enter("a_body_that_drips_takes_at_most_twice_its_bytes_if_it_is_compressed") {
        let headers = [("content-type", "text/plain"), GZIP];
        uploads("gzip, to be retried", &headers, &["--max-attempts", "3"], true).await;
        uploads("gzip, read for its model", &[JSON, GZIP], &[], false).await;
    }
}

#[tokio::test]
async fn a_body_that_drips_takes_at_most_twice_its_bytes_if_no_rule_applies_to_its_endpoint() {
    if enter("a_body_that_drips_takes_at_most_twice_its_bytes_if_no_rule_applies_to_its_endpoint") {
        uploads("own endpoint", &[JSON], &["--endpoint", "1"], true).await;
    }
}

/// Sends responses with these headers, whose bodies arrive in small pieces.
async fn answers(what: &str, head: &str, first: &str, drips: [(usize, usize); 2]) {
    let vertex = Emulator::start().await.unwrap();
    for (length, times) in drips {
        let mut upstream = Silent::start().await;
        let (command, _key) = before(&vertex, &format!("http://{}", upstream.addr), &[]);
        let gateway = Gateway::start(command).await;
        let (mut clients, mut answers) = (Vec::new(), Vec::new());
        for _ in 0..STREAMS {
            let mut client = TcpStream::connect(gateway.addr).await.unwrap();
            let request = "GET /v1/responses/1 HTTP/1.1\r\nhost: localhost\r\n\r\n";
            client.write_all(request.as_bytes()).await.unwrap();
            clients.push(client);
            let mut answer = upstream.next().await;
            let head = format!("{head}\r\ncontent-type: text/event-stream\r\n");
            let head = format!("{head}transfer-encoding: chunked\r\n\r\n");
            answer.write_all(&[head.as_bytes(), &chunk(first.as_bytes())].concat()).await.unwrap();
            answers.push(answer);
        }
        all_is_read(&gateway, upstream.addr).await;
        // After the first piece, the code that reads a piece is in memory.
        for answer in &mut answers {
            answer.write_all(&chunk(b"x")).await.unwrap();
        }
        all_is_read(&gateway, upstream.addr).await;
        let begin = Vitals::of(&gateway);
        let piece = chunk(&vec![b'x'; length]);
        for _ in 0..times {
            for answer in &mut answers {
                answer.write_all(&piece).await.unwrap();
            }
            all_is_read(&gateway, upstream.addr).await;
        }
        check_memory(&format!("{what} by {length}"), &gateway, begin, length * times);
        // The client got none of these pieces.
        for client in &mut clients {
            let mut came = [0; 1024];
            let length = client.try_read(&mut came).unwrap_or(0);
            assert!(!came[..length].windows(3).any(|bytes| bytes == b"xxx"), "{came:?}");
        }
    }
}

#[tokio::test]
async fn an_event_that_drips_takes_at_most_twice_its_bytes() {
    if enter("an_event_that_drips_takes_at_most_twice_its_bytes") {
        answers("event", "HTTP/1.1 200 OK", "data: x", DRIPS).await;
    }
}

#[tokio::test]
async fn an_error_that_drips_takes_at_most_twice_its_bytes() {
    if enter("an_error_that_drips_takes_at_most_twice_its_bytes") {
        let first = r#"[{"error":{"message":""#;
        answers("error", "HTTP/1.1 500 Internal Server Error", first, FEW_DRIPS).await;
    }
}
