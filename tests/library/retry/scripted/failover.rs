//! Failover to the next location of a list.

use super::*;

pub(super) fn locations(names: &[&str]) -> Locations {
    let base = Upstream::new("p", "global").unwrap();
    Locations::for_locations(&base, names.iter().copied()).unwrap()
}

pub(super) fn listed(locations: &Locations) -> Request<Full<Bytes>> {
    let mut request = request("hello");
    request.extensions_mut().insert(locations.clone());
    // The list takes precedence.
    request.extensions_mut().insert(Upstream::new("p", "global").unwrap());
    request
}

/// Expects requests at these locations in turn, and responds to each with its status.
pub(super) async fn script(handle: &mut Handle, script: &[(&str, u16)]) {
    for (location, status) in script {
        let (arrived, body, reply) = arrived(handle).await;
        assert_eq!((arrived.as_deref(), body.as_str()), (Some(*location), "hello"));
        reply.send_response(answer(*status));
    }
}

#[tokio::test(start_paused = true)]
async fn failover_follows_the_list_without_a_wait() {
    let (service, mut handle) = stack(&layer());
    let list = locations(&["us-central1", "us-east4", "eu"]);
    let begin = Instant::now();
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-central1", 429), ("us-east4", 503), ("eu", 200)]).await;
    let response = call.await.unwrap().unwrap();
    assert_eq!((response.status(), begin.elapsed()), (StatusCode::OK, Duration::ZERO));
    let attempts = attempts(&response).list();
    let went = attempts.iter().map(|a| a.upstream.as_ref().unwrap().location().unwrap().as_str());
    assert_eq!(went.collect::<Vec<_>>(), ["us-central1", "us-east4", "eu"]);

    // The location that served is now first. The two others get no request before their pause is
    // over.
    for _ in 0..3 {
        let call = start(&service, listed(&list));
        script(&mut handle, &[("eu", 200)]).await;
        call.await.unwrap().unwrap();
    }
    tokio::time::advance(30 * SECOND).await;
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-central1", 429), ("us-east4", 200)]).await;
    assert_eq!(call.await.unwrap().unwrap().status(), 200);
    tokio::time::advance(30 * SECOND).await;
    for _ in 0..3 {
        let call = start(&service, listed(&list));
        script(&mut handle, &[("us-central1", 200)]).await;
        call.await.unwrap().unwrap();
    }
}

type Upload = Request<ReplayBody<Channel<Bytes, BoxError>>>;

