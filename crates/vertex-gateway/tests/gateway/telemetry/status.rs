//! The status page: what it shows, whom it refuses, and what a visitor may start.

use http_body_util::BodyExt as _;

use super::*;

const OF_THE_PAGE: (&str, &str) = ("x-vertex-gateway-status", "1");
const KEY: &str = "key-of-the-team-0123456789";
const LISTED: &str = r#"
[[model]]
name = "mine"
model = "gemini-2.5-flash"
locations = ["us-central1", "us-east4"]
"#;

impl Watched {
    async fn status(&self) -> Value {
        let (status, text) = self.admin("GET", "/status.json").await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    /// The state once `is_so`.
    async fn status_when(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..2000 {
            let status = self.status().await;
            if is_so(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never {what}: {:#}", self.status().await);
    }

    /// Sends a request to a path of the page.
    async fn post(&self, path: &str, headers: &[(&str, &str)], body: Value) -> (u16, Value) {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = call(self.admin, request.body(Full::from(body.to_string())).unwrap()).await;
        let status = answer.status().as_u16();
        let text = text(answer).await;
        (status, serde_json::from_str(&text).expect(&text))
    }

    async fn try_model(&self, key: &str) -> Value {
        let body = json!({ "model": MODEL, "message": CONTENT, "key": key });
        let (status, reply) = self.post("/status/try", &[OF_THE_PAGE], body).await;
        assert_eq!(status, 200, "{reply}");
        reply
    }

    async fn events(&self) -> Events {
        let request = Request::get("/status/events").body(Full::default()).unwrap();
        let answer = call(self.admin, request).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events { body: answer.into_body(), text: String::new() }
    }
}

/// The stream of a page.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    /// The next event and its data; `None` at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        in_time("an event", async {
            loop {
                if let Some((event, rest)) = self.text.split_once("\n\n") {
                    let line =
                        |start: &str| event.lines().find_map(|line| line.strip_prefix(start));
                    let name = line("event: ").unwrap().to_owned();
                    let data = serde_json::from_str(line("data: ").unwrap()).unwrap();
                    self.text = rest.to_owned();
                    return Some((name, data));
                }
                let frame = self.body.frame().await?.unwrap();
                self.text += std::str::from_utf8(&frame.into_data().unwrap()).unwrap();
            }
        })
        .await
    }
}

async fn with_keys(vertex: &Emulator, options: &[&str]) -> Watched {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "team:{KEY}").unwrap();
    let keys = ["--client-key-file", file.path().to_str().unwrap()];
    Watched::start(vertex, &[&keys[..], options].concat()).await
}

fn with_key(mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let bearer = format!("Bearer {KEY}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    request
}

fn row<'a>(status: &'a Value, table: &str, name: &str) -> &'a Value {
    let rows = status[table].as_array().unwrap();
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name} in {rows:#?}"))
}

