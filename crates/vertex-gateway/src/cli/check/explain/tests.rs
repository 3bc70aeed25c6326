use super::*;

const FACTS: Facts<'static> = Facts {
    asked: "google/gemini-9",
    project: Some("p1"),
    location: Some("us-central1"),
    endpoint: None,
    model: "google/gemini-2.5-flash",
    origin: "https://us-central1-aiplatform.googleapis.com",
    own_host: false,
    principal: Some("sa@p1.iam.gserviceaccount.com"),
    quota_project: None,
    token: "SECRET",
};

fn error(status: u16, message: &str, reason: &str, metadata: Value) -> String {
    let details = match reason {
        "" => Value::Null,
        _ => serde_json::json!([{"reason": reason, "metadata": metadata}]),
    };
    serde_json::json!([{"error": {
        "code": status, "message": message, "status": "SOME_STATUS", "details": details,
    }}])
    .to_string()
}

fn explained(status: u16, body: &str, facts: &Facts<'_>) -> Option<(String, String)> {
    let status = StatusCode::from_u16(status).unwrap();
    let is_html = body.starts_with("<html");
    explain(&ResponseSummary { status, is_html, body: body.as_bytes() }, facts)
}

#[test]
fn each_error_has_its_remedy() {
    let none = Value::Null;
    let user = Facts { principal: Some("me@example.com"), ..FACTS };
    let payer = Facts { quota_project: Some("payer"), ..FACTS };
    let unknown = Facts { principal: None, ..FACTS };
    let global = Facts { location: Some("global"), ..FACTS };
    let deployed = Facts { endpoint: Some("123"), model: "", ..FACTS };
    let own = Facts { own_host: true, origin: "http://h", ..FACTS };
    let bare = Facts { model: "gemini-9", ..FACTS };
    let dedicated = "This endpoint is a dedicated endpoint via CloudESF and cannot be accessed \
         through the Vertex AI API. Please access the endpoint using its dedicated dns name ";
    let pattern = "'<endpoint_id>.<region>-<project number>.prediction.vertexai.goog'";
    let name = "'123.us-central1-456.prediction.vertexai.goog'.";
    let disabled =
        serde_json::json!({"service": "aiplatform.googleapis.com", "consumer": "projects/42"});
    let evil = serde_json::json!({"service": "x; rm -rf", "consumer": "--evil"});
    for (status, body, facts, words) in [
        (
            401,
            error(401, "m", "ACCESS_TOKEN_TYPE_UNSUPPORTED", none.clone()),
            &FACTS,
            "is new, but it was rejected",
        ),
        (
            403,
            error(403, "m", "SERVICE_DISABLED", disabled),
            &FACTS,
            "gcloud services enable aiplatform.googleapis.com --project 42",
        ),
        (
            403,
            error(403, "m", "SERVICE_DISABLED", evil),
            &payer,
            "gcloud services enable aiplatform.googleapis.com --project payer",
        ),
        (
            403,
            error(403, "Vertex AI API has not been used in project 1", "", none.clone()),
            &FACTS,
            "--project p1",
        ),
        (
            403,
            error(403, "m", "BILLING_DISABLED", none.clone()),
            &FACTS,
            "linkedaccount?project=p1",
        ),
        (403, error(403, "m", "ACCESS_TOKEN_SCOPE_INSUFFICIENT", none.clone()), &FACTS, "scope"),
        (403, error(403, "m", "SECURITY_POLICY_VIOLATED", none.clone()), &FACTS, "perimeter"),
        (
            403,
            error(403, "m", "USER_PROJECT_DENIED", none.clone()),
            &payer,
            "binding payer --member=serviceAccount:sa@p1.iam.gserviceaccount.com --role=roles/serviceusage",
        ),
        (
            403,
            error(403, "Permission 'aiplatform.endpoints.predict' denied", "", none.clone()),
            &user,
            "`gcloud projects add-iam-policy-binding p1 --member=user:me@example.com --role=roles/aiplatform.user`",
        ),
        (403, error(403, "m", "", none.clone()), &unknown, "--member=user:EMAIL"),
        (
            404,
            error(404, "Publisher Model `x` was not found", "", none.clone()),
            &FACTS,
            "--location global",
        ),
        (
            404,
            error(404, "Publisher Model `x` was not found", "", none.clone()),
            &global,
            "--location us-central1",
        ),
        (
            404,
            error(404, "m", "", none.clone()),
            &deployed,
            "endpoints list --region=us-central1 --project=p1",
        ),
        (404, "<html>".to_owned(), &FACTS, "--location and --endpoint"),
        (404, "<html>".to_owned(), &own, "--upstream or --dedicated-host"),
        (
            400,
            error(400, "Malformed publisher model (`model`: 'x')", "", none.clone()),
            &bare,
            "google/gemini-9",
        ),
        (
            400,
            error(400, &format!("{dedicated}{pattern}"), "", none.clone()),
            &deployed,
            "endpoints describe 123",
        ),
        (
            400,
            error(400, &format!("{dedicated}{name}"), "", none.clone()),
            &deployed,
            "pass --dedicated-host 123.us-central1-456.prediction.vertexai.goog",
        ),
        (
            400,
            error(400, "Invalid hostname: x", "", none.clone()),
            &FACTS,
            "check the spelling of --location",
        ),
        (400, error(400, "m", "", none.clone()), &FACTS, "see the message"),
        (429, error(429, "m", "", none.clone()), &FACTS, "quota"),
        (503, error(503, "m", "", none.clone()), &FACTS, "status.cloud.google.com"),
        (503, "upstream connect error".to_owned(), &FACTS, "a proxy on the path got no response"),
        (407, String::new(), &FACTS, "login"),
        (302, String::new(), &FACTS, "portal"),
        (200, "<html>".to_owned(), &FACTS, "portal"),
        (200, "{}".to_owned(), &own, "http://h is not Vertex AI"),
    ] {
        let (detail, remedy) = explained(status, &body, facts).expect("a fault");
        assert!(remedy.contains(words), "{body}: {remedy}");
        assert!(detail.contains(&status.to_string()), "{detail}");
        assert!(!remedy.contains("evil") && !remedy.contains("rm -rf"), "{remedy}");
        // The same in an object.
        if let Some(body) = body.strip_prefix('[').and_then(|body| body.strip_suffix(']')) {
            assert_eq!(explained(status, body, facts), Some((detail, remedy)));
        }
    }
    assert_eq!(explained(200, r#"{"choices": []}"#, &FACTS), None);
}

#[test]
fn a_fault_has_googles_message_and_no_token() {
    let message = format!("a\nSECRET Bearer x ya29.y {}", "zz ".repeat(200));
    let (detail, _) =
        explained(403, &error(403, &message, "a secret", Value::Null), &FACTS).unwrap();
    let start = "403 SOME_STATUS: a [redacted] [redacted] [redacted] zz zz";
    assert!(detail.starts_with(start) && detail.ends_with('…'), "{detail}");
    assert!(detail.chars().count() < 330 && !detail.contains("secret"), "{detail}");
    let (detail, _) = explained(500, "SECRET", &FACTS).unwrap();
    assert!(!detail.contains("SECRET"), "{detail}");
}
