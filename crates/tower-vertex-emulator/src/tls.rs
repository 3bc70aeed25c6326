//! The certificate of the emulator, for Google's names and its own.

use std::{io, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use super::settings::EndpointInfo;

/// The names in the certificate, besides those of dedicated endpoints.
const NAMES: [&str; 11] = [
    "localhost",
    "127.0.0.1",
    "::1",
    // This includes `oauth2`, `sts` and `iamcredentials`.
    "*.googleapis.com",
    "accounts.google.com",
    "metadata.google.internal",
    // A wildcard matches only one label, and these hosts have two before `rep`.
    "*.us.rep.googleapis.com",
    "*.eu.rep.googleapis.com",
    "*.p.googleapis.com",
    "*.mtls.googleapis.com",
    "*.prediction.p.vertexai.goog",
];

/// The acceptor for TLS, and the certificate (PEM) of the authority that clients must trust for it.
///
/// The authority is separate, because some verifiers reject a certificate that is both the server's
/// and the root.
pub(crate) fn acceptor(endpoints: &[EndpointInfo]) -> io::Result<(TlsAcceptor, String)> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Vertex AI emulator");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let authority = CertifiedIssuer::self_signed(params, key).map_err(io::Error::other)?;

    let dedicated = endpoints.iter().filter_map(|endpoint| endpoint.dedicated_dns.clone());
    let names: Vec<String> = NAMES.iter().map(|&name| name.to_owned()).chain(dedicated).collect();
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate().map_err(io::Error::other)?;
    let certificate = params.signed_by(&key, &authority).map_err(io::Error::other)?;

    // The provider is named here, so that no process-wide provider has to be installed.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), authority.pem()))
}
