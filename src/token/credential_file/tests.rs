use serde_json::json;

use super::*;

#[test]
fn a_file_that_cannot_be_used_says_why() {
    let user = json!({"type": "authorized_user", "client_id": "a", "client_secret": "SECRET", "refresh_token": "SECRET"});
    let with = |name: &str, value: Value| {
        let mut file = user.clone();
        file[name] = value;
        file.to_string()
    };
    for (text, why) in [
            ("SECRET".to_owned(), "not JSON"),
            ("{}".into(), "no \"type\""),
            (json!({"installed": {"client_secret": "SECRET"}}).to_string(), "OAuth client"),
            (with("type", "SECRET".into()), "not one of"),
            (with("type", 7.into()), "not one of"),
            (with("refresh_token", "".into()), "\"refresh_token\" is empty"),
            (with("client_id", 7.into()), "\"client_id\" is not text but a number"),
            (with("token_uri", "SECRET".into()), "\"token_uri\" is not"),
            (with("token_uri", 7.into()), "\"token_uri\" is not text but a number"),
            (json!({"type": "external_account"}).to_string(), "\"audience\""),
            (external("credential_source", "".into()), "\"credential_source\" is not an object but empty"),
            (
                json!({"type": "impersonated_service_account", "source_credentials": {"type": "SECRET"},
                       "service_account_impersonation_url": "https://h/v1/projects/-/serviceAccounts/a:generateAccessToken"})
                .to_string(),
                "source_credentials",
            ),
        ] {
            assert_refused(&text, why);
        }
    assert_eq!(safe(&user.to_string()).map(|file| file.kind), Ok(CredentialKind::AuthorizedUser));
}

fn safe(text: &str) -> Result<CredentialFile, Fault> {
    parse(text, TransportPolicy::Safe)
}

fn assert_refused(text: &str, why: &str) {
    let error = match safe(text) {
        Ok(_) => "it was accepted".to_owned(),
        Err(fault) => fault.to_string(),
    };
    assert!(error.contains(why) && !error.contains("SECRET"), "{text}: {error}");
}

fn external(field: &str, value: Value) -> String {
    let mut file = json!({
        "type": "external_account", "audience": "a", "subject_token_type": "t",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": { "file": "/token" },
    });
    file[field] = value;
    file.to_string()
}

