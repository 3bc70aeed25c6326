//! The metrics: their values, their text formats, and that the dashboard and the manual name them.

use super::*;

#[tokio::test]
async fn the_log_and_the_metrics_count_the_tokens_that_google_bills() {
    let vertex = Emulator::start().await.unwrap();
    vertex.set_chat(ChatBehavior { responses: ResponsesModels::Any, ..ChatBehavior::default() });
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let mut log = watched.log();
    let chat = |more: Value| {
        let mut body = json!({ "model": MODEL, "messages": [{ "role": "user", "content": "x" }] });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ("/v1/chat/completions", body)
    };
    let cached = json!({ "extra_body": { "google": { "cached_content": "cachedContents/1" } } });
    let asked = [
        ("chat", "", chat(json!({}))),
        ("chat", "", chat(json!({ "stream": true }))),
        ("chat", "", chat(cached)),
        ("chat", "dedicated", chat(json!({ "model": "google/gemini-3-flash-preview" }))),
        ("chat", "", chat(json!({ "model": "google/gemini-2.0-flash" }))),
        ("text_completion", "", ("/v1/completions", json!({ "model": MODEL, "prompt": "x" }))),
        ("chat", "", ("/v1/responses", json!({ "model": MODEL, "input": "x" }))),
        ("chat", "", ("/v1/responses", json!({ "model": MODEL, "input": "x", "stream": true }))),
        (
            "embeddings",
            "",
            ("/v1/embeddings", json!({ "model": "google/text-embedding-005", "input": "x" })),
        ),
    ];
    let names =
        ["input_tokens", "cache_read_input_tokens", "output_tokens", "reasoning_output_tokens"];
    let mut sums = BTreeMap::<_, [u64; 4]>::new();
    for (operation, kind, (path, body)) in asked {
        let mut request = Request::post(path).header("content-type", "application/json");
        if !kind.is_empty() {
            request = request.header("x-vertex-ai-llm-request-type", kind);
        }
        let request = request.body(Full::from(body.to_string())).unwrap();
        let answer = text(watched.call(request).await).await;
        // In a stream, the last event with a usage counts.
        let lines = answer.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
        let usage = lines
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter_map(|said| {
                let places = [said.get("usage"), said.pointer("/response/usage")];
                places.into_iter().flatten().find(|usage| usage.is_object()).cloned()
            })
            .next_back()
            .expect(&answer);
        let of = |pointers: [&str; 2]| {
            pointers.into_iter().find_map(|at| usage.pointer(at)).and_then(Value::as_u64)
        };
        let input = of(["/prompt_tokens", "/input_tokens"]).unwrap();
        let output = of(["/total_tokens"; 2]).unwrap() - input;
        let reasoning = of([
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
        ]);
        let thinks = body["model"] != "google/gemini-2.0-flash" && operation != "embeddings";
        assert_eq!(reasoning.is_some(), thinks, "{usage}");
        if let Some(reasoning) = reasoning {
            assert!(0 < reasoning && reasoning < output, "{usage}");
        }
        let counts = [
            Some(input),
            of(["/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens"]),
            (operation != "embeddings").then_some(output),
            reasoning,
        ];
        let traffic_type = match (operation, kind) {
            ("embeddings", _) => "",
            (_, "dedicated") => "PROVISIONED_THROUGHPUT",
            _ => "ON_DEMAND",
        };
        let line = log.steady().await;
        for (name, count) in names.into_iter().zip(counts) {
            assert_eq!(line.get(name).and_then(Value::as_u64), count, "{name}: {line}");
        }
        let told = line.get("traffic_type").and_then(Value::as_str);
        assert_eq!(told.unwrap_or_default(), traffic_type, "{line}");
        let model = body["model"].as_str().unwrap().to_owned();
        let sums = sums.entry((operation, traffic_type, model)).or_default();
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count.unwrap_or(0);
        }
    }

    let metrics = watched.metrics_after(9.0).await;
    for ((operation, traffic_type, model), sums) in &sums {
        let labels = [
            ("client", ""),
            ("gen_ai_operation_name", *operation),
            ("gen_ai_provider_name", "gcp.vertex_ai"),
            ("gen_ai_request_model", model),
            ("gen_ai_token_modality", "unknown"),
            ("traffic_type", *traffic_type),
        ];
        for (name, sum) in names.into_iter().zip(sums) {
            let name = format!("gen_ai_client_inference_usage_{name}_total");
            assert_eq!(metrics.sum(&name, &labels), *sum as f64, "{name} {labels:?}");
            assert!(*sum > 0 || name.contains("cache") || !metrics.has(&name, &labels), "{name}");
        }
    }
    for (which, name) in [(0, "input_tokens"), (2, "output_tokens")] {
        let all: f64 = sums.values().map(|sums| sums[which] as f64).sum();
        assert_eq!(metrics.sum(&format!("vertex_gateway_{name}_total"), &[]), all);
    }
}

