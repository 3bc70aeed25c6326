//! A client's key in the places of the three protocols.

use super::*;

const FORMS: [(Protocol, &str); 4] = [
    (Protocol::OpenAi, "/v1/chat/completions"),
    (Protocol::Gemini, "/v1beta/models/gemini-2.5-flash:generateContent"),
    (Protocol::Anthropic, "/v1/messages"),
    (Protocol::Anthropic, "/v1/publishers/anthropic/models/claude-opus-4-5:rawPredict"),
];

fn request(path: &str) -> Request<Full<Bytes>> {
    post(path, &json!({ "model": CLAUDE, "messages": [] }))
}

#[tokio::test]
async fn a_key_in_each_place_is_accepted_and_none_travels_upstream() {
    let place = Place::new().await;
    let gateway = place.start("", &[]).await;
    let bearer = format!("Bearer {ALICE}");
    let mut sent = 0;
    for (_, path) in FORMS {
        for (headers, query) in [
            (&[("authorization", &*bearer)][..], String::new()),
            (&[("x-api-key", ALICE)], String::new()),
            (&[("x-goog-api-key", ALICE)], String::new()),
            (&[], format!("?key={ALICE}")),
            (&[], format!("?alt=json&key={}", ALICE.replace('-', "%2D"))),
            (&[("authorization", "Bearer ya29.SECRET"), ("x-api-key", ALICE)], String::new()),
            (&[("authorization", &bearer), ("x-api-key", ALICE)], "?key=SECRET".to_owned()),
            (&[("authorization", &bearer), ("x-goog-api-key", "SECRET")], String::new()),
        ] {
            let request = request(&format!("{path}{query}"));
            let request =
                headers.iter().fold(request, |request, (name, value)| with(request, name, value));
            let response = gateway.call(request).await;
            assert_ne!(response.status(), 401, "{path}{query} {headers:?}");
            sent += 1;
            let came = place.vertex.requests();
            assert_eq!(came.len(), sent, "{path}{query} {headers:?}");
            let came = came.last().unwrap();
            assert!(came.token_generation.is_some(), "{path}");
            for name in ["x-api-key", "x-goog-api-key"] {
                assert!(!came.header_names.iter().any(|came| came == name), "{path}");
            }
            let query = came.query.as_deref().unwrap_or_default();
            assert!(!query.contains("key") && !query.contains("SECRET"), "{query}");
        }
    }
    place.logged("client=\"alice\"").await;
    let log = place.log();
    assert!(!log.contains("SECRET") && !log.contains("key="), "{log}");
}

#[tokio::test]
async fn a_request_without_one_known_key_gets_a_401_in_the_form_of_its_client() {
    let place = Place::new().await;
    let gateway = place.start("", &[]).await;
    let (alice, wrong) = (format!("Bearer {ALICE}"), format!("{ALICE}x"));
    for (protocol, path) in FORMS {
        let header = match protocol {
            Protocol::Gemini => "`x-goog-api-key: KEY`",
            Protocol::Anthropic => "`x-api-key: KEY`",
            _ => "`Authorization: Bearer KEY`",
        };
        for (headers, query, why) in [
            (&[][..], String::new(), header),
            (&[], "?alt=sse".to_owned(), header),
            (&[("x-api-key", &*wrong)], String::new(), "not a key of this gateway"),
            (&[("x-goog-api-key", &wrong)], String::new(), "not a key of this gateway"),
            (&[], format!("?key={wrong}"), "not a key of this gateway"),
            (&[("authorization", &alice), ("x-api-key", BOB)], String::new(), "two clients"),
            (&[("authorization", &alice)], format!("?key={BOB}"), "two clients"),
            (&[("x-api-key", ALICE), ("x-api-key", ALICE)], String::new(), "more than one"),
            (&[("x-goog-api-key", ALICE), ("x-goog-api-key", BOB)], String::new(), "more than one"),
            (&[], format!("?key={ALICE}&key={ALICE}"), "more than one"),
        ] {
            let request = headers
                .iter()
                .fold(request(&format!("{path}{query}")), |request, (name, value)| {
                    with(request, name, value)
                });
            let response = gateway.call(request).await;
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            let (status, code, message) = refusal(protocol, response).await;
            assert_eq!((status, &*code), (401, "invalid_api_key"), "{path}{query} {headers:?}");
            assert!(message.contains(why), "{path}{query} {headers:?}: {message}");
        }
    }
    assert_eq!(place.vertex.stats().api_requests, 0);
    place.logged("status=401").await;
    assert!(!place.log().contains("SECRET"), "{}", place.log());
}