#[test]
fn secrets_go_in_clear_text_to_this_machine_alone() {
    let impersonation = "http://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken";
    let at_this_machine =
        "http://127.0.0.1:1/v1/projects/-/serviceAccounts/a@b:generateAccessToken";
    let user = |uri: &str| {
        json!({ "type": "authorized_user", "client_id": "a", "client_secret": "SECRET",
                    "refresh_token": "SECRET", "token_uri": uri })
    };
    let source = |source: Value| external("credential_source", source);
    for text in [
        user("http://example.com/token").to_string(),
        user("http://10.0.0.1/token").to_string(),
        user("http://localhost.example.com/token").to_string(),
        external("token_url", "http://sts.googleapis.com/v1/token".into()),
        external("service_account_impersonation_url", impersonation.into()),
        json!({ "type": "external_account_authorized_user", "client_id": "a",
                    "client_secret": "SECRET", "refresh_token": "SECRET",
                    "token_url": "http://sts.googleapis.com/v1/oauthtoken" })
        .to_string(),
        json!({ "type": "impersonated_service_account",
                    "service_account_impersonation_url": impersonation,
                    "source_credentials": user("https://oauth2.googleapis.com/token") })
        .to_string(),
        json!({ "type": "impersonated_service_account",
                    "service_account_impersonation_url": impersonation.replace("http", "https"),
                    "source_credentials": user("http://oauth2.googleapis.com/token") })
        .to_string(),
        source(json!({ "url": "http://10.0.0.1/token" })),
        source(json!({ "environment_id": "aws1", "url": "http://10.0.0.1/role" })),
        source(json!({ "environment_id": "aws1",
                           "regional_cred_verification_url": "http://sts.{region}.amazonaws.com" })),
    ] {
        assert_refused(&text, "clear text");
        let allowed = parse(text.as_str(), TransportPolicy::ClearTextToo);
        assert!(allowed.is_ok(), "{text}: {:?}", allowed.err());
    }
    for text in [
        external("service_account_impersonation_url", at_this_machine.into()),
        source(json!({ "file": "a", "format": { "type": "text" } })),
        user("http://127.0.0.1:1/token").to_string(),
        user("http://[::1]:1/token").to_string(),
        user("http://localhost/token").to_string(),
        source(json!({ "url": "http://169.254.169.254/metadata/identity/oauth2/token" })),
        source(json!({
            "environment_id": "aws1",
            "region_url": "http://169.254.169.254/latest/meta-data/placement/availability-zone",
            "url": "http://[fd00:ec2::254]/latest/meta-data/iam/security-credentials",
            "regional_cred_verification_url":
                "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        })),
    ] {
        assert!(safe(&text).is_ok(), "{text}: {:?}", safe(&text).err());
    }
}

#[test]
fn a_field_that_is_not_used_is_not_checked() {
    let text = json!({ "type": "impersonated_service_account", "lifetime": "an hour",
        "service_account_impersonation_url":
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
        "source_credentials": { "type": "authorized_user", "client_id": "a",
            "client_secret": "SECRET", "refresh_token": "SECRET" } });
    assert!(safe(&text.to_string()).is_ok());
}

#[test]
fn an_impersonation_url_is_that_of_generate_access_token_at_google() {
    for url in [
        "https://evil.example/steal",
        "https://evil.example/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
        "https://iamcredentials.evil.example/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
        "https://iamcredentialsgoogleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:signJwt",
        "https://user:SECRET@h/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
    ] {
        let text = external("service_account_impersonation_url", url.into());
        assert_refused(&text, "\"service_account_impersonation_url\" is not");
    }
}

#[test]
fn a_source_of_subject_tokens_that_is_not_supported_is_named() {
    for (source, why) in [
        (json!({ "certificate": { "use_default_certificate_config": true } }), "certificate"),
        (json!({ "environment_id": "azure1" }), "aws1"),
        (json!({}), "names no source"),
        (json!({ "file": 7 }), "\"credential_source.file\" is not text but a number"),
        (json!({ "executable": {} }), "\"credential_source.executable.command\""),
        (json!({ "url": "nowhere" }), "\"credential_source.url\""),
        (json!({ "file": "a", "format": { "type": "json" } }), "subject_token_field_name"),
        (json!({ "file": "a", "format": { "type": "xml" } }), "neither text nor json"),
        (json!("SECRET"), "\"credential_source\" is not an object but text"),
    ] {
        assert_refused(&external("credential_source", source), why);
    }
}

#[test]
fn a_key_that_lost_its_lines_is_mended_and_any_other_is_named() {
    let key = |pem: &str| json!({ "client_email": "a@b", "private_key": pem }).to_string();
    let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    let body = "U0VDUkVU".repeat(16);
    let right = format!("{begin}\n{}\n{}\n{end}\n", &body[..64], &body[64..]);
    for pem in [
        right.clone(),
        right.replace('\n', "\r\n"),
        right.replace('\n', "\\n"),
        right.replace('\n', "\\r\\n"),
        right.replace('\n', " "),
        right.replace('\n', ""),
        right.replace('\n', "\n    "),
        format!("\"{right}\""),
        format!("'{}'", right.replace('\n', "\\n")),
    ] {
        let file = safe(&key(&pem)).unwrap();
        assert_eq!(file.text_of("private_key"), Some(right.as_str()), "{pem}");
        assert_eq!(file.text_of("token_uri"), Some(TOKEN_URI));
    }
    for (pem, why) in [
        (right.replace(end, ""), "lost its end"),
        (right.replace(&body[..10], "U0VDUk..."), "was shortened"),
        (right.replace('\n', "\\\\n"), "escaped more than once"),
        (right.replace("PRIVATE", "RSA PRIVATE"), "PKCS#1"),
        (right.replace("PRIVATE", "ENCRYPTED PRIVATE"), "has a password"),
        (right.replace("PRIVATE", "PUBLIC"), "not the private one"),
        (body.clone(), "PKCS#8 PEM form"),
    ] {
        assert_refused(&key(&pem), why);
    }
}

#[test]
fn the_impersonated_account_is_read_from_the_url() {
    let url = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken";
    assert_eq!(impersonated(url), Some("a@b"));
    assert_eq!(impersonated("https://iamcredentials.googleapis.com/v1/a"), None);
}
