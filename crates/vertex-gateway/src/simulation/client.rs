//! Clients: they upload slowly, read slowly, leave, and come back.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::AsyncWriteExt as _,
    sync::mpsc::UnboundedSender,
    time::{sleep, timeout},
};

use super::{
    messages::{is_closed, read_body, read_head},
    network::{SimSocket, connect},
    world::{Got, World},
};

/// Every request ends within this time. It is the sum of all limits, and of the pauses of the other clients if
/// they can occupy all connections.
const LONGEST: Duration = Duration::from_secs(4 * 3600);

/// The models of the table.
pub(super) const DIRECT: &str = "google/gemini-2.5-flash";
pub(super) const ALIAS: &str = "several-locations";
pub(super) const ALIAS_UPSTREAM: &str = "google/gemini-2.5-pro";
pub(super) const STRANGE: &str = "at-a-stranger";

/// The properties of a request, which depend on the plan and on its number alone.
struct Shape {
    model: &'static str,
    is_stream: bool,
    length: usize,
}

fn shape(world: &World, number: usize) -> Shape {
    let mut rng = fastrand::Rng::with_seed(world.plan.salt ^ number as u64);
    let model = match rng.u32(0..20) {
        0 => STRANGE,
        1..6 => ALIAS,
        _ => DIRECT,
    };
    Shape { model, is_stream: rng.bool(), length: rng.usize(0..world.plan.longest_body) }
}

fn body(world: &World, number: usize, model: &str) -> Vec<u8> {
    let Shape { is_stream, length, .. } = shape(world, number);
    let text: String = "do this now ".chars().cycle().take(length).collect();
    format!(
        r#"{{"model":"{model}","messages":[{{"role":"user","content":"{text}"}}],"stream":{is_stream}}}"#
    )
    .into_bytes()
}

/// The body of a request as the upstream must get it.
pub(super) fn request_body(world: &World, number: usize) -> Vec<u8> {
    let model = match shape(world, number).model {
        ALIAS => ALIAS_UPSTREAM,
        model => model,
    };
    body(world, number, model)
}

/// Whether the request goes to a host that must not get a token.
pub(super) fn is_for_a_stranger(world: &World, number: usize) -> bool {
    shape(world, number).model == STRANGE
}

/// The key of a client.
pub(super) fn key(client: usize) -> String {
    format!("client-{client}:key-of-the-client-{client}")
}

/// One client, with its requests one after the other.
pub(super) struct Client {
    pub(super) world: Arc<World>,
    pub(super) index: usize,
    pub(super) listener: UnboundedSender<SimSocket>,
}

enum Kept {
    None,
    Http1(SimSocket),
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

impl Client {
    pub(super) async fn run(self) {
        let world = &self.world;
        let is_http2 = world.happens(world.plan.http2);
        let mut kept = Kept::None;
        for request in 0..world.plan.requests_per_client {
            sleep(world.millis(0..world.plan.longest_pause)).await;
            let number = self.index * 100 + request;
            world.event("client sends", || format!("sim-{number}"));
            let exchange = async {
                match is_http2 {
                    true => self.http2(&mut kept, number).await,
                    false => self.http1(&mut kept, number).await,
                }
            };
            match timeout(LONGEST, exchange).await {
                Ok(Some(got)) => {
                    world.event("client gets", || {
                        format!(
                            "sim-{number} {:?}, {} bytes, complete: {}",
                            got.status,
                            got.body.len(),
                            got.is_complete
                        )
                    });
                    world.with_request(number, |request| request.got = Some(got));
                }
                Ok(None) => world.event("client leaves", || format!("sim-{number}")),
                Err(_) => world.violated(format!("sim-{number} did not end within {LONGEST:?}")),
            }
        }
    }

    fn connect(&self) -> Option<SimSocket> {
        let mut link = self.world.plan.link;
        if self.world.plan.http2 > 0 {
            // h2 reads nothing while a frame that it writes is stuck, so it would miss a ping.
            link.capacity = link.capacity.max(64 << 10);
        }
        let (ours, theirs) = connect(link);
        self.world.state().client_connections.push(ours.connection());
        self.listener.send(theirs).is_ok().then_some(ours)
    }

    fn authorization(&self) -> String {
        let key = key(self.index);
        format!("Bearer {}", key.split_once(':').map_or("", |(_, key)| key))
    }

    /// The time at which the client leaves, if it does.
    fn patience(&self) -> Duration {
        let world = &self.world;
        match world.happens(world.plan.leaving) {
            true => world.millis(0..8000),
            false => Duration::MAX,
        }
    }

