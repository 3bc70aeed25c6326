//! Vertex AI and strangers, as servers of HTTP/1.1 over the simulated network.

use std::{io, sync::Arc, time::Duration};

use http::Uri;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{sleep, timeout},
};

use super::{
    messages::{Framing, Head, read_body, read_head},
    network::{SimSocket, connect},
    world::{Outcome, Sent, World, number_of},
};
use crate::outbound::simulated::{Dial, Io};

/// The host of Vertex AI, which the gateway trusts.
pub(super) const VERTEX: &str = "vertex.sim";
/// The time after which Linux gives up a connection whose peer does not acknowledge.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// The network of the gateway's connectors.
pub(super) fn dial(world: &Arc<World>) -> Dial {
    let world = Arc::clone(world);
    Arc::new(move |uri: Uri| {
        let world = Arc::clone(&world);
        Box::pin(async move {
            let host = uri.host().unwrap_or_default().to_owned();
            world.event("dial", || host.clone());
            if host != VERTEX {
                world.violated(format!("a connection to {host}"));
            }
            let is_down = world
                .state()
                .upstream_down_until
                .is_some_and(|until| tokio::time::Instant::now() < until);
            if is_down || world.happens(world.plan.faults / 2) {
                if world.happens(300) {
                    // A packet filter drops the packets, until the connector gives up.
                    sleep(Duration::from_secs(100)).await;
                }
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            sleep(world.plan.link.latency).await;
            let (ours, theirs) = connect(world.plan.link);
            let ours = ours.gives_up_after(UNACKNOWLEDGED);
            world.state().upstream_connections.push(ours.connection());
            let served = Arc::clone(&world);
            tokio::spawn(async move {
                if let Err(error) = serve(theirs, &served).await {
                    served.event("upstream connection ends", || error);
                }
            });
            Ok(Box::new(ours) as Box<dyn Io>)
        })
    })
}

/// Stalls a connection of the upstream. Linux gives it up if that takes too long.
pub(super) async fn stall(connection: super::network::Connection, time: Duration) {
    connection.stall(time);
    if time > UNACKNOWLEDGED {
        sleep(UNACKNOWLEDGED).await;
        if connection.is_stalled() {
            connection.fail(io::ErrorKind::TimedOut);
        }
    }
}

/// A response of the upstream.
struct Reply {
    status: u16,
    headers: String,
    framing: Framing,
    parts: Vec<Vec<u8>>,
    pause: Duration,
}

async fn serve(mut socket: SimSocket, world: &World) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(head) = read_head(&mut socket, &mut buffer).await? else { return Ok(()) };
        let number = head.header("x-request-id").and_then(number_of);
        let Some(number) = number else {
            world.violated(format!("the upstream got a request without an id: {}", head.line));
            return Ok(());
        };
        let connection = socket.connection();
        let sent = world.with_request(number, |request| {
            let body = Vec::new();
            request.sent.push(Sent { outcome: Outcome::None, body, is_cut: false, connection });
            request.sent.len() - 1
        });
        world.event("upstream gets", || format!("sim-{number} #{sent} {}", head.line));
        let disturbed = || world.with_request(number, |request| request.sent[sent].is_cut = true);
        let authorization = head.header("authorization").unwrap_or_default();
        if !world.tokens.is_known(authorization) {
            world.violated(format!("sim-{number} has a token that was never minted"));
        }
        if world.happens(world.plan.faults / 4) {
            // It ends before it has replied.
            disturbed();
            match world.draw(|rng| rng.u32(0..3)) {
                0 => socket.reset(),
                1 => drop(socket),
                _ => {
                    sleep(Duration::from_secs(400)).await;
                    drop(socket);
                }
            }
            return Ok(());
        }
        let is_early = world.happens(100);
        if !is_early && !take_body(&mut socket, &mut buffer, &head, world, number).await? {
            return Ok(());
        }
        sleep(world.millis(0..200)).await;
        let reply = reply(world, &head, number);
        let is_faulty = world.happens(world.plan.faults / 2);
        if is_faulty {
            disturbed();
        }
        world.with_request(number, |request| {
            request.sent[sent].outcome = Outcome::Status(reply.status);
            request.sent[sent].body = reply.parts.concat();
        });
        world.event("upstream replies", || {
            format!("sim-{number} #{sent} {} faulty: {is_faulty}", reply.status)
        });
        if !send(&mut socket, &reply, is_faulty, world).await? {
            return Ok(());
        }
        if is_early && !take_body(&mut socket, &mut buffer, &head, world, number).await? {
            return Ok(());
        }
        if matches!(reply.framing, Framing::Close) {
            return Ok(());
        }
        match world.draw(|rng| rng.u32(0..30)) {
            0 => return Ok(()),
            1 => {
                // It closes the connection at about the time of the next request.
                let pause = world.millis(0..2000);
                if timeout(pause, socket.read_u8()).await.is_err() {
                    world.event("upstream closes an idle connection", || "");
                    return Ok(());
                }
                // The first byte of the next request is read; the connection ends without a reply.
                return Ok(());
            }
            _ => {}
        }
    }
}

/// Reads the body of a request, and checks it. Returns whether the connection can be used further.
async fn take_body(
    socket: &mut SimSocket,
    buffer: &mut Vec<u8>,
    head: &Head,
    world: &World,
    number: usize,
) -> io::Result<bool> {
    let reading = read_body(socket, buffer, head.request_framing(), |_| {});
    let Ok(body) = timeout(Duration::from_secs(1000), reading).await else { return Ok(false) };
    let (body, is_complete) = body?;
    if is_complete && body != super::client::request_body(world, number) {
        world.violated(format!("the upstream got another body for sim-{number}"));
    }
    Ok(is_complete)
}

