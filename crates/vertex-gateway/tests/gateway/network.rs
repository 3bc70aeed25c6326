//! Failures of the network below `vertex-gateway`: names disappear or point elsewhere, and machines
//! vanish without a word. The tests run in a network namespace with a name server of its own.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::Command as Shell,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::BodyExt as _;
use tokio::{net::UdpSocket, process::Command, task::JoinHandle};
use tower_vertex_emulator::{Emulator, StreamBehavior, TokenBehavior};

use crate::common::{
    chat, chat_stream,
    door::Door,
    echo, eventually,
    gateway::{Gateway, command, openai_error},
    in_time,
    load::{CLIENTS, Load, row},
    pace, said, text,
    world::World,
};

const VERTEX: &str = "us-central1-aiplatform.googleapis.com";
const TOKENS: &str = "tokens.example.com";
const LOCALHOST: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// The addresses from which and to which a name moves.
const OLD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const NEW: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// A name server for all names, with a reply for each name.
struct Names {
    known: Arc<Mutex<HashMap<&'static str, Answer>>>,
    /// The names that were looked up.
    asked: Arc<Mutex<Vec<String>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    At(Ipv4Addr),
    /// There is no such name.
    Gone,
    /// The server fails for now.
    Failure,
    /// The server does not reply.
    Silence,
}

impl Names {
    async fn serve(at: Ipv4Addr, names: &[(&'static str, Ipv4Addr)]) -> Self {
        let socket = UdpSocket::bind((at, 53)).await.unwrap();
        let known = names.iter().map(|&(name, address)| (name, Answer::At(address))).collect();
        let (known, asked) = (Arc::new(Mutex::new(known)), Arc::default());
        let names = Self { known: Arc::clone(&known), asked: Arc::clone(&asked) };
        tokio::spawn(async move {
            let mut query = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut query).await.unwrap();
                let answer = reply(&query[..length], &known.lock().unwrap());
                asked.lock().unwrap().push(name(&query[..length]).0);
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, client).await;
                }
            }
        });
        names
    }

    fn set(&self, name: &'static str, answer: Answer) {
        self.known.lock().unwrap().insert(name, answer);
    }

    /// The number of lookups of a name.
    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| *asked == name).count()
    }
}

/// The name in a query, and the position of its end.
fn name(query: &[u8]) -> (String, usize) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(std::str::from_utf8(&query[at + 1..end]).unwrap().to_ascii_lowercase());
        at = end;
    }
    (labels.join("."), at)
}