#[tokio::test]
async fn metrics_count_each_request_exactly_once() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[[model]]\nname = \"fast\"\nmodel = \"google/gemini-2.5-flash\"\n").unwrap();
    let config = ["--config", file.path().to_str().unwrap()];
    let watched = Watched::start(&vertex, &config).await;
    let before = watched.metrics().await;
    assert!(before.samples.iter().any(|(name, ..)| name == "vertex_gateway_build_info"));
    for family in
        ["requests", "time_to_first_byte_seconds", "upstream_retries", "upstream_failovers"]
    {
        assert!(before.families.contains_key(&format!("vertex_gateway_{family}")), "{family}");
    }

    let (mut input, mut output) = (0, 0);
    for _ in 0..3 {
        let answer: Value =
            serde_json::from_str(&text(watched.call(chat("x")).await).await).unwrap();
        input += answer["usage"]["prompt_tokens"].as_u64().unwrap();
        output += billed(&answer["usage"]);
        // The same request as a stream.
        text(watched.call(chat_stream("x")).await).await;
    }
    vertex.revoke_tokens();
    text(watched.call(ask("fast")).await).await;
    vertex.set_faults(Faults { api: Some(ApiFault::new(403)), ..Faults::default() });
    // One model is in the table, the other is unknown.
    text(watched.call(ask("fast")).await).await;
    text(watched.call(ask("nowhere/\"},model=\"x")).await).await;
    vertex.clear_faults();
    text(watched.call(Request::get("/v1/nothing").body(Full::default()).unwrap()).await).await;

    let after = watched.metrics_after(10.0).await;
    let requests = |labels: &[(&str, &str)]| after.sum("vertex_gateway_requests_total", labels);
    assert_eq!(requests(&[]), 10.0);
    let good =
        [("client", ""), ("location", "us-central1"), ("status", "200"), ("end", "complete")];
    assert_eq!(requests(&[&good[..], &[("model", MODEL)]].concat()), 6.0);
    assert_eq!(requests(&[&good[..], &[("model", "fast")]].concat()), 1.0);
    assert_eq!(requests(&[("status", "403"), ("model", "fast")]), 1.0);
    assert_eq!(requests(&[("status", "403"), ("model", "other")]), 1.0);
    assert_eq!(requests(&[("status", "404"), ("model", "")]), 1.0);
    assert_eq!(after.labels("model"), ["", "fast", MODEL, "other"].into());

    let of =
        |name: &str, labels: &[(&str, &str)]| after.sum(&format!("vertex_gateway_{name}"), labels);
    let model = [("model", MODEL)];
    assert_eq!(of("input_tokens_total", &model), 2.0 * input as f64);
    assert_eq!(of("output_tokens_total", &model), 2.0 * output as f64);
    assert_eq!(of("time_to_first_byte_seconds_count", &[]), 7.0);
    assert_eq!(of("request_duration_seconds_count", &[("status_class", "2xx")]), 7.0);
    assert_eq!(of("request_duration_seconds_count", &[("status_class", "4xx")]), 3.0);
    assert_eq!(of("request_duration_seconds_bucket", &[("le", "+Inf")]), 10.0);
    assert!(of("request_duration_seconds_sum", &[]) > 0.0);
    assert_eq!(of("local_replies_total", &[]), 1.0);
    assert_eq!(of("local_replies_total", &[("error_code", "unsupported_path")]), 1.0);
    assert_eq!(of("token_replays_total", &[("outcome", "replayed")]), 1.0);
    assert_eq!(of("token_rejections_total", &[]), 1.0);
    assert_eq!(of("token_generation", &[]), 2.0);
    let new = ("outcome", "new_token");
    assert_eq!(of("token_refreshes_total", &[("reason", "cold"), new]), 1.0);
    assert_eq!(of("token_refreshes_total", &[("reason", "rejected"), new]), 1.0);
    assert_eq!(of("token_refreshes_total", &[]), 2.0);
    assert!((3590.0..=3600.0).contains(&of("token_expires_in_seconds", &[])));
    assert!(of("token_age_seconds", &[]) < 10.0);
    assert_eq!(of("requests_in_flight", &[]), 0.0);
    assert_eq!(of("requests_queued", &[]), 0.0);
    assert_eq!(of("client_connections_opened_total", &[]), 10.0);
    assert!(of("upstream_connections_opened_total", &[]) >= 1.0);
    assert_eq!(of("log_lines_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn retries_and_failovers_are_counted() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let models = "[[model]]\nname = \"fast\"\nmodel = \"google/gemini-2.5-flash\"\n\
         locations = [\"us-central1\", \"us-east4\"]\n";
    file.write_all(models.as_bytes()).unwrap();
    let options = ["--config", file.path().to_str().unwrap(), "--max-attempts", "2"];
    let mut watched =
        Watched::start(&vertex, &[&options[..], &["--log-format", "json"]].concat()).await;
    let mut log = watched.log();
    let once = ApiFault { times: Some(1), ..ApiFault::new(503) };
    for (model, location) in [("fast", "us-east4"), (MODEL, "us-central1")] {
        vertex.set_faults(Faults { api: Some(once.clone()), ..Faults::default() });
        let answer = watched.call(ask(model)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer).await;
        let line = log.request().await;
        let said = (&line["attempts"], &line["location"], &line["model"]);
        assert_eq!(said, (&json!(2), &json!(location), &json!(model)));
    }
    let metrics = watched.metrics_after(2.0).await;
    for (model, location, failovers) in [("fast", "us-east4", 1.0), (MODEL, "us-central1", 0.0)] {
        let labels = [("model", model), ("location", location)];
        assert_eq!(metrics.sum("vertex_gateway_upstream_retries_total", &labels), 1.0);
        assert_eq!(metrics.sum("vertex_gateway_upstream_failovers_total", &labels), failovers);
    }
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &[("status", "200")]), 2.0);
}

