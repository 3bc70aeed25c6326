//! An authority of the bench, and the certificate of all its servers.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use tower::BoxError;

/// The name in the certificate.
pub const NAME: &str = "localhost";

/// The files.
#[derive(Clone, Debug)]
pub struct Certificates {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// HAProxy reads the certificate and the key from one file.
    pub both: PathBuf,
}

impl Certificates {
    /// The files in this folder, which [`Certificates::create`] has written.
    pub fn at(folder: &Path) -> Self {
        let file = |name| folder.join(name);
        Self {
            authority: file("authority.pem"),
            certificate: file("certificate.pem"),
            key: file("key.pem"),
            both: file("both.pem"),
        }
    }

    pub fn create(folder: &Path) -> Result<Self, BoxError> {
        let files = Self::at(folder);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // With the same name as the certificate, OpenSSL would see a self-signed one.
        params.distinguished_name.push(DnType::CommonName, "authority of the bench");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let mut params = CertificateParams::new([NAME.to_owned(), "127.0.0.1".to_owned()])?;
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &authority)?.pem();
        fs::write(&files.authority, authority.pem())?;
        fs::write(&files.certificate, &certificate)?;
        fs::write(&files.key, key.serialize_pem())?;
        fs::write(&files.both, certificate + &key.serialize_pem())?;
        Ok(files)
    }

    /// Trusts the authority, and speaks HTTP/1.1.
    pub fn client(&self) -> Result<ClientConfig, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&read(&self.authority)?)?)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }

    pub fn server(&self) -> Result<ServerConfig, BoxError> {
        let certificate = CertificateDer::from_pem_slice(&read(&self.certificate)?)?;
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
        let mut config = builder.with_single_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    fs::read(path)
}
