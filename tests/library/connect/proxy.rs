//! A proxy with a script, whose tunnels all lead to one address, and a server with TLS.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tower_vertex::{BoxError, connect::Connection};

/// The behaviour of the proxy.
#[derive(Clone, Copy)]
pub(super) enum Script {
    /// It makes every tunnel.
    Open,
    /// It makes a tunnel for this user and password.
    Login(&'static str),
    /// It responds with a status and with headers.
    Status(&'static str, &'static str),
    /// It sends these bytes, and closes the connection.
    Bytes(&'static str),
    /// No one listens at its address.
    Gone,
}

pub(super) struct Proxy {
    addr: SocketAddr,
    scheme: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(super) async fn start(to: SocketAddr, script: Script) -> Self {
        Self::start_with(to, script, None).await
    }

    pub(super) async fn start_tls(to: SocketAddr, script: Script, authority: &Authority) -> Self {
        Self::start_with(to, script, Some(acceptor(authority, None))).await
    }

    async fn start_with(to: SocketAddr, script: Script, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let proxy = Self { addr, scheme, seen: Arc::default() };
        if matches!(script, Script::Gone) {
            return proxy;
        }
        let seen = Arc::clone(&proxy.seen);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (tls, seen) = (tls.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, to, script, &seen).await,
                        Some(tls) => serve(tls.accept(socket).await?, to, script, &seen).await,
                    }
                });
            }
        });
        proxy
    }

    /// Its URL, with a user in the form `USER:PASSWORD@`.
    pub(super) fn url(&self, user: &str) -> String {
        let host = if self.scheme == "https" { "localhost" } else { "127.0.0.1" };
        format!("{}://{user}{host}:{}", self.scheme, self.addr.port())
    }

    /// The destinations of the tunnels that it made since the last call.
    pub(super) fn connects(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

async fn serve(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    to: SocketAddr,
    script: Script,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let destination = line.strip_prefix("CONNECT ").and_then(|line| line.strip_suffix(" HTTP/1.1"));
    let destination = destination.unwrap_or_else(|| panic!("no CONNECT: {line}"));
    let login = |login: &str| {
        let value = format!("Basic {}", STANDARD.encode(login));
        let mut lines = headers.lines().filter_map(|line| line.split_once(": "));
        lines.any(|(name, said)| name.eq_ignore_ascii_case("proxy-authorization") && said == value)
    };
    let response = match script {
        Script::Login(user) if !login(user) => {
            "HTTP/1.1 407 Login\r\nProxy-Authenticate: Negotiate, Basic realm=\"x\"\r\n\
             Content-Length: 100\r\n\r\n"
                .to_owned()
        }
        Script::Status(status, headers) => {
            format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\n\r\n")
        }
        Script::Bytes(bytes) => {
            client.write_all(bytes.as_bytes()).await?;
            return client.shutdown().await;
        }
        _ => {
            seen.lock().unwrap().push(destination.to_owned());
            let mut server = TcpStream::connect(to).await?;
            client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
            return copy_bidirectional(&mut client, &mut server).await.map(drop);
        }
    };
    client.write_all(response.as_bytes()).await
}

/// A certificate authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, in PEM.
    pub(super) fn client(&self) -> (String, String) {
        self.issue("client")
    }

    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn acceptor(own: &Authority, clients: Option<&Authority>) -> TlsAcceptor {
    let name = if clients.is_some() { "vertex.example.com" } else { "localhost" };
    let (certificate, key) = own.issue(name);
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let pem = authority.pem();
            roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// A server that sends `!` and its protocol to clients with a certificate of `clients`.
pub(super) async fn tls_server(own: &Authority, clients: Option<&Authority>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let tls = acceptor(own, clients);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let mut stream = tls.accept(socket).await?;
                let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
                stream.write_all(&[b"!", &protocol[..]].concat()).await?;
                stream.shutdown().await
            });
        }
    });
    addr
}

/// Reads the three bytes that such a server sends. A server rejects a certificate after the
/// handshake of TLS 1.3.
pub(super) async fn greeting<T>(connection: Connection<T>) -> Result<[u8; 3], BoxError>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    let mut bytes = [0; 3];
    hyper_util::rt::TokioIo::new(connection).read_exact(&mut bytes).await?;
    Ok(bytes)
}
