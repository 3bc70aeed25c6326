//! ID tokens (OpenID Connect), and the keys by which they are verified.

use std::sync::{Arc, LazyLock};

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use super::{
    google_errors::html,
    grant::{Answer, ok},
    key,
    state::{Shared, lock},
};

const ISSUER: &str = "https://accounts.google.com";
/// The lifetime of an ID token in seconds, unless a shorter one is set for all tokens.
const LIFE: u64 = 3600;

/// An ID token of an account, for this audience.
pub(crate) fn of_account(shared: &Shared, email: &str, audience: &str) -> String {
    sign(&claims(shared, email, audience))
}

pub(crate) fn sign(claims: &Value) -> String {
    key::sign_jwt(claims.to_string().as_bytes())
}

/// The claims of an ID token.
pub(crate) fn claims(shared: &Shared, email: &str, audience: &str) -> Value {
    let now = shared.now().seconds();
    let life = lock(&shared.tokens).behavior().life().as_secs().clamp(1, LIFE);
    json!({
        "iss": ISSUER, "aud": audience, "azp": subject(email), "sub": subject(email),
        "email": email, "email_verified": true, "iat": now, "exp": now + life.cast_signed(),
    })
}

/// The unique id of an account: 21 digits, always the same for an address.
pub(crate) fn subject(email: &str) -> String {
    let number =
        email.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("1{number:020}")
}

/// The public key as a certificate in PEM.
static CERTIFICATE: LazyLock<Option<String>> = LazyLock::new(|| {
    let key = KeyPair::from_pem(key::private_pem()).ok()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Vertex AI emulator");
    Some(params.self_signed(&key).ok()?.pem())
});

/// Whether a path has the keys: `/oauth2/v1/certs` (certificates), `/oauth2/v3/certs` (JSON Web
/// Keys), and those of a service account.
pub(crate) fn is_path(path: &str) -> bool {
    matches!(path, "/oauth2/v1/certs" | "/oauth2/v3/certs")
        || path.starts_with("/robot/v1/metadata/x509/")
        || path.starts_with("/service_accounts/v1/metadata/x509/")
        || path.starts_with("/service_accounts/v1/jwk/")
}

/// Serves the keys.
pub(crate) async fn keys(_: Arc<Shared>, request: Request<Incoming>) -> Answer {
    if request.method() != Method::GET {
        return html(StatusCode::NOT_FOUND);
    }
    if !matches!(request.uri().path(), "/oauth2/v3/certs")
        && !request.uri().path().starts_with("/service_accounts/v1/jwk/")
    {
        // The first use parses the key, which would block other connections.
        let certificate = tokio::task::spawn_blocking(|| CERTIFICATE.clone()).await.ok().flatten();
        return match certificate {
            Some(certificate) => ok(&json!({ key::id(): certificate })),
            None => html(StatusCode::INTERNAL_SERVER_ERROR),
        };
    }
    let (modulus, exponent) = key::public_components();
    ok(&json!({ "keys": [{
        "kty": "RSA", "alg": "RS256", "use": "sig", "kid": key::id(), "n": modulus, "e": exponent,
    }] }))
}