    async fn http1(&self, kept: &mut Kept, number: usize) -> Option<Got> {
        let world = &self.world;
        let mut open = match std::mem::replace(kept, Kept::None) {
            Kept::Http1(socket) => Some(socket),
            _ => None,
        };
        if let Some(socket) = &mut open
            && is_closed(socket).await
        {
            open = None;
        }
        let is_reused = open.is_some();
        let Some(mut socket) = open.or_else(|| self.connect()) else {
            return Some(Got::default());
        };
        let Shape { model, is_stream, .. } = shape(world, number);
        let body = body(world, number, model);
        let accept = if is_stream { "text/event-stream" } else { "application/json" };
        let is_chunked = number.is_multiple_of(5);
        let framing = match is_chunked {
            true => "transfer-encoding: chunked".to_owned(),
            false => format!("content-length: {}", body.len()),
        };
        let mut message = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\naccept: {accept}\r\n\
             content-type: application/json\r\nauthorization: {}\r\nx-request-id: sim-{number}\r\n\
             {framing}\r\n\r\n",
            self.authorization()
        )
        .into_bytes();
        match is_chunked {
            true => {
                message.extend(format!("{:x}\r\n", body.len()).as_bytes());
                message.extend(body);
                message.extend(b"\r\n0\r\n\r\n");
            }
            false => message.extend(body),
        }
        let is_slow = world.happens(world.plan.slow);
        let exchange = async {
            let (mut from, mut to) = tokio::io::split(&mut socket);
            let upload = async {
                let piece = if is_slow { message.len() / 4 + 1 } else { message.len() };
                for part in message.chunks(piece) {
                    to.write_all(part).await?;
                    if is_slow {
                        sleep(world.millis(0..3000)).await;
                    }
                }
                std::future::pending::<io::Result<()>>().await
            };
            let download = async {
                let mut buffer = Vec::new();
                if is_slow {
                    sleep(world.millis(0..8000)).await;
                }
                let mut got = Got { is_stream, is_reused, ..Got::default() };
                let head = loop {
                    match read_head(&mut from, &mut buffer).await {
                        Ok(Some(head)) if head.status() == 100 => {}
                        Ok(Some(head)) => break head,
                        Ok(None) | Err(_) => return (got, false),
                    }
                };
                got.status = Some(head.status());
                got.id = head.header("x-request-id").map(str::to_owned);
                let read = read_body(&mut from, &mut buffer, head.response_framing(), |_| {}).await;
                (got.body, got.is_complete) = read.unwrap_or_default();
                if got.is_complete && !buffer.is_empty() {
                    world.violated(format!("bytes follow the response to sim-{number}"));
                }
                let closes = head.header("connection") == Some("close");
                let is_kept = got.is_complete && !closes;
                (got, is_kept)
            };
            // After its upload has failed, the client still reads.
            let upload = async {
                let _ = upload.await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                biased;
                () = upload => None,
                done = download => Some(done),
            }
        };
        match timeout(self.patience(), exchange).await {
            Ok(done) => {
                let (got, is_kept) = done?;
                // A response that arrived before the end of the upload leaves the rest of it unsent.
                if is_kept && got.status.is_some_and(|status| status == 200) {
                    *kept = Kept::Http1(socket);
                }
                Some(got)
            }
            Err(_) => {
                match world.draw(|rng| rng.u32(0..3)) {
                    0 => socket.reset(),
                    1 => drop(socket),
                    _ => {
                        let gone = socket.vanish();
                        // Nothing waits for this client, and nothing of it is left after an hour.
                        tokio::spawn(async move {
                            sleep(Duration::from_secs(1800)).await;
                            drop(gone);
                        });
                    }
                }
                None
            }
        }
    }

    async fn http2(&self, kept: &mut Kept, number: usize) -> Option<Got> {
        let world = &self.world;
        let (mut sender, is_reused) = match std::mem::replace(kept, Kept::None) {
            Kept::Http2(sender) if !sender.is_closed() => (sender, true),
            _ => {
                let Some(socket) = self.connect() else { return Some(Got::default()) };
                let shaken = hyper::client::conn::http2::handshake(
                    TokioExecutor::new(),
                    TokioIo::new(socket),
                );
                let Ok((sender, connection)) = shaken.await else { return Some(Got::default()) };
                tokio::spawn(connection);
                (sender, false)
            }
        };
        let Shape { model, is_stream, .. } = shape(world, number);
        let accept = if is_stream { "text/event-stream" } else { "application/json" };
        let request = http::Request::post("http://gateway/v1/chat/completions")
            .header("accept", accept)
            .header("content-type", "application/json")
            .header("authorization", self.authorization())
            .header("x-request-id", format!("sim-{number}"))
            .body(Full::from(body(world, number, model)))
            .unwrap();
        let exchange = async {
            let mut got = Got { is_stream, is_reused, ..Got::default() };
            let Ok(response) = sender.send_request(request).await else { return got };
            got.status = Some(response.status().as_u16());
            let id = response.headers().get("x-request-id");
            got.id = id.and_then(|id| id.to_str().ok()).map(str::to_owned);
            let mut body = response.into_body();
            loop {
                match body.frame().await {
                    None => {
                        got.is_complete = true;
                        return got;
                    }
                    Some(Ok(frame)) => {
                        got.body.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
                    }
                    Some(Err(_)) => return got,
                }
            }
        };
        let got = timeout(self.patience(), exchange).await.ok();
        if world.happens(800) {
            *kept = Kept::Http2(sender);
        }
        got
    }
}