/// Replies according to RFC 1035 §4, as far as a resolver of A and AAAA needs it.
fn reply(query: &[u8], known: &HashMap<&str, Answer>) -> Option<Vec<u8>> {
    let (name, end) = name(query);
    let (question, kind) = (&query[12..end + 5], query[end + 2]);
    let (code, address) = match known.get(&*name) {
        Some(Answer::Silence) => return None,
        Some(Answer::Failure) => (2, None),
        None | Some(Answer::Gone) => (3, None),
        // There is an A record, and no AAAA record.
        Some(Answer::At(address)) => (0, (kind == 1).then_some(address)),
    };
    let answers = u8::from(address.is_some());
    let mut reply = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, answers, 0, 0, 0, 0]].concat();
    reply.extend(question);
    if let Some(address) = address {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

/// A world whose name server is at 127.0.0.1.
fn world() -> World {
    World::new().hosts("").network(RESOLVER).variable("SSL_CERT_FILE", "authority.pem")
}

const RESOLVER: &str = r#"
printf 'nameserver %s\noptions timeout:%s attempts:1\n' "${NAMESERVER:-127.0.0.1}" "${PATIENCE:-1}" > "$HOME/resolv.conf"
echo 'hosts: files dns' > "$HOME/nsswitch.conf"
mount --bind "$HOME/resolv.conf" /etc/resolv.conf
mount --bind "$HOME/nsswitch.conf" /etc/nsswitch.conf
"#;

/// Vertex AI by its own name over TLS, and a token endpoint by name.
async fn emulator() -> Emulator {
    let vertex = Emulator::builder().tls(true).start().await.unwrap();
    fs::write("authority.pem", vertex.certificate_pem().unwrap()).unwrap();
    let key = vertex.service_account_key();
    let tokens = vertex.control_url().replace("127.0.0.1", TOKENS);
    let key = key.replace(&vertex.control_url(), &tokens);
    assert!(key.contains(TOKENS));
    fs::write("key.json", key).unwrap();
    vertex
}

/// Inside of the test's world, starts a name server with Vertex AI at an address, and the emulator
/// behind it. Returns none outside of that world, where nothing is left to do.
async fn inside(
    world: World,
    test: &str,
    server: Ipv4Addr,
    vertex: Ipv4Addr,
) -> Option<(Names, Emulator)> {
    if !world.enter(module_path!(), test) {
        return None;
    }
    let names = Names::serve(server, &[(VERTEX, vertex), (TOKENS, server)]).await;
    Some((names, emulator().await))
}

async fn door(at: Ipv4Addr, vertex: &Emulator) -> Arc<Door> {
    let door = Door::new((at, 443).into(), vertex.addr()).await;
    door.open().await;
    door
}

fn gateway(more: &[&str]) -> Command {
    // The token endpoint is a name of this network, and is called without TLS.
    let args = ["--project", "p1", "--location", "us-central1", "--credentials", "key.json"];
    command(&[&args, &["--allow-insecure-token-endpoints"][..], more].concat())
}

const LOCAL: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// Opens so many idle connections that no client needs another one.
async fn a_connection_for_each_client(gateway: &Gateway, vertex: &Emulator, door: &Door) {
    // The delay is longer than the start of all streams takes.
    let (chunks, chunk_delay) = (Some(2), Duration::from_secs(5));
    pace(vertex, StreamBehavior { chunks, chunk_delay, ..StreamBehavior::default() });
    let mut streams = Vec::new();
    for _ in 0..CLIENTS {
        streams.push(gateway.call(chat_stream("x")).await);
    }
    assert!(door.connected() >= CLIENTS, "{} connections", door.connected());
    vertex.clear_faults();
    for stream in streams {
        assert_eq!(said(&text(stream).await), Some(echo("x")));
    }
}

#[tokio::test]
async fn names_that_do_not_resolve_are_a_502_until_they_do() {
    let test = "names_that_do_not_resolve_are_a_502_until_they_do";
    let Some((names, vertex)) = inside(world(), test, LOCALHOST, LOCALHOST).await else { return };
    let door = door(LOCALHOST, &vertex).await;
    // All clients use one worker, which has one pool.
    let gateway = gateway(&[LOCAL, ["--workers", "1"]].concat());
    let gateway = Arc::new(Gateway::start(gateway).await);
    for (name, answer) in [
        ("names are gone", Answer::Gone),
        ("the name server fails", Answer::Failure),
        ("the name server does not reply", Answer::Silence),
    ] {
        // Open connections need no names, so no request fails.
        a_connection_for_each_client(&gateway, &vertex, &door).await;
        let before = door.passed();
        names.set(VERTEX, answer);
        Load::check_all_succeed(&gateway, name).await;
        assert_eq!(door.passed(), before, "no connection had to be made");
        names.set(VERTEX, Answer::At(LOCALHOST));
        // New connections need them.
        let breaks = async || {
            names.set(VERTEX, answer);
            door.shut();
            door.open().await;
        };
        row(name, &gateway, &[502], breaks, async || names.set(VERTEX, Answer::At(LOCALHOST)))
            .await;
    }
}

#[tokio::test]
async fn a_lookup_that_hangs_does_not_delay_the_shutdown() {
    let test = "a_lookup_that_hangs_does_not_delay_the_shutdown";
    // The lookup takes longer than the test waits for the shutdown. 30 s is the resolver's maximum.
    let world = world().variable("PATIENCE", "30");
    let Some((names, vertex)) = inside(world, test, LOCALHOST, LOCALHOST).await else { return };
    names.set(TOKENS, Answer::Silence);
    let mut gateway = Gateway::start(gateway(&LOCAL)).await;
    eventually("the token endpoint is looked up", || names.asked(TOKENS) > 0).await;
    gateway.terminate();
    assert!(gateway.ended().await.success());
    assert_eq!(vertex.stats().token_requests, 0);
}

#[tokio::test]
async fn without_the_name_of_the_token_endpoint_requests_get_503_until_it_resolves() {
    let test = "without_the_name_of_the_token_endpoint_requests_get_503_until_it_resolves";
    let Some((names, vertex)) = inside(world(), test, LOCALHOST, LOCALHOST).await else { return };
    let _door = door(LOCALHOST, &vertex).await;
    vertex.set_token_behavior(TokenBehavior { expires_in: 3.into(), ..TokenBehavior::default() });
    let gateway = Arc::new(Gateway::start(gateway(&LOCAL)).await);
    let breaks = async || names.set(TOKENS, Answer::Gone);
    let mends = async || {
        vertex.set_token_behavior(TokenBehavior::default());
        names.set(TOKENS, Answer::At(LOCALHOST));
    };
    // 401: the token expires in transit.
    row("the token endpoint has no name", &gateway, &[401, 503], breaks, mends).await;
}

#[tokio::test]
async fn a_name_that_moves_is_followed() {
    let test = "a_name_that_moves_is_followed";
    let Some((names, vertex)) = inside(world(), test, LOCALHOST, OLD).await else { return };
    let (door_of_old, door_of_new) = (door(OLD, &vertex).await, door(NEW, &vertex).await);
    let gateway = Arc::new(Gateway::start(gateway(&LOCAL)).await);
    let mut load = Load::start(&gateway);
    load.more("before", |status| status == 200).await;
    assert_eq!((door_of_old.passed() > 0, door_of_new.passed()), (true, 0));
    names.set(VERTEX, Answer::At(NEW));
    door_of_old.shut();
    load.more("after", |status| status == 200).await;
    let seen = load.end().await;
    // 502: requests that were in flight when the old server stopped.
    assert!(seen.has_only(&[200, 502]), "{seen:?}");
    let lost = seen.statuses.get(&502).unwrap_or(&0) + seen.interrupted;
    assert!(lost <= CLIENTS, "{seen:?}");
    assert!(door_of_new.passed() > 0);
    Load::check_all_succeed(&gateway, "for good").await;
}

#[tokio::test]
async fn a_name_that_moves_is_followed_though_the_old_address_still_serves() {
    let test = "a_name_that_moves_is_followed_though_the_old_address_still_serves";
    let Some((names, vertex)) = inside(world(), test, LOCALHOST, OLD).await else { return };
    let (door_of_old, door_of_new) = (door(OLD, &vertex).await, door(NEW, &vertex).await);
    let lifetime = ["--upstream-connection-lifetime", "1"];
    let gateway = Arc::new(Gateway::start(gateway(&[LOCAL, lifetime].concat())).await);
    let mut load = Load::start(&gateway);
    load.more("before", |status| status == 200).await;
    names.set(VERTEX, Answer::At(NEW));
    let at_old = door_of_old.passed();
    // Only their age closes the connections to the old address.
    load.until("all have moved", || door_of_old.connected() == 0).await;
    door_of_old.shut();
    load.more("after", |status| status == 200).await;
    let seen = load.end().await;
    assert!(seen.all_succeeded(), "{seen:?}");
    assert!(door_of_new.passed() > 0);
    // Lookups that were in flight may still have led to the old address.
    assert!(door_of_old.passed() <= at_old + CLIENTS);
}

/// Two networks of two machines each, this one and the gateway's: 10.9.7.0 for the clients, the
/// name server and tokens, and 10.9.8.0 for Vertex AI.
const TWO_MACHINES: &str = r#"
mount -t tmpfs none /run
ip netns add gateway
ip -n gateway link set lo up
for net in 7 8; do
    ip link add "here$net" type veth peer name "there$net" netns gateway
    ip addr add "10.9.$net.1/24" dev "here$net"
    ip -n gateway addr add "10.9.$net.2/24" dev "there$net"
    ip link set "here$net" up
    ip -n gateway link set "there$net" up
done
"#;

/// From now on, packets of 10.9.8.0 are dropped without any error.
fn vanish(gone: bool) {
    let args = ["route", if gone { "add" } else { "del" }, "blackhole", "10.9.8.2/32"];
    assert!(Shell::new("ip").args(args).status().unwrap().success());
}

#[tokio::test]
async fn connections_to_a_machine_that_vanishes_are_closed_after_half_a_minute() {
    let test = "connections_to_a_machine_that_vanishes_are_closed_after_half_a_minute";
    let here = Ipv4Addr::new(10, 9, 7, 1);
    let dead = Ipv4Addr::new(10, 9, 8, 1);
    let world = world().variable("NAMESERVER", "10.9.7.1").network(TWO_MACHINES);
    let Some((names, vertex)) = inside(world, test, here, dead).await else { return };
    let (door_of_dead, door_of_new) = (door(dead, &vertex).await, door(here, &vertex).await);
    let port = vertex.control_url().rsplit_once(':').unwrap().1.parse().unwrap();
    let tokens = Door::new((here, port).into(), SocketAddr::from((LOCALHOST, port))).await;
    tokens.open().await;
    let inside = gateway(&["--listen", "10.9.7.2:0", "--allow-unauthenticated"]).into_std();
    let mut outside = Command::new("nsenter");
    outside.arg("--net=/run/netns/gateway").arg(inside.get_program()).args(inside.get_args());
    outside.kill_on_drop(true);
    let gateway = Arc::new(Gateway::start(outside).await);

    // In flight are one request without a response yet, and one stream in its middle. Other
    // connections are idle.
    Load::check_all_succeed(&gateway, "before").await;
    let forever = Duration::from_secs(3600);
    pace(&vertex, StreamBehavior { chunk_delay: forever, ..StreamBehavior::default() });
    let mut streaming = gateway.call(chat_stream("a stream")).await.into_body();
    in_time("the first chunk", streaming.frame()).await.unwrap().unwrap();
    pace(&vertex, StreamBehavior { first_byte_delay: forever, ..StreamBehavior::default() });
    let asked = vertex.requests().len();
    let of_thinking = Arc::clone(&gateway);
    let thinking: JoinHandle<_> =
        tokio::spawn(async move { openai_error(of_thinking.call(chat("think")).await).await });
    eventually("the request has arrived", || vertex.requests().len() > asked).await;
    vertex.clear_faults();
    vanish(true);

    // The idle connections swallow requests until they are closed. After that, a request opens a
    // new connection, which times out with a 504.
    let mut load = Load::start(&gateway);
    load.wait_for(1, "vanished", |status| status == 502).await;
    // Every other timeout is ten minutes or more.
    let (status, code, _) = in_time("the end of the thinking", thinking).await.unwrap();
    assert_eq!((status, &*code), (502, "upstream_reset"));
    let rest = in_time("the end of the stream", streaming.collect()).await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&rest).contains("stream_interrupted"), "{rest:?}");

    // Another machine takes over the name.
    assert_eq!(door_of_new.passed(), 0);
    names.set(VERTEX, Answer::At(here));
    load.more("another machine", |status| status == 200).await;
    let seen = load.end().await;
    // 504: connections to the vanished machine that timed out.
    assert!(seen.has_only(&[200, 502, 504]), "{seen:?}");
    Load::check_all_succeed(&gateway, "for good").await;
    // When the first machine is back, old or new connections to it succeed.
    names.set(VERTEX, Answer::At(dead));
    door_of_new.shut();
    let before = door_of_dead.passed();
    vanish(false);
    let mut load = Load::start(&gateway);
    load.more("back", |status| status == 200).await;
    let seen = load.end().await;
    assert!(seen.has_only(&[200, 502]), "{seen:?}");
    assert!(door_of_dead.passed() > before);
    Load::check_all_succeed(&gateway, "at last").await;
}
