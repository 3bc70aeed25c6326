//! TLS for clients: the certificate of the server, and those that clients must present.

use std::{io, path::Path, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use clap::Args;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    time::timeout,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        CertificateError, RootCertStore, ServerConfig,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
        crypto::{CryptoProvider, ring},
        pki_types::{
            CertificateDer, PrivateKeyDer, ServerName, UnixTime,
            pem::{self, PemObject},
        },
        server::WebPkiClientVerifier,
    },
    server::TlsStream,
};
use zeroize::Zeroizing;

use crate::{
    error::Error,
    values::{LONGEST_FILE, shown_debug},
};
use tower_vertex::{redact, regular_file};

/// The options about TLS for clients.
#[derive(Clone, Args)]
pub struct TlsOptions {
    /// Certificate with which clients are served over TLS, PEM, followed by the intermediate
    /// certificates; it is read again when it changes [default: none, plain HTTP]
    #[arg(long, value_name = "FILE", env = "VERTEX_GATEWAY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,

    /// Private key of --tls-cert: PEM, without a password
    #[arg(long, value_name = "FILE", env = "VERTEX_GATEWAY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,

    /// Certificate authorities, PEM: only clients that present a certificate of one of them are
    /// served (mutual TLS)
    #[arg(long, value_name = "FILE", env = "VERTEX_GATEWAY_TLS_CLIENT_CA")]
    pub tls_client_ca: Option<PathBuf>,
}

shown_debug!(TlsOptions: tls_cert, tls_key, tls_client_ca);

/// TLS according to the options. A handshake uses the files as they were last read.
#[derive(Debug)]
pub(crate) struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_authorities: Option<PathBuf>,
    config: ArcSwap<ServerConfig>,
    /// The client authorities in force. Connections that were accepted under others are closed.
    authorities: watch::Sender<Vec<CertificateDer<'static>>>,
}

/// Notices that the authorities under which a connection was accepted have changed.
pub(crate) struct Authorities(watch::Receiver<Vec<CertificateDer<'static>>>);

impl Authorities {
    /// Waits until the authorities change.
    pub(crate) async fn changed(mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl TlsOptions {
    /// Loads TLS, if the options set it.
    pub(crate) fn load(&self) -> Result<Option<Tls>, Error> {
        let given =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let client_authorities = given(&self.tls_client_ca);
        let (certificate, key) = match (given(&self.tls_cert), given(&self.tls_key)) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) if client_authorities.is_none() => return Ok(None),
            (None, None) => {
                return Err(Error::new(
                    "--tls-client-ca requires TLS: set --tls-cert and --tls-key too",
                ));
            }
            (None, Some(_)) => return Err(Error::new("--tls-key requires --tls-cert")),
            (Some(_), None) => return Err(Error::new("--tls-cert requires --tls-key")),
        };
        let (config, authorities) = read(&certificate, &key, client_authorities.as_deref())?;
        Ok(Some(Tls {
            certificate,
            key,
            client_authorities,
            config: ArcSwap::from_pointee(config),
            authorities: watch::Sender::new(authorities),
        }))
    }

    /// The files to watch for changes.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let files = [&self.tls_cert, &self.tls_key, &self.tls_client_ca];
        files.into_iter().flatten().filter(|path| !path.as_os_str().is_empty()).cloned().collect()
    }
}

impl Tls {
    /// Whether clients must present a certificate.
    pub(crate) fn is_mutual(&self) -> bool {
        self.client_authorities.is_some()
    }

    /// Reads the files again. On an error, the previous certificate stays in use.
    pub(crate) fn reload(&self) -> Result<(), Error> {
        let (config, authorities) =
            read(&self.certificate, &self.key, self.client_authorities.as_deref())?;
        self.config.store(Arc::new(config));
        self.authorities.send_if_modified(|old| {
            let changed = *old != authorities;
            *old = authorities;
            changed
        });
        Ok(())
    }