#[tokio::test]
async fn the_page_shows_counts_latencies_and_requests_without_their_content() {
    let vertex = Emulator::start().await.unwrap();
    let watched = with_keys(&vertex, &[]).await;
    for _ in 0..3 {
        assert_eq!(
            text(watched.call(with_key(ask(MODEL))).await).await.matches(CONTENT).count(),
            1
        );
    }
    assert_eq!(watched.call(ask(MODEL)).await.status(), 401);
    let status =
        watched.status_when("four requests", |status| status["total"]["requests"] == 4).await;
    let own = row(&status, "keys", "team");
    assert_eq!((&own["requests"], &own["failed"]), (&json!(3), &json!(0)));
    assert!(own["input_tokens"].as_u64() > Some(0) && own["output_tokens"].as_u64() > Some(0));
    for latencies in ["first_byte_ms", "total_ms"] {
        let all: Vec<f64> = serde_json::from_value(own[latencies].clone()).unwrap();
        assert!(all.is_sorted() && all[0] > 0.0 && all.len() == 3, "{all:?}");
    }
    assert_eq!(row(&status, "models", MODEL)["requests"], 3);
    assert_eq!(row(&status, "locations", "us-central1")["requests"], 3);
    let refused = row(&status, "keys", "");
    assert_eq!(refused["failures"], json!([{ "kind": "invalid_api_key", "count": 1 }]));
    let requests = status["requests"].as_array().unwrap();
    let shown = |at: usize, name: &str| requests[at][name].clone();
    assert_eq!((shown(0, "status"), shown(0, "operation")), (json!(200), json!("chat")));
    assert_eq!((shown(3, "status"), shown(3, "code")), (json!(401), json!("invalid_api_key")));
    assert_eq!(status["token"]["generation"], 1);
    let next = &status["token"];
    assert!(next["refresh_in_seconds"].as_u64() < next["expires_in_seconds"].as_u64(), "{next}");
    let text = status.to_string();
    for secret in [CONTENT, KEY, "ya29", "PRIVATE"] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn a_page_gets_the_whole_state_and_then_each_new_request() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &[]).await;
    drop(text(watched.call(ask(MODEL)).await).await);
    watched.status_when("one request", |status| status["total"]["requests"] == 1).await;
    let mut events = watched.events().await;
    let (name, whole) = events.next().await.unwrap();
    assert_eq!((&*name, &whole["requests"][0]["number"]), ("whole", &json!(1)));
    assert_eq!(whole["gateway"]["can_try"]["offered"], true);
    assert_eq!(whole["columns"][0], "time_ms");
    drop(text(watched.call(ask(MODEL)).await).await);
    loop {
        let (name, latest) = events.next().await.unwrap();
        assert_eq!(name, "latest");
        assert!(latest.get("gateway").is_none());
        if latest["total"]["requests"] == 2 {
            assert_eq!(latest["requests"].as_array().unwrap().last().unwrap()["number"], 2);
            break;
        }
    }
    // The stream ends as a response and not as a broken connection.
    watched.gateway.terminate();
    let last = loop {
        match events.next().await.unwrap() {
            (name, _) if name == "latest" => {}
            last => break last,
        }
    };
    assert_eq!(last, ("end".to_owned(), json!({})));
    assert!(events.next().await.is_none());
    assert!(watched.gateway.ended().await.success());
}