#[tokio::test]
async fn an_unknown_model_has_an_error_code() {
    let vertex = Emulator::start().await.unwrap();
    let mut watched = Watched::start(&vertex, &["--log-format", "json"]).await;
    let mut log = watched.log();
    let request = Request::get("/v1/models/nobodys").body(Full::default()).unwrap();
    assert_eq!(watched.call(request).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(log.request().await["error_code"], "model_not_found");
    let metrics = watched.metrics_after(1.0).await;
    let labels = [("error_code", "model_not_found")];
    assert_eq!(metrics.sum("vertex_gateway_local_replies_total", &labels), 1.0);
}

#[tokio::test]
async fn requests_in_flight_are_counted() {
    let vertex = Emulator::start().await.unwrap();
    let options = ["--max-concurrent-requests", "2", "--workers", "1"];
    let watched = Watched::start(&vertex, &options).await;
    let slow = StreamBehavior {
        chunk_delay: Duration::from_secs(600),
        chunks: Some(3),
        ..StreamBehavior::default()
    };
    pace(&vertex, slow);
    let streams = [watched.call(chat_stream("x")).await, watched.call(chat_stream("x")).await];
    let addr = watched.gateway.addr;
    let waits = tokio::spawn(async move { call(addr, chat_stream("x")).await.status() });
    let gauge = |metrics: &Metrics, name: &str| metrics.sum(&format!("vertex_gateway_{name}"), &[]);
    let busy = watched.metrics_when("vertex_gateway_requests_queued", &[], 1.0).await;
    assert_eq!(gauge(&busy, "requests_in_flight"), 3.0);
    assert_eq!(gauge(&busy, "upstream_connections"), 2.0);
    assert_eq!(gauge(&busy, "client_connections"), 3.0);
    drop(streams);
    assert_eq!(waits.await.unwrap(), StatusCode::OK);
    let after = watched.metrics_after(3.0).await;
    assert_eq!(after.sum("vertex_gateway_requests_total", &[("end", "client_closed")]), 3.0);
    assert_eq!(gauge(&after, "requests_in_flight"), 0.0);
    assert_eq!(gauge(&after, "requests_queued"), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_number_of_labels_is_bounded() {
    let long = format!("google/{}", "x".repeat(200));
    let models = (0..205).map(|number| format!("google/model-{number}"));
    let models: Vec<String> = [long].into_iter().chain(models).collect();
    let vertex = Emulator::builder().models(models.clone()).start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    for model in models {
        let answer = watched.call(ask(&model)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        text(answer).await;
    }
    let metrics = watched.metrics_after(206.0).await;
    assert_eq!(metrics.labels("model").len(), 101);
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &[("model", "other")]), 106.0);
    // A model with repeated requests gets a label of its own.
    for _ in 0..10 {
        text(watched.call(ask("google/model-204")).await).await;
    }
    let metrics = watched.metrics_after(216.0).await;
    let again = [("model", "google/model-204")];
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &again), 2.0);
}

