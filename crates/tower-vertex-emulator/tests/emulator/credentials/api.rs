//! Errors of the API by their reason, and the list of models.

use super::*;

#[tokio::test]
async fn a_fault_gives_its_reason() {
    let bench = Bench::new().await;
    let token = bench.emulator.mint();
    for (status, reason, domain, metadata) in [
        (
            403,
            "SERVICE_DISABLED",
            "googleapis.com",
            json!({ "service": "aiplatform.googleapis.com", "consumer": "projects/p1" }),
        ),
        (
            403,
            "IAM_PERMISSION_DENIED",
            "aiplatform.googleapis.com",
            json!({
                "permission": "aiplatform.endpoints.predict",
                "resource": "projects/p1/locations/us-central1/endpoints/openapi",
            }),
        ),
        (
            401,
            "ACCESS_TOKEN_EXPIRED",
            "googleapis.com",
            json!({
                "service": "aiplatform.googleapis.com",
                "method": "google.cloud.aiplatform.v1.PredictionService.ChatCompletions",
            }),
        ),
    ] {
        let retry_delay = Some("2s".to_owned());
        let fault = ApiFault {
            reason: Some(reason.into()),
            retry_delay,
            shape: Some(ErrorShape::Object),
            ..ApiFault::new(status)
        };
        bench.emulator.set_faults(Faults { api: Some(fault), ..Faults::default() });
        let error = bench.chat(&token).await.google_error();
        assert_eq!(error["code"], status);
        let details = error["details"].as_array().unwrap();
        assert_eq!(details.len(), 2, "an ErrorInfo and a RetryInfo");
        assert_eq!(details[0]["reason"], reason);
        assert_eq!(details[0]["domain"], domain);
        assert_eq!(details[0]["metadata"], metadata);
        let disabled = "Vertex AI API has not been used in project p1 before or it is \
            disabled. Enable it by visiting https://console.developers.google.com/apis/api/\
            aiplatform.googleapis.com/overview?project=p1 then retry. If you enabled this API \
            recently, wait a few minutes for the action to propagate to our systems and retry.";
        assert_eq!(error["message"] == disabled, reason == "SERVICE_DISABLED");
    }
}

#[tokio::test]
async fn models_that_are_not_listed_are_not_found() {
    let models = ["gemini-9", "google/other", "meta/llama-maas"];
    let listed = Bench::over(Emulator::builder().models(models).start().await.unwrap());
    let usual = Bench::new().await;
    for (model, by_list, by_default) in [
        ("google/gemini-9", 200, 404),
        ("google/other", 200, 404),
        ("meta/llama-maas", 200, 404),
        ("google/gemini-2.5-flash", 404, 200),
        ("openai/gpt-oss-20b-maas", 404, 200),
        ("gemini-9", 400, 400),
    ] {
        for (bench, status) in [(&listed, by_list), (&usual, by_default)] {
            let answer = bench.chat_about(&bench.emulator.mint(), model).await;
            assert_eq!(answer.status, status, "{model}");
            if status == 404 {
                let error = &answer.json()[0]["error"];
                let (publisher, name) = model.split_once('/').unwrap();
                let begins = format!(
                    "Publisher Model `projects/p1/locations/us-central1/publishers/{publisher}\
                     /models/{name}` was not found or your project does not have access to it."
                );
                assert!(text(error, "message").starts_with(&begins), "{error}");
                assert_eq!(error["status"], "NOT_FOUND");
            }
        }
    }
}
