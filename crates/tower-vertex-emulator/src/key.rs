//! The key of the service account. It signs assertions and access tokens. The emulator signs ID
//! tokens with it, too, and everything that the IAM credentials API signs.

use std::{sync::LazyLock, time::Duration};

use base64::{
    Engine as _,
    alphabet::URL_SAFE,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{STANDARD, URL_SAFE_NO_PAD},
    },
};
use ring::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    rsa::PublicKeyComponents as RsaPublicKeyComponents,
    signature::{
        KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json};

use super::{
    grant::Refusal,
    scopes::{Rights, Scopes},
};

/// The project of the service account.
pub(crate) const PROJECT: &str = "emulator-project";
/// The service account.
pub(crate) const EMAIL: &str = "emulator@emulator-project.iam.gserviceaccount.com";
/// The largest allowed difference between the clocks of client and server, in seconds.
const SKEW: f64 = 300.0;
const SHORT_LIVED: Refusal = (
    "invalid_grant",
    "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
     Check your iat and exp values in the JWT claim.",
);

/// A JWT has no padding, but some libraries add it (`gcp_auth` 0.12 does) and Google accepts it.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The key is shipped, because generating one takes half a minute in a debug build.
const PUBLIC_TEST_KEY: &str = include_str!("public-test-key.pem");

struct Key {
    id: String,
    /// The private key in PKCS#8.
    private_pem: &'static str,
    pair: RsaKeyPair,
    /// The public key in PKCS#1, the format of `ring`.
    public_der: Vec<u8>,
}

static KEY: LazyLock<Key> =
    LazyLock::new(|| Key::read(PUBLIC_TEST_KEY).expect("the file holds an RSA key in PKCS#8"));

impl Key {
    fn read(file: &'static str) -> Option<Self> {
        let private_pem = &file[file.find("-----BEGIN")?..];
        let base64: String =
            private_pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(base64).ok()?).ok()?;
        let public_der = pair.public_key().as_ref().to_vec();
        let hash = digest(&SHA256, &public_der);
        let id = hash.as_ref().iter().take(20).map(|byte| format!("{byte:02x}")).collect();
        Some(Self { id, private_pem, pair, public_der })
    }
}

/// The text of a key file.
pub(crate) fn service_account(token_uri: &str) -> Value {
    let key = &*KEY;
    json!({
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": key.id,
        "private_key": key.private_pem,
        "client_email": EMAIL,
        "client_id": "100000000000000000001",
        "token_uri": token_uri,
        "universe_domain": "googleapis.com",
    })
}

/// The id of the key.
pub(crate) fn id() -> &'static str {
    &KEY.id
}

/// The private key in PKCS#8.
pub(crate) fn private_pem() -> &'static str {
    KEY.private_pem
}

/// The modulus and the exponent of the public key, in base64url, as a JSON Web Key has them.
pub(crate) fn public_components() -> (String, String) {
    let components = RsaPublicKeyComponents::<Vec<u8>>::from(KEY.pair.public());
    (URL_SAFE_NO_PAD.encode(components.n), URL_SAFE_NO_PAD.encode(components.e))
}

/// Signs with RS256.
pub(crate) fn sign(data: &[u8]) -> Vec<u8> {
    let pair = &KEY.pair;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), data, &mut signature)
        .expect("the buffer has the length of the modulus");
    signature
}

/// A JWT with these claims.
pub(crate) fn sign_jwt(claims: &[u8]) -> String {
    let header = json!({ "alg": "RS256", "kid": KEY.id, "typ": "JWT" }).to_string();
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// The claims of a JWT that the emulator signed, without a check of its time.
pub(crate) fn claims(jwt: &str) -> Option<Map<String, Value>> {
    signed_claims(jwt).ok()
}

#[derive(Deserialize)]
struct Claims {
    iss: Option<String>,
    sub: Option<String>,
    aud: Option<String>,
    scope: Option<String>,
    target_audience: Option<String>,
    iat: Option<f64>,
    exp: Option<f64>,
}

/// The token that an assertion requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    AccessToken(Scopes),
    /// An ID token for this audience.
    IdToken(String),
}