/// Checks the text format 0.0.4 as strictly as Prometheus' own checker: each family begins with its
/// help and its type, has only samples of its own names, and occurs once.
fn check_text_format(text: &str) -> BTreeMap<String, (String, usize)> {
    let mut families: BTreeMap<String, (String, usize)> = BTreeMap::new();
    let (mut help, mut current) = (None, String::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, said) = rest.split_once(' ').expect(line);
            assert!(!said.is_empty(), "{line}");
            help = Some(name);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect(line);
            assert_eq!(help.take(), Some(name), "{line}");
            assert!(
                ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind),
                "{line}"
            );
            assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
            current = name.to_owned();
            assert!(families.insert(current.clone(), (kind.to_owned(), 0)).is_none(), "{line}");
        } else {
            assert!(!line.starts_with('#') && !line.is_empty(), "{line}");
            let name = line.split(['{', ' ']).next().unwrap();
            let (kind, samples) = families.get_mut(&current).expect(line);
            let suffix = name.strip_prefix(&current).expect(line);
            let suffixes: &[&str] =
                if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            line.rsplit_once(' ').unwrap().1.parse::<f64>().expect(line);
            *samples += 1;
        }
    }
    families
}

#[tokio::test]
async fn metrics_are_text_unless_the_scraper_prefers_openmetrics() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    text(watched.call(chat("x")).await).await;
    let metrics = watched.metrics_after(1.0).await;
    for accept in [None, Some("text/html,*/*;q=0.8"), Some("text/plain;version=0.0.4")] {
        let (kind, text) = watched.metrics_as(accept).await;
        assert_eq!(kind, "text/plain; version=0.0.4; charset=utf-8", "{accept:?}");
        let families = check_text_format(&text);
        assert_eq!(families.len(), metrics.families.len());
        assert_eq!(families["vertex_gateway_build_info"], ("gauge".to_owned(), 1));
        assert_eq!(families["vertex_gateway_requests_total"], ("counter".to_owned(), 1));
        assert!(text.contains("vertex_gateway_requests_total{client=\"\",model=\""), "{text}");
    }
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,\
         text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    let (kind, text) = watched.metrics_as(Some(prometheus)).await;
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scrapes_under_load_are_complete_and_only_grow() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    let addr = watched.gateway.addr;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                for _ in 0..25 {
                    let answer = call(addr, chat("x")).await;
                    assert_eq!(answer.status(), StatusCode::OK);
                    text(answer).await;
                }
            })
        })
        .collect();
    let (mut last, mut scrapes) = (0.0, 0);
    while scrapes == 0 || calls.iter().any(|call| !call.is_finished()) {
        let metrics = watched.metrics().await;
        let requests = metrics.sum("vertex_gateway_requests_total", &[]);
        assert!(requests >= last, "{requests} after {last}");
        (last, scrapes) = (requests, scrapes + 1);
    }
    for call in calls {
        call.await.unwrap();
    }
    let metrics = watched.metrics_after(200.0).await;
    assert_eq!(metrics.sum("vertex_gateway_requests_total", &[("status", "200")]), 200.0);
    assert_eq!(metrics.sum("vertex_gateway_time_to_first_byte_seconds_count", &[]), 200.0);
    assert_eq!(metrics.sum("vertex_gateway_requests_in_flight", &[]), 0.0);
}