/// Sends an upload that fails at its location, after the locations `failing` have returned 503.
/// Returns the location.
async fn broken_upload(
    service: &VertexRetry<Mock<Upload, Response<Full<Bytes>>>>,
    handle: &mut mock::Handle<Upload, Response<Full<Bytes>>>,
    list: &Locations,
    failing: &[&str],
) -> String {
    let location = |request: &Upload| {
        request.extensions().get::<Upstream>().unwrap().location().unwrap().to_string()
    };
    let (mut upload, body) = Channel::<Bytes, BoxError>::new(1);
    let request = Request::post("/").extension(list.clone()).body(body).unwrap();
    let call = tokio::spawn(service.clone().oneshot(request));
    for expected in failing {
        let (request, reply) = handle.next_request().await.unwrap();
        assert_eq!(location(&request), *expected);
        reply.send_response(answer(503));
    }
    let (request, reply) = handle.next_request().await.unwrap();
    let asked = location(&request);
    upload.send_data("one".into()).await.unwrap();
    upload.abort(Refused(1).into());
    let error = request.into_body().collect().await.unwrap_err();
    reply.send_error(error);
    assert!(call.await.unwrap().is_err());
    asked
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_fails_does_not_count_against_its_location() {
    for layer in [
        layer(),
        layer().max_attempts(1),
        layer().replay_limit(0),
        layer().replay_limit(2),
        layer().replay_budget(2),
    ] {
        let (inner, mut handle) = mock::pair();
        let service = layer.layer(inner);
        let list = locations(&["us-central1", "us-east4"]);
        // This is more than the number of failures in a row that opens a circuit.
        for _ in 0..10 {
            let asked = broken_upload(&service, &mut handle, &list, &[]).await;
            assert_eq!(asked, "us-central1", "{layer:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_fails_at_its_last_attempt_does_not_count_against_that_location() {
    let (inner, mut handle) = mock::pair();
    let service = layer().max_attempts(2).failure_threshold(1).layer(inner);
    let list = locations(&["us-central1", "us-east4"]);
    let asked = broken_upload(&service, &mut handle, &list, &["us-central1"]).await;
    assert_eq!(asked, "us-east4");
    // The first location is ejected because of its 503. If both were ejected, it would be tried
    // first again.
    for _ in 0..3 {
        let asked = broken_upload(&service, &mut handle, &list, &[]).await;
        assert_eq!(asked, "us-east4");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_whose_service_fails_is_reported_as_not_ready() {
    let (service, mut handle) = stack(&layer());
    let seen = Attempts::new();
    let mut asked = request("hello");
    asked.extensions_mut().insert(seen.clone());
    let call = start(&service, asked);
    reply(&mut handle, answer(503)).await;
    handle.send_error(Refused(1));
    assert!(call.await.unwrap().is_err());
    assert_eq!((seen.count(), seen.gave_up()), (1, Some(GaveUp::NotReady)));
    assert_eq!(seen.list()[0].outcome, AttemptOutcome::Response(StatusCode::SERVICE_UNAVAILABLE));
}

#[tokio::test(start_paused = true)]
async fn only_requests_that_were_sent_count_as_attempts() {
    for before in [&[][..], &[503]] {
        for refusal in [Error::from(RouteError::TooLong), Error::from(TokenError::NoRuntime)] {
            let (service, mut handle) = stack(&layer());
            let seen = Attempts::new();
            let mut asked = request("hello");
            asked.extensions_mut().insert(seen.clone());
            let call = start(&service, asked);
            for status in before {
                reply(&mut handle, answer(*status)).await;
            }
            let (_, _, reply) = arrived(&mut handle).await;
            reply.send_error(refusal);
            call.await.unwrap().unwrap_err();
            assert_eq!(seen.count(), before.len());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_not_retried_causes_no_failover() {
    let (service, mut handle) = stack(&layer());
    let list = locations(&["us-central1", "us-east4"]);
    for status in [400, 401, 403, 404, 413, 501] {
        for _ in 0..10 {
            let call = start(&service, listed(&list));
            script(&mut handle, &[("us-central1", status)]).await;
            is_untouched(call.await.unwrap().unwrap(), status).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_that_is_not_retried_is_no_success_of_its_location() {
    let (service, mut handle) = stack(&layer().max_attempts(1));
    let list = locations(&["us-central1", "us-east4"]);
    for status in [503, 503, 503, 503, 404, 503] {
        let call = start(&service, listed(&list));
        script(&mut handle, &[("us-central1", status)]).await;
        call.await.unwrap().unwrap();
    }
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-east4", 200)]).await;
    call.await.unwrap().unwrap();
    // A probe with such a status does not close the circuit either.
    tokio::time::advance(30 * SECOND).await;
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-central1", 404)]).await;
    call.await.unwrap().unwrap();
    let probe = start(&service, listed(&list));
    let (location, _, reply) = arrived(&mut handle).await;
    assert_eq!(location.as_deref(), Some("us-central1"));
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-east4", 200)]).await;
    call.await.unwrap().unwrap();
    reply.send_response(answer(200));
    probe.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_long_retry_after_does_not_prevent_failover() {
    let (service, mut handle) = stack(&layer());
    let list = locations(&["us-central1", "us-east4"]);
    let call = start(&service, listed(&list));
    reply(&mut handle, answer_after(429, Some("3600"))).await;
    script(&mut handle, &[("us-east4", 503), ("us-east4", 200)]).await;
    let response = call.await.unwrap().unwrap();
    let waits: Vec<_> = attempts(&response).list().iter().map(|a| a.waited).collect();
    assert_eq!(waits[1], Duration::ZERO);
    assert!((SECOND..=2 * SECOND).contains(&waits[2]), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn failover_counts_towards_the_budget_and_the_attempts() {
    let list = locations(&["us-central1", "us-east4"]);
    for (layer, stopped) in [
        (layer().retry_budget(empty()), GaveUp::BudgetExhausted),
        (layer().max_attempts(1), GaveUp::MaxAttempts),
        (layer().replay_limit(1), GaveUp::NotReplayable),
    ] {
        let (service, mut handle) = stack(&layer);
        // Without failover, several failures in a row eject the location.
        for _ in 0..5 {
            let call = start(&service, listed(&list));
            script(&mut handle, &[("us-central1", 503)]).await;
            let response = call.await.unwrap().unwrap();
            assert_eq!(attempts(&response).gave_up(), Some(stopped));
            is_untouched(response, 503).await;
        }
        let call = start(&service, listed(&list));
        script(&mut handle, &[("us-east4", 200)]).await;
        call.await.unwrap().unwrap();
        // The location recovers for the next case.
        tokio::time::advance(30 * SECOND).await;
        let call = start(&service, listed(&list));
        script(&mut handle, &[("us-central1", 200)]).await;
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_aborted_is_left_to_the_next_request() {
    let (service, mut handle) = stack(&layer());
    let list = locations(&["us-central1", "us-east4"]);
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-central1", 503), ("us-east4", 200)]).await;
    call.await.unwrap().unwrap();
    tokio::time::advance(30 * SECOND).await;

    let seen = Attempts::new();
    let mut given_up = listed(&list);
    given_up.extensions_mut().insert(seen.clone());
    let probe = start(&service, given_up);
    let (location, _, reply) = arrived(&mut handle).await;
    assert_eq!(location.as_deref(), Some("us-central1"));
    // While the probe is in flight, other requests do not go to its location.
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-east4", 200)]).await;
    call.await.unwrap().unwrap();
    probe.abort();
    assert!(probe.await.unwrap_err().is_cancelled());
    drop(reply);
    assert_eq!((seen.count(), seen.list()[0].outcome), (1, AttemptOutcome::Pending));

    // An error of this crate and a status without retries leave the probe to the next request, too.
    let call = start(&service, listed(&list));
    let (location, _, reply) = arrived(&mut handle).await;
    assert_eq!(location.as_deref(), Some("us-central1"));
    reply.send_error(Error::from(TokenError::NoRuntime));
    call.await.unwrap().unwrap_err();
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-central1", 404)]).await;
    call.await.unwrap().unwrap();
    let call = start(&service, listed(&list));
    script(&mut handle, &[("us-central1", 200)]).await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn when_all_locations_fail_no_request_is_refused() {
    let (service, mut handle) = stack(&layer().max_attempts(4));
    let list = locations(&["us-central1", "us-east4"]);
    // Both locations are ejected: each gets one request, and another one after a wait.
    let call = start(&service, listed(&list));
    let failing = [("us-central1", 503), ("us-east4", 503)];
    script(&mut handle, &failing).await;
    script(&mut handle, &failing).await;
    let response = call.await.unwrap().unwrap();
    assert_eq!(attempts(&response).gave_up(), Some(GaveUp::MaxAttempts));
    is_untouched(response, 503).await;

    let seen = tokio::spawn(async move {
        let mut seen = Vec::new();
        while let Some((request, reply)) = handle.next_request().await {
            let upstream = request.extensions().get::<Upstream>().unwrap();
            seen.push(upstream.location().unwrap().to_string());
            reply.send_response(answer(503));
        }
        seen
    });
    for _ in 0..10 {
        let response = start(&service, listed(&list)).await.unwrap().unwrap();
        assert_eq!(response.status(), 503);
    }
    drop(service);
    let seen = seen.await.unwrap();
    assert_eq!(seen.len(), 40);
    for location in ["us-central1", "us-east4"] {
        assert!(seen.iter().filter(|seen| *seen == location).count() >= 10, "{seen:?}");
    }
}
