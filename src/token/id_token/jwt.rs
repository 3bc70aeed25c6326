//! The claims of an ID token that this crate reads: `aud` and `exp` of RFC 7519 §4.1.
//!
//! The signature is not verified here. The token comes from its issuer, and the service that gets it
//! verifies it.

use std::time::{Duration, SystemTime};

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::Value;

/// Some issuers pad the parts, against RFC 7515 §2.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Returns the remaining lifetime at `now`, if the token is for this audience. The error says what is
/// wrong with the token, without any part of it.
pub(super) fn lifetime(
    token: &str,
    audience: &str,
    now: SystemTime,
) -> Result<Duration, &'static str> {
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("has an ID token that is not a JWT");
    };
    let claims = BASE64.decode(claims).ok();
    let claims: Option<Value> = claims.and_then(|text| serde_json::from_slice(&text).ok());
    let claims = claims.ok_or("has an ID token whose claims are not JSON")?;
    let is_for = |name: &Value| name.as_str() == Some(audience);
    let fits = match &claims["aud"] {
        Value::Array(names) => names.iter().any(is_for),
        name => is_for(name),
    };
    if !fits {
        return Err("has an ID token for another audience");
    }
    let end = claims["exp"].as_f64().and_then(|end| Duration::try_from_secs_f64(end).ok());
    let end = end.ok_or("has an ID token without the time of its expiry")?;
    Ok(end.saturating_sub(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    const AUDIENCE: &str = "https://service-abc.a.run.app";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_lifetime_ends_at_exp_for_the_right_audience_alone() {
        for (claims, left) in [
            (json!({ "aud": AUDIENCE, "exp": 4600 }), Ok(3600)),
            (json!({ "aud": [AUDIENCE], "exp": 4600.9 }), Ok(3600)),
            (json!({ "aud": ["other", AUDIENCE], "exp": 1001 }), Ok(1)),
            (json!({ "aud": AUDIENCE, "exp": 1000 }), Ok(0)),
            (json!({ "aud": AUDIENCE, "exp": 0 }), Ok(0)),
            (json!({ "aud": AUDIENCE, "exp": -1 }), Err("expiry")),
            (json!({ "aud": AUDIENCE, "exp": "4600" }), Err("expiry")),
            (json!({ "aud": AUDIENCE, "exp": 1e300 }), Err("expiry")),
            (json!({ "aud": AUDIENCE }), Err("expiry")),
            (json!({ "aud": format!("{AUDIENCE}/"), "exp": 4600 }), Err("another audience")),
            (json!({ "aud": "HTTPS://service-abc.a.run.app", "exp": 4600 }), Err("another")),
            (json!({ "aud": [], "exp": 4600 }), Err("another audience")),
            (json!({ "aud": { "x": AUDIENCE }, "exp": 4600 }), Err("another audience")),
            (json!({ "exp": 4600 }), Err("another audience")),
            (json!([AUDIENCE, 4600]), Err("another audience")),
            (json!("text"), Err("another audience")),
        ] {
            for engine in [URL_SAFE, URL_SAFE_NO_PAD] {
                let token = format!("e30.{}.c2lnbmF0dXJl", engine.encode(claims.to_string()));
                match (lifetime(&token, AUDIENCE, at(1000)), left) {
                    (Ok(found), Ok(left)) => assert_eq!(found.as_secs(), left, "{claims}"),
                    (Err(why), Err(words)) => assert!(why.contains(words), "{claims}: {why}"),
                    (found, _) => panic!("{claims}: {found:?}"),
                }
            }
        }
        for token in ["", ".", "..", "a.b", "e30.!.e30", "e30.e30", "e30.e30.e30.e30", "a.bm8.c"] {
            assert!(lifetime(token, AUDIENCE, at(1000)).is_err(), "{token}");
        }
    }
}