/// Each string under a key of this name, anywhere in the document.
fn strings<'a>(document: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match document {
        Value::Array(items) => items.iter().for_each(|item| strings(item, key, found)),
        Value::Object(fields) => {
            found.extend(fields.get(key).and_then(Value::as_str));
            fields.values().for_each(|field| strings(field, key, found));
        }
        _ => {}
    }
}

/// The words of a query that could be names.
fn words(query: &str) -> impl Iterator<Item = &str> {
    query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

#[tokio::test]
async fn the_dashboard_and_the_manual_name_exactly_the_existing_metrics() {
    let vertex = Emulator::start().await.unwrap();
    let watched = Watched::start(&vertex, &[]).await;
    vertex.revoke_tokens();
    text(watched.call(chat("x")).await).await;
    text(watched.call(Request::get("/nothing").body(Full::default()).unwrap()).await).await;
    let metrics = watched.metrics_after(2.0).await;
    let names = metrics.names();
    let mut labels: BTreeSet<&str> = metrics
        .samples
        .iter()
        .flat_map(|(_, labels, _)| labels.keys().map(String::as_str))
        .collect();
    // Prometheus adds this label.
    labels.insert("instance");

    let dashboard = include_str!("../../../../../deploy/grafana/vertex-gateway.json");
    let dashboard: Value = serde_json::from_str(dashboard).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut queries = Vec::new();
    strings(&dashboard, "expr", &mut queries);
    strings(&dashboard, "definition", &mut queries);
    assert!(queries.len() > 20, "{}", queries.len());
    let mut shown = BTreeSet::new();
    let prefixes = ["vertex_gateway_", "gen_ai_client_"];
    for query in queries {
        let in_query: BTreeSet<&str> =
            words(query).filter(|word| prefixes.iter().any(|p| word.starts_with(p))).collect();
        assert!(!in_query.is_empty(), "{query}");
        for name in in_query {
            assert!(names.contains(name), "there is no {name}: {query}");
            shown.insert(name.to_owned());
        }
        let groups = query.split("by (").skip(1).map(|rest| rest.split(')').next().unwrap());
        let matched = query.split('{').skip(1).flat_map(|rest| {
            let matchers = rest.split('}').next().unwrap().split(", ");
            matchers.map(|matcher| words(matcher).next().unwrap())
        });
        for label in groups.flat_map(words).chain(matched) {
            assert!(labels.contains(label), "no metric has the label {label}: {query}");
        }
    }
    let mut legends = Vec::new();
    strings(&dashboard, "legendFormat", &mut legends);
    for legend in legends {
        for label in legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()) {
            assert!(labels.contains(label), "no metric has the label {label}: {legend}");
        }
    }
    // Every metric has a panel.
    for (family, kind) in &metrics.families {
        let is_shown = shown.iter().any(|name| name.starts_with(family.as_str()));
        assert!(is_shown, "no panel shows the {kind} {family}");
    }

    let manual = include_str!("../../../../../docs/operations.md");
    let rows = manual
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter(|row| prefixes.iter().any(|prefix| row.starts_with(prefix)));
    let documented: BTreeMap<&str, Vec<&str>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            (cells[0].trim_end_matches('`'), cells)
        })
        .collect();
    for (family, kind) in &metrics.families {
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("{family}{suffix}");
        let row = documented.get(name.as_str());
        let row = row.unwrap_or_else(|| panic!("the manual has no {name}"));
        assert_eq!(row[1], kind, "{name}");
        let sample = metrics.samples.iter().find(|(sample, ..)| sample.starts_with(&name));
        if let Some((_, has, _)) = sample {
            let has: BTreeSet<&str> =
                has.keys().map(String::as_str).filter(|l| *l != "le").collect();
            assert_eq!(words(row[2]).collect::<BTreeSet<_>>(), has, "{name}");
        }
    }
    assert_eq!(
        documented.len(),
        metrics.families.len(),
        "the manual has metrics that do not exist"
    );
}
