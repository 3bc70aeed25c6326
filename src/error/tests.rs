use std::time::Duration;

use super::*;
use crate::BoxError;

#[test]
fn an_error_has_a_response_in_openais_form() {
    let error = Error::from(RouteError::UnsupportedPath {
        path: "/v1/\"models\"".into(),
        supported: "/chat/completions",
    });
    let response = error.to_response();
    assert_eq!(response.status(), StatusCode::NOT_FOUND);
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["error"]["type"], "invalid_request_error");
    assert_eq!(body["error"]["code"], "unsupported_path");
    assert!(body["error"]["param"].is_null());
    assert_eq!(body["error"]["message"], error.to_string());
}

#[test]
fn an_unusable_setting_is_a_server_error() {
    let error = Error::from(ConfigError::invalid("location", "Berlin", "give a region"));
    assert_eq!((error.status().as_u16(), error.code()), (500, "invalid_configuration"));
}

#[test]
fn debug_of_an_error_reads_as_its_text_with_the_causes_below() {
    let cause = std::io::Error::other("the cable is unplugged");
    let failed = TokenError::fetch(Outer(cause).into());
    let error: BoxError = Error::from(failed).into();
    assert_eq!(
        format!("{error:?}"),
        "no access token for Vertex AI: outer\n  caused by: the cable is unplugged"
    );
    let error = ConfigError::invalid("location", "Berlin", "give a region");
    assert_eq!(format!("{error:?}"), "invalid location \"Berlin\": give a region");
    assert_eq!(format!("{:#?}", Error::from(error.clone())), error.to_string());
}

#[derive(Debug)]
struct Outer(std::io::Error);

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl StdError for Outer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn the_text_of_an_error_ends_with_its_remedy() {
    for error in [
        Error::from(ConfigError::invalid("location", "Berlin", "give a region")),
        Error::from(ConfigError::missing("location", "give a region")),
        Error::from(TokenError::Timeout(Duration::from_secs(1))),
        Error::from(TokenError::NoRuntime),
        Error::from(UntrustedHost::new("https://example.com".into(), "it is not trusted")),
    ] {
        let remedy = error.remedy().expect("there is one");
        assert!(error.to_string().ends_with(remedy), "{error}");
    }
    assert_eq!(Error::from(TokenError::Panicked).remedy(), None);
}

#[cfg(any(feature = "credentials", feature = "credentials-federation"))]
#[test]
fn a_token_error_has_the_remedy_of_its_credentials() {
    let fault = Fault::new(FaultKind::Credentials, "it is not JSON", "use the file as it was made");
    let path = std::path::Path::new("/etc/key.json");
    let unusable = CredentialsError::unusable("the credential file".into(), path, fault);
    let error = Error::from(TokenError::fetch(unusable.into()));
    assert_eq!(error.remedy(), Some("use the file as it was made"));
    assert!(error.to_string().ends_with("it is not JSON; use the file as it was made"), "{error}");

    let not_found = CredentialsError::not_found(vec![("gcloud", "there is none".to_owned())]);
    let remedy = not_found.remedy().map(str::to_owned);
    let error = Error::from(TokenError::fetch(not_found.into()));
    assert!(error.remedy().is_some() && error.remedy() == remedy.as_deref(), "{error}");
}

#[test]
fn errors_can_cross_threads() {
    fn check<T: Send + Sync + Clone + StdError + 'static>() {}
    check::<Error>();
}
