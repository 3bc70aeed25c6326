//! Vertex AI, as far as a proxy sees it: a process that responds at once, and does little else.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Builder,
};
use tokio_rustls::TlsAcceptor;
use tower::BoxError;

use crate::{
    certificates::Certificates,
    exchange::{ANSWER, IDLE, PATH, TOKEN, TOKEN_PATH, events},
    server::listen,
    socket::Socket,
    tick::Ticks,
};

/// The time between two events of a stream.
const PERIOD: Duration = Duration::from_millis(1);

/// A request: what is to be sent, and its length.
#[derive(Debug)]
enum Wanted {
    Refusal(u16),
    Token,
    Chat,
    Stream(usize),
    Idle,
}

/// Serves for ever. Listens in clear text, and over TLS too if there are certificates.
pub fn run(certificates: Option<&Certificates>) -> Result<Infallible, BoxError> {
    let acceptor = certificates.map(Certificates::server).transpose()?;
    let acceptor = acceptor.map(|config| TlsAcceptor::from(Arc::new(config)));
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let listener = listen().await?;
        loop {
            let (socket, _) = listener.accept().await?;
            socket.set_nodelay(true)?;
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                // The proxy sees that the connection ended, and its client reports it.
                let _ = connection(socket, acceptor).await;
            });
        }
    })
}

async fn connection(socket: TcpStream, acceptor: Option<TlsAcceptor>) -> Result<(), BoxError> {
    let mut socket = match acceptor {
        None => Socket::Plain(socket),
        Some(acceptor) => Socket::Tls(Box::new(acceptor.accept(socket).await?.into())),
    };
    let mut buffer = Vec::with_capacity(4096);
    let mut ticks = None;
    loop {
        let Some((wanted, length)) = parse(&buffer)? else {
            if socket.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        buffer.drain(..length);
        respond(&mut socket, wanted, &mut ticks).await?;
    }
}

/// Returns `None` if the request is incomplete.
fn parse(buffer: &[u8]) -> Result<Option<(Wanted, usize)>, BoxError> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(buffer)? else { return Ok(None) };
    let value = |name| {
        let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map_or("", |header| std::str::from_utf8(header.value).unwrap_or_default())
    };
    let length = head + value("content-length").parse::<usize>().unwrap_or_default();
    let Some(body) = buffer.get(head..length) else { return Ok(None) };
    let has = |text: &str| memmem::find(body, text.as_bytes());
    let wanted = match request.path {
        Some(TOKEN_PATH) => Wanted::Token,
        _ if value("authorization").strip_prefix("Bearer ") != Some(TOKEN)
            // The sidecar gets its token from the emulator.
            && !value("authorization").starts_with("Bearer ya29.") =>
        {
            Wanted::Refusal(401)
        }
        Some(PATH) if has(r#""stream":true"#).is_none() => Wanted::Chat,
        Some(PATH) if has(&format!(r#""user":"{IDLE}""#)).is_some() => Wanted::Idle,
        Some(PATH) => Wanted::Stream(number_after(body, r#""max_tokens":"#)),
        _ => Wanted::Refusal(404),
    };
    Ok(Some((wanted, length)))
}

fn number_after(body: &[u8], name: &str) -> usize {
    let at = memmem::find(body, name.as_bytes()).map_or(body.len(), |at| at + name.len());
    let digits = body[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'))
}

async fn respond(
    socket: &mut Socket,
    wanted: Wanted,
    ticks: &mut Option<Ticks>,
) -> Result<(), BoxError> {
    match wanted {
        Wanted::Chat => send(socket, &whole(200, ANSWER)).await?,
        Wanted::Refusal(status) => send(socket, &whole(status, "{}")).await?,
        Wanted::Token => {
            let token =
                format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600}}"#);
            send(socket, &whole(200, &token)).await?;
        }
        Wanted::Stream(number) => stream(socket, number, ticks).await?,
        Wanted::Idle => {
            let first = events(2).next().ok_or("no event")?;
            send(socket, &(STREAM_HEAD.to_owned() + &chunk(&first))).await?;
            // The proxy closes the connection when its client has gone.
            while socket.read(&mut [0; 64]).await? > 0 {}
            return Err("the stream has ended".into());
        }
    }
    Ok(())
}

const STREAM_HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn whole(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn chunk(event: &str) -> String {
    format!("{:x}\r\n{event}\r\n", event.len())
}

/// Sends the headers with the first event at once, and then each event in a write of its own, a
/// millisecond after the one before it.
async fn stream(
    socket: &mut Socket,
    number: usize,
    ticks: &mut Option<Ticks>,
) -> Result<(), BoxError> {
    let mut due = 1;
    let mut timer = None;
    for (sent, event) in events(number).enumerate() {
        while sent as u64 >= due {
            due += match &timer {
                Some(ticks) => Ticks::next(ticks).await?,
                None => {
                    timer = Some(match ticks.take() {
                        Some(ticks) => ticks.again(PERIOD)?,
                        None => Ticks::every(PERIOD)?,
                    });
                    0
                }
            };
        }
        let head = if sent == 0 { STREAM_HEAD } else { "" };
        let end = if sent + 1 == number { "0\r\n\r\n" } else { "" };
        send(socket, &[head, &chunk(&event), end].concat()).await?;
    }
    *ticks = timer;
    if let Some(ticks) = ticks {
        ticks.stop()?;
    }
    Ok(())
}

async fn send(socket: &mut Socket, text: &str) -> io::Result<()> {
    socket.write_all(text.as_bytes()).await?;
    socket.flush().await
}