    /// Must be called before [`accept`](Self::accept), so that a change in between is noticed.
    pub(crate) fn authorities(&self) -> Authorities {
        Authorities(self.authorities.subscribe())
    }

    /// Performs the handshake, for at most `limit`.
    pub(crate) async fn accept<I>(&self, socket: I, limit: Duration) -> io::Result<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = TlsAcceptor::from(self.config.load_full());
        timeout(limit, acceptor.accept(socket)).await?
    }
}

fn read(
    certificate: &Path,
    key: &Path,
    authorities: Option<&Path>,
) -> Result<(ServerConfig, Vec<CertificateDer<'static>>), Error> {
    let refused =
        |option: &str, path: &Path, why: &str| Error::of_file::<TlsOptions>(option, path, why);
    let text = |option: &str, path: &Path| {
        let text = regular_file::read(path, LONGEST_FILE).map(Zeroizing::new);
        text.map_err(|error| refused(option, path, &error.to_string()))
    };
    let certificates = |option: &str, path: &Path| {
        let text = text(option, path)?;
        let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        match parsed {
            Ok(parsed) if parsed.is_empty() => {
                Err(refused(option, path, "the file has no certificate: use PEM"))
            }
            Ok(parsed) => Ok(parsed),
            Err(_) => Err(refused(option, path, "the file is not PEM")),
        }
    };
    let chain = certificates("--tls-cert", certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&text("--tls-key", key)?).map_err(|error| {
        let why = match error {
            pem::Error::NoItemsFound => "the file has no private key: use PEM without a password",
            _ => "the file is not PEM",
        };
        refused("--tls-key", key, why)
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(error.to_string()))?;
    let mut of_clients = Vec::new();
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let refused =
                |why: String| refused("--tls-client-ca", path, &format!("cannot be used: {why}"));
            let mut roots = RootCertStore::empty();
            of_clients = certificates("--tls-client-ca", path)?;
            for authority in &of_clients {
                roots.add(authority.clone()).map_err(|error| refused(error.to_string()))?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = verifier.build().map_err(|error| refused(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    warn_if_invalid(certificate, &chain, provider);
    let mut config = builder.with_single_cert(chain, private).map_err(|error| match error {
        tokio_rustls::rustls::Error::InconsistentKeys(_) => {
            let why =
                format!("the key does not belong to the certificate {}", redact::path(certificate));
            refused("--tls-key", key, &why)
        }
        tokio_rustls::rustls::Error::InvalidCertificate(error) => {
            refused("--tls-cert", certificate, &format!("cannot be used: {error}"))
        }
        error => refused("--tls-key", key, &format!("cannot be used: {error}")),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((config, of_clients))
}

/// Logs that clients will reject a certificate that has expired or is not valid yet. The
/// certificate is still used, because that decision is the clients'.
fn warn_if_invalid(path: &Path, chain: &[CertificateDer<'static>], provider: Arc<CryptoProvider>) {
    let file = redact::path(path);
    match validity_error(chain, provider) {
        Some(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            tracing::warn!(%file, "the certificate has expired: clients will reject it");
        }
        Some(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            tracing::warn!(%file, "the certificate is not valid yet: clients will reject it");
        }
        _ => {}
    }
}

/// The error of a client that checks the validity period first. webpki 0.103 does so before it
/// looks for the issuer, so the certificate itself can serve as the authority here.
fn validity_error(
    chain: &[CertificateDer<'static>],
    provider: Arc<CryptoProvider>,
) -> Option<CertificateError> {
    let first = chain.first()?;
    let mut roots = RootCertStore::empty();
    roots.add(first.clone()).ok()?;
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let name = ServerName::try_from("localhost").ok()?;
    match verifier.build().ok()?.verify_server_cert(first, &[], &name, &[], UnixTime::now()) {
        Err(tokio_rustls::rustls::Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}
