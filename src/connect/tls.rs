//! TLS: the system's root certificates, further authorities, and a client certificate.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    ClientConfig, ConfigBuilder, Error as TlsError, RootCertStore,
    client::WantsClientCert,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

use crate::{error::ConfigError, redact, regular_file};

/// In bytes: more than the bundle of all public authorities.
const LONGEST: u64 = 4 * 1024 * 1024;

pub(super) const CA: &str = "certificate authority";
const CERTIFICATE: &str = "client certificate";
const KEY: &str = "key of the client certificate";

/// The files of the settings.
#[derive(Clone, Debug, Default)]
pub(super) struct TlsFiles {
    pub(super) authorities: Vec<PathBuf>,
    /// The certificate and its key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    pub(super) http2: bool,
}

/// The settings as they were last read.
pub(super) struct TlsConfigs {
    pub(super) destination: Arc<ClientConfig>,
    /// For a proxy at an `https` URL, which gets no client certificate.
    pub(super) proxy: Arc<ClientConfig>,
}

impl TlsFiles {
    pub(super) fn read(&self) -> Result<TlsConfigs, ConfigError> {
        let mut roots = RootCertStore::empty();
        // Some systems have certificates that rustls does not take. The others are used.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for path in &self.authorities {
            let certificates = certificates(CA, path)?;
            for certificate in certificates {
                roots.add(certificate).map_err(|error| unusable(CA, path, &error.to_string()))?;
            }
        }
        if roots.is_empty() {
            return Err(ConfigError::missing(
                "root certificates",
                "install the package ca-certificates",
            ));
        }
        let roots = Arc::new(roots);
        let mut destination = match &self.client {
            None => builder(&roots)?.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(CERTIFICATE, certificate)?;
                let private = private_key(key)?;
                builder(&roots)?.with_client_auth_cert(chain, private).map_err(
                    |error| match error {
                        TlsError::InconsistentKeys(_) => {
                            let why = format!(
                                "the key does not belong to the certificate {}",
                                redact::path(certificate)
                            );
                            unusable(KEY, key, &why)
                        }
                        error => unusable(CERTIFICATE, certificate, &error.to_string()),
                    },
                )?
            }
        };
        if self.http2 {
            destination.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        let proxy = builder(&roots)?.with_no_client_auth();
        Ok(TlsConfigs { destination: Arc::new(destination), proxy: Arc::new(proxy) })
    }
}

fn builder(
    roots: &Arc<RootCertStore>,
) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, ConfigError> {
    let builder = ClientConfig::builder_with_provider(ring::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| {
        ConfigError::missing("version of TLS", format!("report this error: {error}"))
    })?;
    Ok(builder.with_root_certificates(Arc::clone(roots)))
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let text = read(setting, path)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match parsed {
        Ok(parsed) if parsed.is_empty() => {
            Err(unusable(setting, path, "the file has no certificate: use PEM"))
        }
        Ok(parsed) => Ok(parsed),
        Err(_) => Err(unusable(setting, path, "the file is not PEM")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    PrivateKeyDer::from_pem_slice(&read(KEY, path)?).map_err(|error| {
        let why = match error {
            pem::Error::NoItemsFound => "the file has no private key: use PEM without a password",
            _ => "the file is not PEM",
        };
        unusable(KEY, path, why)
    })
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, ConfigError> {
    regular_file::read(path, LONGEST).map_err(|error| unusable(setting, path, &error.to_string()))
}

fn unusable(setting: &'static str, path: &Path, why: &str) -> ConfigError {
    ConfigError::unusable_file(setting, path, why)
}
