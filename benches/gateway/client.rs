//! A client with one connection.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};
use tower::BoxError;

use crate::{
    certificates::NAME,
    exchange::{Check, Manner, Question},
    socket::Socket,
    wire::Response,
};

/// The server to which clients connect.
#[derive(Clone)]
pub struct Target {
    pub addr: SocketAddr,
    pub manner: Manner,
    pub tls: Option<TlsConnector>,
}

pub struct Client {
    socket: Socket,
    buffer: Vec<u8>,
}

/// The times of one exchange.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// To the first byte of the body.
    pub first: Duration,
    pub whole: Duration,
}

impl Client {
    pub async fn connect(target: &Target) -> Result<Self, BoxError> {
        let socket = TcpStream::connect(target.addr).await?;
        socket.set_nodelay(true)?;
        let socket = match &target.tls {
            None => Socket::Plain(socket),
            Some(tls) => {
                let name = ServerName::try_from(NAME)?;
                Socket::Tls(Box::new(tls.connect(name, socket).await?.into()))
            }
        };
        Ok(Self { socket, buffer: vec![0; 4096] })
    }

    /// Sends the request, and reads the whole response. Returns an error if the response is wrong.
    pub async fn ask(&mut self, question: &Question) -> Result<Times, BoxError> {
        let began = Instant::now();
        self.send(question).await?;
        let mut response = Response::default();
        let mut check = Check::new(&question.expected);
        let mut first = None;
        while !response.is_complete() {
            self.read(&mut response, |data| {
                first.get_or_insert_with(|| began.elapsed());
                check.feed(data);
            })
            .await?;
        }
        if response.status != 200 {
            return Err(format!("the status {}", response.status).into());
        }
        check.end()?;
        Ok(Times { first: first.ok_or("no body")?, whole: began.elapsed() })
    }

    /// Sends the request, and reads until the first byte of the body.
    pub async fn begin(&mut self, question: &Question) -> Result<Duration, BoxError> {
        let began = Instant::now();
        self.send(question).await?;
        let mut response = Response::default();
        let mut has_begun = false;
        while !has_begun {
            self.read(&mut response, |_| has_begun = true).await?;
        }
        match response.status {
            200 => Ok(began.elapsed()),
            status => Err(format!("the status {status}").into()),
        }
    }

    async fn send(&mut self, question: &Question) -> Result<(), BoxError> {
        self.socket.write_all(&question.bytes).await?;
        Ok(self.socket.flush().await?)
    }

    async fn read(
        &mut self,
        response: &mut Response,
        body: impl FnMut(&[u8]),
    ) -> Result<(), BoxError> {
        match self.socket.read(&mut self.buffer).await? {
            0 => Err("the connection ended".into()),
            read => response.feed(&self.buffer[..read], body),
        }
    }
}

/// The part of a client that speaks TLS.
pub fn connector(config: tokio_rustls::rustls::ClientConfig) -> TlsConnector {
    TlsConnector::from(Arc::new(config))
}