/// Draws the response to a request.
fn reply(world: &World, head: &Head, number: usize) -> Reply {
    let json = "content-type: application/json\r\n";
    let error = |status: u16, headers: &str| {
        let body = format!(
            r#"{{"error": {{"code": {status}, "message": "simulated", "status": "UNAVAILABLE"}}}}"#
        );
        Reply {
            status,
            headers: format!("{json}{headers}"),
            framing: Framing::Length(body.len()),
            parts: vec![body.into_bytes()],
            pause: Duration::ZERO,
        }
    };
    let authorization = head.header("authorization").unwrap_or_default();
    if world.happens(world.plan.errors / 10) {
        world.tokens.revoke();
    }
    if !world.tokens.takes(authorization) {
        return error(401, "www-authenticate: Bearer realm=\"x\", error=\"invalid_token\"\r\n");
    }
    if world.happens(world.plan.errors) {
        return match world.draw(|rng| rng.u32(0..9)) {
            0 => error(429, ""),
            1 => error(429, "retry-after: 2\r\n"),
            2 => error(503, "retry-after: 100\r\n"),
            3 => error(
                503,
                "date: Sun, 06 Nov 1994 08:49:37 GMT\r\nretry-after: Sun, 06 Nov 1994 08:49:40 GMT\r\n",
            ),
            4 => error(500, ""),
            5 => error(400, ""),
            6 => error(404, ""),
            7 => error(307, "location: http://stranger.sim/v1/chat/completions\r\n"),
            _ => error(504, ""),
        };
    }
    let text = |length: usize| "lorem ipsum ".chars().cycle().take(length).collect::<String>();
    let length = world.draw(|rng| rng.usize(0..world.plan.longest_body));
    if !head.is_stream() {
        let body = format!(
            r#"{{"id":"{number}","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}}}"#,
            text(length)
        );
        let framing = match world.draw(|rng| rng.u32(0..4)) {
            0 => Framing::Chunked,
            1 => Framing::Close,
            _ => Framing::Length(body.len()),
        };
        let parts = vec![body.into_bytes()];
        return Reply {
            status: 200,
            headers: json.to_owned(),
            framing,
            parts,
            pause: Duration::ZERO,
        };
    }
    let events = world.draw(|rng| rng.usize(1..8));
    let mut parts: Vec<Vec<u8>> = (0..events)
        .map(|event| {
            format!(
                "data: {{\"id\":\"{number}\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{event} {}\"}}}}]}}\n\n",
                text(length / events)
            )
            .into_bytes()
        })
        .collect();
    parts.push(b"data: [DONE]\n\n".to_vec());
    let pause = world.draw(|rng| [0, 1, 500, 3000][rng.usize(0..4)]);
    Reply {
        status: 200,
        headers: "content-type: text/event-stream\r\n".to_owned(),
        framing: Framing::Chunked,
        parts,
        pause: Duration::from_millis(pause),
    }
}

/// Sends a response, unless a fault ends it. Returns whether it was sent.
async fn send(
    socket: &mut SimSocket,
    reply: &Reply,
    is_faulty: bool,
    world: &World,
) -> io::Result<bool> {
    let framing = match reply.framing {
        Framing::Length(length) => format!("content-length: {length}\r\n"),
        Framing::Chunked => "transfer-encoding: chunked\r\n".to_owned(),
        Framing::Close => "connection: close\r\n".to_owned(),
    };
    let head = format!("HTTP/1.1 {} Simulated\r\n{}{framing}\r\n", reply.status, reply.headers);
    let mut wire = vec![head.into_bytes()];
    for part in &reply.parts {
        wire.push(match reply.framing {
            Framing::Chunked => {
                [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat()
            }
            _ => part.clone(),
        });
    }
    if matches!(reply.framing, Framing::Chunked) {
        wire.push(b"0\r\n\r\n".to_vec());
    }
    let stray = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nstray";
    let mut total: usize = wire.iter().map(Vec::len).sum();
    if !is_faulty
        && !matches!(reply.framing, Framing::Close)
        && total + stray.len() <= world.plan.link.capacity
        && world.happens(world.plan.faults / 5)
    {
        // More than the response, and of no request. If these bytes came later, no client of HTTP/1.1 could
        // distinguish them from the response to its next request.
        world.event("upstream sends too much", || "");
        wire.last_mut().unwrap().extend(stray);
        total += stray.len();
    }
    // A body that ends with its connection cannot show that its end is missing.
    let first = if matches!(reply.framing, Framing::Close) { wire[0].len() } else { total };
    let mut left = if is_faulty { world.draw(|rng| rng.usize(0..first)) } else { usize::MAX };
    for part in wire {
        let length = part.len().min(left);
        socket.write_all(&part[..length]).await?;
        left -= length;
        if length < part.len() {
            match world.draw(|rng| rng.u32(0..3)) {
                0 => socket.connection().fail(io::ErrorKind::ConnectionReset),
                1 => {}
                _ => sleep(Duration::from_secs(400)).await,
            }
            return Ok(false);
        }
        if !reply.pause.is_zero() {
            sleep(reply.pause).await;
        }
    }
    if matches!(reply.framing, Framing::Close) {
        // The rest of the request may still be read.
        socket.shutdown().await?;
    }
    Ok(true)
}