/// Checks an assertion of the service account, addressed to one of `audiences`, at `now` in seconds
/// since 1970. Returns the request.
pub(crate) fn verify(assertion: &str, audiences: &[String], now: i64) -> Result<Asked, Refusal> {
    check(&signed_claims(assertion)?, audiences, now as f64)
}

/// The rights and the remaining lifetime of an access token that the service account signed itself.
/// `own` are the URLs of the emulator, which are audiences,
/// too. `None` if the token is not a valid one.
pub(crate) fn self_signed(token: &str, own: &[String], now: i64) -> Option<(Rights, Duration)> {
    check_self_signed(&signed_claims(token).ok()?, own, now as f64)
}

/// The claims of a JWT, if the service account signed it.
fn signed_claims<T: DeserializeOwned>(jwt: &str) -> Result<T, Refusal> {
    let invalid = |why| ("invalid_grant", why);
    let malformed = invalid("Invalid JWT: it must be three parts of base64url.");
    let (signed, signature) = jwt.rsplit_once('.').ok_or(malformed)?;
    let (header, claims) = signed.split_once('.').ok_or(malformed)?;
    let decode = |part: &str| BASE64URL.decode(part).map_err(|_| malformed);

    let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| malformed)?;
    if header.get("alg").and_then(Value::as_str) != Some("RS256") {
        return Err(invalid("Invalid JWT: the algorithm must be RS256."));
    }
    let key = &*KEY;
    if header.get("kid").is_some_and(|kid| kid.as_str() != Some(&key.id)) {
        return Err(invalid("Invalid JWT: unknown key id."));
    }
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key.public_der)
        .verify(signed.as_bytes(), &decode(signature)?)
        .map_err(|_| invalid("Invalid JWT Signature."))?;

    serde_json::from_slice(&decode(claims)?)
        .map_err(|_| invalid("Invalid JWT: the claims are not as they should be."))
}

fn check(claims: &Claims, audiences: &[String], now: f64) -> Result<Asked, Refusal> {
    let invalid = |why| Err(("invalid_grant", why));
    if claims.iss.as_deref() != Some(EMAIL) {
        return invalid("Invalid grant: account not found.");
    }
    if !claims.aud.as_ref().is_some_and(|aud| audiences.contains(aud)) {
        return invalid("Invalid JWT: the audience must be the token endpoint.");
    }
    let (Some(iat), Some(exp)) = (claims.iat, claims.exp) else {
        return invalid("Invalid JWT: iat and exp are required.");
    };
    if !(iat <= now + SKEW && exp > now && exp <= iat + 3600.0 && exp > iat) {
        return Err(SHORT_LIVED);
    }
    if let Some(audience) = claims.target_audience.as_ref().filter(|name| !name.is_empty()) {
        return Ok(Asked::IdToken(audience.clone()));
    }
    Scopes::parse(claims.scope.as_deref().unwrap_or_default().split_whitespace())
        .map(Asked::AccessToken)
}

/// The rules for a self-signed token (AIP-4111): it has either scopes or an audience. It may live
/// for an hour plus the skew, because `google-cloud-auth` moves `iat` back and `exp` ahead by 10 s.
fn check_self_signed(claims: &Claims, own: &[String], now: f64) -> Option<(Rights, Duration)> {
    let (iat, exp) = (claims.iat?, claims.exp?);
    let rights = match (&claims.scope, &claims.aud) {
        (Some(scope), None) => Rights::Scopes(Scopes::parse(scope.split_whitespace()).ok()?),
        (None, Some(audience)) => Rights::of_audience(audience, own)?,
        _ => return None,
    };
    let good = claims.iss.as_deref() == Some(EMAIL)
        && claims.sub.as_deref() == Some(EMAIL)
        && iat <= now + SKEW
        && exp > now
        && exp <= iat + 3600.0 + SKEW;
    let life = Duration::try_from_secs_f64(exp - now).ok().filter(|_| good)?;
    Some((rights, life))
}

