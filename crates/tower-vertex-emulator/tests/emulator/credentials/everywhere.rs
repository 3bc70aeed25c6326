//! Behavior common to all endpoints: settings, counters, secrets, TLS.

use super::*;

mod every_endpoint {
    use super::*;

    /// Sends one valid request to each endpoint that issues tokens.
    async fn ask_all(bench: &Bench, source: &str) -> Vec<Answer> {
        let workforce = parse(&bench.emulator.external_account_authorized_user());
        let path = impersonation_path("-", TARGET);
        vec![
            bench.impersonate(Some(source), &path, json!({ "scope": [SCOPE] })).await,
            bench.user_refresh("/token").await,
            bench.user_refresh("/o/oauth2/token").await,
            bench.post("/v1/token", bench.exchange_fields()).await,
            bench.workforce_refresh(&workforce).await,
            bench.metadata(METADATA_TOKEN).await,
        ]
    }

    #[tokio::test]
    async fn returns_the_configured_faults_and_counts_requests() {
        let bench = Bench::new().await;
        let source = bench.emulator.mint();
        for answer in ask_all(&bench, &source).await {
            assert_eq!(answer.status, StatusCode::OK);
        }
        let stats = bench.emulator.stats();
        assert_eq!((stats.token_requests, stats.token_mints), (6, 7));
        for (status, error) in [(503, "temporarily_unavailable"), (403, "access_denied")] {
            let fail = Some(TokenFault { status, times: None });
            bench.behave(TokenBehavior { fail, ..TokenBehavior::default() });
            let answers = ask_all(&bench, &source).await;
            assert_eq!(answers[0].google_error()["code"], status);
            for answer in &answers[1..] {
                assert_eq!(answer.refusal(), (status, error.to_owned()));
            }
        }
        let respond = LiteralResponse { status: 218, body: "odd".into(), ..Default::default() };
        bench.behave(TokenBehavior { respond: Some(respond), ..TokenBehavior::default() });
        for answer in ask_all(&bench, &source).await {
            assert_eq!((answer.status.as_u16(), answer.text()), (218, "odd"));
        }
        let stats = bench.emulator.stats();
        assert_eq!((stats.token_requests, stats.token_mints), (24, 7));
    }

    #[tokio::test]
    async fn repeats_its_own_token_until_expiry() {
        let bench = Bench::new().await;
        bench.behave(TokenBehavior { same_until_expiry: true, ..TokenBehavior::default() });
        let source = bench.emulator.mint();
        let first = ask_all(&bench, &source).await;
        let second = ask_all(&bench, &source).await;
        // Impersonation issues a new token each time. The user gets the same token at both
        // addresses.
        assert_ne!(first[0].json()["accessToken"], second[0].json()["accessToken"]);
        let token = |answer: &Answer| answer.json()["access_token"].clone();
        for (first, second) in first[1..].iter().zip(&second[1..]) {
            assert_eq!(token(first), token(second));
        }
        assert_eq!(token(&first[1]), token(&first[2]));
        assert_ne!(token(&first[3]), token(&first[4]));
        assert_eq!(bench.emulator.stats().token_mints, 7);
    }

    #[tokio::test]
    async fn shows_no_secret_in_records_stats_settings_and_debug() {
        let bench = Bench::new().await;
        let source = bench.emulator.mint();
        let signed = bench.self_signed(now());
        let mut secrets = vec![source.clone(), signed.clone(), bench.emulator.subject_token()];
        for file in
            [bench.emulator.authorized_user(), bench.emulator.external_account_authorized_user()]
        {
            for name in ["client_secret", "refresh_token"] {
                secrets.push(text(&parse(&file), name).to_owned());
            }
        }
        for answer in ask_all(&bench, &source).await {
            let answer = answer.json();
            let token = answer.get("access_token").or(answer.get("accessToken"));
            secrets.push(token.unwrap().as_str().unwrap().to_owned());
        }
        for token in secrets.clone() {
            bench.chat(&token).await;
        }
        let mut shown = format!("{:?} {:?}", bench.emulator, bench.emulator.requests());
        for name in ["requests", "stats", "token", "faults"] {
            shown.push_str(bench.get(&format!("/__emulator/{name}")).await.text());
        }
        assert!(shown.contains(WORKFORCE_PRINCIPAL) && shown.contains(TARGET));
        for secret in secrets {
            assert!(secret.len() > 20 && !shown.contains(&secret));
        }
    }
}

mod tls {
    use super::*;

    #[tokio::test]
    async fn the_certificate_is_valid_for_the_hosts_that_issue_tokens() {
        let emulator = Emulator::builder().tls(true).start().await.unwrap();
        let mut roots = RootCertStore::empty();
        let pem = emulator.certificate_pem().unwrap();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let bench = Bench::over(emulator);
        let served = bench.get("/__emulator/certificate").await;
        assert_eq!(Some(served.text()), bench.emulator.certificate_pem());
        let emulator = bench.emulator;
        let connector = TlsConnector::from(std::sync::Arc::new(config));
        for (host, path) in [
            ("accounts.google.com", "/o/oauth2/token"),
            ("oauth2.googleapis.com", "/token"),
            ("www.googleapis.com", "/oauth2/v4/token"),
            ("sts.googleapis.com", "/v1/token"),
            ("cloudresourcemanager.googleapis.com", "/v1/projects/p1"),
            ("iamcredentials.googleapis.com", &impersonation_path("-", TARGET)),
            ("metadata.google.internal", METADATA_TOKEN),
        ] {
            let socket = TcpStream::connect(emulator.addr()).await.unwrap();
            let name = ServerName::try_from(host).unwrap();
            let socket = connector.connect(name, socket).await.unwrap();
            let socket = hyper_util::rt::TokioIo::new(socket);
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(socket).await.unwrap();
            tokio::spawn(connection);
            assert!(
                emulator.hosts([]).contains(&host.to_owned()) || path == METADATA_TOKEN,
                "{host}"
            );
            let is_read = path == METADATA_TOKEN || path == "/v1/projects/p1";
            let method = if is_read { "GET" } else { "POST" };
            let request = Request::builder().method(method).uri(path).header("host", host);
            let request = request.body(Full::<Bytes>::default()).unwrap();
            // The empty request is refused, but by the endpoint and not by the page for unknown
            // paths.
            let status = sender.send_request(request).await.unwrap().status().as_u16();
            assert!([400, 401, 403].contains(&status), "{host}: {status}");
        }
        assert_eq!(emulator.stats().api_requests, 0);
    }

    #[tokio::test]
    async fn an_emulator_without_tls_has_no_certificate() {
        let bench = Bench::new().await;
        assert_eq!(bench.get("/__emulator/certificate").await.status, StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn each_address_for_control_serves_the_metadata_server_and_not_the_api() {
        let any = || std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let taken = std::net::TcpListener::bind(any()).unwrap().local_addr().unwrap();
        let builder = Emulator::builder().tls(true).control([any(), taken]);
        let bench = Bench::over(builder.start().await.unwrap());
        assert_ne!(bench.emulator.control_url(), format!("http://{taken}"));
        for base in [bench.emulator.control_url(), format!("http://{taken}")] {
            let request = Request::get(format!("{base}{METADATA_TOKEN}"));
            let request = request.header("metadata-flavor", "Google");
            let token = bench.send(request, String::new()).await.access_token();
            let request = Request::post(format!("{base}{CHAT}"))
                .header("authorization", format!("Bearer {token}"));
            assert_eq!(bench.send(request, String::new()).await.status, StatusCode::NOT_FOUND);
        }
    }
}