#[tokio::test]
async fn a_revoked_token_an_ejected_location_and_a_429_are_shown() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(LISTED.as_bytes()).unwrap();
    let options = ["--config", file.path().to_str().unwrap(), "--max-attempts", "2"];
    let watched = Watched::start(&vertex, &options).await;
    let circuits = |status: &Value| {
        let all = status["circuits"].as_array().unwrap().clone();
        all.iter().map(|circuit| circuit["state"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(circuits(&watched.status().await), ["closed", "closed"]);
    assert_eq!(watched.call(ask("mine")).await.status(), 200);
    vertex.revoke_tokens();
    assert_eq!(watched.call(ask("mine")).await.status(), 200);
    let status = watched.status_when("revoked", |status| status["token"]["rejections"] == 1).await;
    let healed = json!({ "reason": "rejected", "outcome": "new_token", "count": 1 });
    let refreshes = status["token"]["refreshes"].as_array().unwrap();
    assert!(refreshes.contains(&healed), "{refreshes:#?}");

    let location = Some("us-central1".to_owned());
    let fault = ApiFault { location, ..ApiFault::new(429) };
    vertex.set_faults(Faults { api: Some(fault), ..Faults::default() });
    assert_eq!(watched.call(ask("mine")).await.status(), 200);
    let status = watched.status().await;
    assert_eq!(circuits(&status), ["open", "closed"]);
    assert!(status["circuits"][0]["probe_in_seconds"].as_u64() > Some(0));

    vertex.set_faults(Faults { api: Some(ApiFault::new(429)), ..Faults::default() });
    assert_eq!(watched.call(ask("mine")).await.status(), 429);
    let status = watched.status_when("a 429", |status| status["total"]["failed"] == 1).await;
    let expected = json!([{ "kind": "429", "count": 1 }]);
    assert_eq!(row(&status, "models", "mine")["failures"], expected);
}

#[tokio::test]
async fn pages_of_other_origins_and_foreign_hosts_are_refused() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    let (cross, own) = (("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-origin"));
    let (evil, rebound) = (("origin", "http://evil.example"), ("host", "evil.example"));
    for (method, path, headers, expected) in [
        // A link may lead to the page.
        ("GET", "/", &[cross][..], 200),
        ("GET", "/", &[own], 200),
        ("GET", "/", &[rebound], 403),
        ("POST", "/", &[own, OF_THE_PAGE], 405),
        ("GET", "/status.json", &[own], 200),
        ("HEAD", "/status.json", &[], 200),
        ("HEAD", "/status/events", &[], 200),
        ("GET", "/status.json", &[cross], 403),
        ("GET", "/status.json", &[evil], 403),
        ("GET", "/status.json", &[rebound], 403),
        ("GET", "/status/events", &[cross], 403),
        ("GET", "/status/events", &[rebound], 403),
        ("OPTIONS", "/status/try", &[evil], 403),
        ("OPTIONS", "/status/try", &[], 405),
        ("GET", "/status/try", &[own, OF_THE_PAGE], 405),
        ("GET", "/status/check", &[own, OF_THE_PAGE], 405),
        ("POST", "/status/check", &[], 403),
        ("POST", "/status/check", &[own], 403),
        ("POST", "/status/check", &[cross, OF_THE_PAGE], 403),
        ("POST", "/status/try", &[evil, OF_THE_PAGE], 403),
        ("POST", "/status/try", &[rebound, OF_THE_PAGE], 403),
        ("POST", "/status/try", &[own, OF_THE_PAGE], 400),
    ] {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = call(watched.admin, request.body(Full::default()).unwrap()).await;
        assert_eq!(answer.status(), expected, "{method} {path} {headers:?}");
        let sent = answer.headers();
        assert!(!sent.contains_key("access-control-allow-origin"), "{sent:?}");
        let policy = sent["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
        assert!(sent["cache-control"] == "no-store" && sent["x-content-type-options"] == "nosniff");
    }
    assert_eq!(vertex.requests(), []);
}

#[tokio::test]
async fn a_visitor_tries_a_model_under_the_rules_of_access() {
    let vertex = Emulator::start().await.unwrap();
    let watched = with_keys(&vertex, &[]).await;
    for key in ["", "wrong", "not\u{1}visible"] {
        let reply = watched.try_model(key).await;
        assert!(reply["text"].is_null() && reply["error"].is_string(), "{reply}");
        assert!(!reply.to_string().contains(CONTENT));
    }
    assert_eq!(vertex.requests(), []);
    let reply = watched.try_model(KEY).await;
    assert_eq!((&reply["status"], &reply["finish_reason"]), (&json!(200), &json!("stop")));
    assert!(reply["text"].as_str().unwrap().contains(CONTENT), "{reply}");
    // It is a request like any other.
    let status = watched.status_when("three", |status| status["total"]["requests"] == 3).await;
    assert_eq!(row(&status, "keys", "team")["requests"], 1);
    for secret in [CONTENT, KEY] {
        assert!(!status.to_string().contains(secret));
    }
    // Without keys, the visitor needs none.
    let keyless = Watched::start(&vertex, &[]).await;
    assert_eq!(keyless.try_model("").await["status"], 200);
}

#[tokio::test]
async fn a_visitor_runs_the_checks_and_sees_their_report() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    assert_eq!(watched.status().await["check"]["report"], Value::Null);
    let slow =
        StreamBehavior { first_byte_delay: Duration::from_secs(3), ..StreamBehavior::default() };
    pace(&vertex, slow);
    let run = || watched.post("/status/check", &[OF_THE_PAGE], json!({}));
    let (status, started) = run().await;
    assert_eq!((status, &started["running"]), (202, &json!(true)));
    let second = run().await;
    assert_eq!(second.0, 409, "{}", watched.status().await["check"]);
    let ended = |status: &Value| status["check"]["report"]["checks"].is_array();
    let status = watched.status_when("checked", ended).await;
    let checks = status["check"]["report"]["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"credentials") && names.last() == Some(&"model"), "{names:?}");
    assert_eq!(status["check"]["running"], false);
    assert!(!status.to_string().contains("ya29"));
}

#[tokio::test]
async fn eight_pages_may_be_open_and_probes_are_served() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    let mut pages = Vec::new();
    for _ in 0..8 {
        let mut page = watched.events().await;
        assert_eq!(page.next().await.unwrap().0, "whole");
        pages.push(page);
    }
    let (status, why) = watched.admin("GET", "/status/events").await;
    assert!(status == 503 && why.contains("close one"), "{why}");
    for _ in 0..20 {
        assert_eq!(watched.admin("GET", "/healthz").await.0, 200);
    }
    drop(pages.pop());
    for _ in 0..2000 {
        let request = Request::get("/status/events").body(Full::default()).unwrap();
        if call(watched.admin, request).await.status() == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the place of a closed page is never free");
}

#[tokio::test]
async fn on_an_address_that_others_reach_nothing_can_be_started() {
    let vertex = Emulator::start().await.unwrap();
    let (command, key) = before(&vertex, &vertex.url(), &["--admin-listen", "0.0.0.0:0"]);
    let mut gateway = Gateway::start(command).await;
    let line = gateway.stdout.next_line().await.unwrap().unwrap();
    let admin: SocketAddr = line.strip_prefix("admin on http://").unwrap().parse().unwrap();
    let watched = Watched { gateway, admin: ([127, 0, 0, 1], admin.port()).into(), _key: key };
    let body = json!({ "model": MODEL, "message": CONTENT });
    for path in ["/status/check", "/status/try"] {
        let (status, reply) = watched.post(path, &[OF_THE_PAGE], body.clone()).await;
        let error = reply["error"].as_str().unwrap();
        assert!(status == 403 && error.contains("not at a loopback address"), "{error}");
    }
    assert_eq!(watched.status().await["gateway"]["can_check"]["offered"], false);
    // A name on the internet may have been resolved to this address for a page.
    for (host, expected) in [("10.0.0.7", 200), ("gateway.team.svc", 200), ("evil.example", 403)] {
        let request = Request::get("/status.json").header("host", host);
        let answer = call(watched.admin, request.body(Full::default()).unwrap()).await;
        assert_eq!(answer.status(), expected, "{host}");
    }
    assert_eq!(vertex.requests(), []);
}

#[tokio::test]
async fn without_the_page_its_paths_do_not_exist() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &["--status-page", "off"]).await;
    for path in ["/", "/status.json", "/status/events"] {
        let (status, advice) = watched.admin("GET", path).await;
        assert_eq!((status, &*advice), (404, "not found: use /metrics, /healthz or /readyz\n"));
    }
    assert_eq!(watched.post_status("/status/try").await, 404);
    // The listener of clients does not have them either.
    let watched = Watched::start(&vertex, &[]).await;
    for path in ["/", "/status.json", "/status/events"] {
        let request = Request::get(path).body(Full::default()).unwrap();
        assert_eq!(watched.call(request).await.status(), 404, "{path}");
    }
}

impl Watched {
    async fn post_status(&self, path: &str) -> u16 {
        let request = Request::post(path).header(OF_THE_PAGE.0, OF_THE_PAGE.1);
        call(self.admin, request.body(Full::default()).unwrap()).await.status().as_u16()
    }
}

#[tokio::test]
async fn with_the_emulator_the_page_is_at_a_free_port_that_is_printed() {
    let mut gateway = Gateway::start(command(&["--emulator", "--listen", "127.0.0.1:0"])).await;
    let mut next = async || gateway.stdout.next_line().await.unwrap().unwrap();
    let (admin, page) = (next().await, next().await);
    let admin: SocketAddr = admin.strip_prefix("admin on http://").unwrap().parse().unwrap();
    assert!(admin.ip().is_loopback());
    assert_eq!(page, format!("status page on http://{admin}/"));
    let request = Request::get("/").body(Full::default()).unwrap();
    let answer = call(admin, request).await;
    assert_eq!(answer.headers()["content-type"], "text/html; charset=utf-8");
    assert!(text(answer).await.starts_with("<!doctype html>"));
}