#[cfg(test)]
mod tests {
    use super::{
        super::scopes::{Access, CLOUD_PLATFORM},
        *,
    };

    #[test]
    fn claims_are_checked_one_by_one() {
        let good = json!({
            "iss": EMAIL, "aud": "http://here/token", "scope": format!("email {CLOUD_PLATFORM}"),
            "iat": 1000, "exp": 4600,
        });
        let verdict = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            let claims: Claims = serde_json::from_value(claims).unwrap();
            check(&claims, &["http://here/token".to_owned()], 1000.0).map_err(|(code, _)| code)
        };
        let asked = || Ok(Asked::AccessToken(Scopes::parse(["email", CLOUD_PLATFORM]).unwrap()));
        assert_eq!(verdict("unrelated", Value::Null), asked());
        assert_eq!(verdict("iat", 1300.into()), asked());
        let iam = "https://www.googleapis.com/auth/iam";
        assert_eq!(
            verdict("scope", iam.into()),
            Ok(Asked::AccessToken(Scopes::parse([iam]).unwrap()))
        );
        let audience = "https://example.com";
        assert_eq!(
            verdict("target_audience", audience.into()),
            Ok(Asked::IdToken(audience.to_owned()))
        );
        for (name, value) in [
            ("iss", json!("somebody@else")),
            ("iss", Value::Null),
            ("aud", json!("https://oauth2.googleapis.com/token")),
            ("iat", json!(1301)),
            ("iat", json!(999)),
            ("iat", Value::Null),
            ("exp", json!(1000)),
            ("exp", json!(4601)),
        ] {
            assert_eq!(verdict(name, value.clone()), Err("invalid_grant"), "{name}: {value}");
        }
        for scope in [json!("https://example.com/other"), json!(""), Value::Null] {
            assert_eq!(verdict("scope", scope), Err("invalid_scope"));
        }
    }

    #[test]
    fn a_self_signed_token_lives_until_its_exp() {
        let good = json!({
            "iss": EMAIL, "sub": EMAIL, "scope": CLOUD_PLATFORM, "aud": null, "iat": 1000, "exp": 4620,
        });
        let life = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            let claims: Claims = serde_json::from_value(claims).unwrap();
            check_self_signed(&claims, &[], 1010.0).map(|(_, life)| life.as_secs())
        };
        assert_eq!(life("unrelated", Value::Null), Some(3610));
        assert_eq!(life("exp", json!(1011)), Some(1));
        for (name, value) in [
            ("iss", json!("somebody@else")),
            ("sub", json!("somebody@else")),
            ("sub", Value::Null),
            ("aud", json!("https://oauth2.googleapis.com/token")),
            ("scope", json!("https://example.com/other")),
            ("scope", Value::Null),
            ("iat", json!(1311)),
            ("iat", Value::Null),
            ("exp", json!(1010)),
            ("exp", json!(4901)),
            ("exp", json!(1e300)),
            ("exp", Value::Null),
        ] {
            assert_eq!(life(name, value.clone()), None, "{name}: {value}");
        }
    }

    #[test]
    fn a_self_signed_token_has_scopes_or_an_audience() {
        let rights = |scope: Option<&str>, aud: Option<&str>| {
            let claims = json!({
                "iss": EMAIL, "sub": EMAIL, "scope": scope, "aud": aud, "iat": 1000, "exp": 4600,
            });
            let claims: Claims = serde_json::from_value(claims).unwrap();
            check_self_signed(&claims, &[], 1010.0).map(|(rights, _)| rights)
        };
        let api = "https://aiplatform.googleapis.com/";
        assert_eq!(
            rights(Some(CLOUD_PLATFORM), None),
            Some(Rights::Scopes(Scopes::cloud_platform()))
        );
        assert_eq!(rights(None, Some(api)).unwrap().check(Access::Predict), Ok(()));
        assert_eq!(rights(Some(CLOUD_PLATFORM), Some(api)), None);
        assert_eq!(rights(None, Some("https://example.com/")), None);
        assert_eq!(rights(None, None), None);
    }
}
