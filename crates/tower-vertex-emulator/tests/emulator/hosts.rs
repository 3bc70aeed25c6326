use super::*;

const DNS: &str = "77.us-central1-42.prediction.vertexai.goog";

#[tokio::test]
async fn a_host_serves_its_own_locations() {
    const OK: &str = "";
    const INVALID: &str = "Invalid hostname: ";
    const PAGE: &str = "Error 404 (Not Found)!!1";
    const PRIVATE: &str = "77-us-central1-42.prediction.p.vertexai.goog";
    let emulator = Emulator::builder()
        .host_aware(true)
        .endpoint(EndpointInfo::dedicated("77", "mine", DNS))
        .endpoint(EndpointInfo::shared("123", "shared"))
        .start()
        .await
        .unwrap();
    let bench = Bench::over(emulator, Version::HTTP_11);
    for (host, location, endpoint, expected) in [
        ("us-central1-aiplatform.googleapis.com", "us-central1", "openapi", OK),
        ("us-central1-aiplatform.googleapis.com:443", "us-central1", "openapi", OK),
        ("US-Central1-AIplatform.googleapis.com", "us-central1", "openapi", OK),
        ("us-central1-aiplatform.googleapis.com", "europe-west4", "openapi", OK),
        ("us-central1-aiplatform.googleapis.com", "us-central1", "123", OK),
        ("aiplatform.googleapis.com", "global", "openapi", OK),
        ("aiplatform.googleapis.com", "us-central1", "openapi", PAGE),
        ("aiplatform.us.rep.googleapis.com", "us", "openapi", OK),
        ("aiplatform.eu.rep.googleapis.com", "eu", "openapi", OK),
        ("aiplatform.eu.rep.googleapis.com", "us", "openapi", PAGE),
        ("aiplatform.fr.rep.googleapis.com", "fr", "openapi", PAGE),
        ("us-central1-aiplatform.mtls.googleapis.com", "us-central1", "openapi", OK),
        ("aiplatform.mtls.googleapis.com", "global", "openapi", OK),
        ("aiplatform-corp.p.googleapis.com", "global", "openapi", OK),
        ("us-central1-aiplatform-corp.p.googleapis.com", "us-central1", "openapi", OK),
        ("us-central1-aiplatform.p.googleapis.com", "us-central1", "openapi", PAGE),
        ("us-central1-aiplatform-corp.googleapis.com", "us-central1", "openapi", PAGE),
        ("eu-aiplatform.googleapis.com", "eu", "openapi", INVALID),
        ("us-aiplatform.googleapis.com", "us", "openapi", INVALID),
        ("global-aiplatform.googleapis.com", "global", "openapi", INVALID),
        (DNS, "us-central1", "77", OK),
        (DNS, "us-central1", "78", PAGE),
        ("78.us-central1-42.prediction.vertexai.goog", "us-central1", "78", PAGE),
        (PRIVATE, "us-central1", "77", OK),
        (PRIVATE, "us-central1", "openapi", PAGE),
        ("us-central1-aiplatform.googleapis.com", "us-central1", "77", DNS),
        ("us-central1-aiplatform.example.com", "us-central1", "openapi", PAGE),
        ("us-central1-aiplatform.googleapis.com.evil.com", "us-central1", "openapi", PAGE),
        ("-aiplatform.googleapis.com", "us-central1", "openapi", PAGE),
        ("127.0.0.1", "us-central1", "openapi", PAGE),
        ("localhost", "us-central1", "openapi", PAGE),
    ] {
        let path = CHAT.replace("us-central1", location).replace("openapi", endpoint);
        let request = bench.request(Method::POST, &path).header("host", host);
        let answer = bench.send(request.body(full(hello().to_string())).unwrap()).await;
        let row = format!("{host} {location} {endpoint}: {}", answer.text());
        let status = match expected {
            OK => 200,
            PAGE => 404,
            _ => 400,
        };
        assert_eq!(answer.status, status, "{row}");
        assert!(answer.text().contains(expected), "{row}");
        if expected == INVALID {
            assert_eq!(answer.error(false)["message"], format!("{INVALID}{host}"));
        } else if expected == DNS {
            assert_eq!(answer.error(false)["status"], "FAILED_PRECONDITION");
        }
        assert_eq!(bench.emulator.requests().last().unwrap().host.as_deref(), Some(host));
    }
    // Control and metadata are served at any host; an endpoint is looked up at the shared host.
    assert_eq!(bench.control("GET", "stats", Value::Null).await.status, 200);
    assert_eq!(bench.metadata("/").await.status, 200);
    let request = bench
        .request(Method::GET, "/v1/projects/p1/locations/us-central1/endpoints/77")
        .header("host", "us-central1-aiplatform.googleapis.com");
    let found = bench.send(request.body(full("")).unwrap()).await.json();
    assert_eq!(found["dedicatedEndpointDns"], DNS);
}

#[tokio::test]
async fn the_certificate_is_valid_for_googles_names() {
    use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

    let emulator = Emulator::builder()
        .tls(true)
        .endpoint(EndpointInfo::dedicated("77", "mine", DNS))
        .start()
        .await
        .unwrap();
    assert!(emulator.url().starts_with("https://127.0.0.1:"));
    let connector = TlsConnector::from(std::sync::Arc::new(tls_config(&emulator)));
    for (name, good) in [
        ("localhost", true),
        ("127.0.0.1", true),
        ("::1", true),
        ("us-central1-aiplatform.googleapis.com", true),
        ("aiplatform.eu.rep.googleapis.com", true),
        ("aiplatform.mtls.googleapis.com", true),
        ("aiplatform-corp.p.googleapis.com", true),
        (DNS, true),
        ("example.com", false),
    ] {
        let socket = TcpStream::connect(emulator.addr()).await.unwrap();
        let name = ServerName::try_from(name).unwrap();
        assert_eq!(connector.connect(name.clone(), socket).await.is_ok(), good, "{name:?}");
    }
}

#[tokio::test]
async fn beside_tls_a_plain_port_serves_tokens_and_control_alone() {
    let emulator = Emulator::builder().tls(true).start().await.unwrap();
    assert_ne!(emulator.control_url(), emulator.url());
    let bench = Bench::over(emulator, Version::HTTP_2);
    let answer = bench.chat().await;
    assert_eq!((answer.status, answer.version), (StatusCode::OK, Version::HTTP_2));
    let plain = Client::builder(TokioExecutor::new()).build_http::<Body>();
    for (method, path, status) in [
        ("GET", "/__emulator/stats", 200),
        ("POST", "/token", 400),
        ("GET", "/", 200),
        ("POST", CHAT, 404),
    ] {
        let uri = format!("{}{path}", bench.emulator.control_url());
        let request = Request::builder().method(method).uri(uri).body(full("")).unwrap();
        assert_eq!(plain.request(request).await.unwrap().status(), status, "{path}");
    }
    assert_eq!(bench.emulator.stats().api_requests, 1);
}
