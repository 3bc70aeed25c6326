//! The invariants.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::{HeaderMap, HeaderValue};
use tokio::time::sleep;
use tower_vertex::route::Protocol;

use super::{
    client::{is_for_a_stranger, key, request_body},
    world::{Outcome, Request, World},
};
use crate::{
    proxy::handler::GatewayState,
    telemetry::{Form, Telemetry},
};

impl World {
    /// Notes the permits of all clients, to check that they return.
    pub(super) fn note_permits(&self, state: &GatewayState) {
        let clients = state.clients.load();
        for client in 0..=self.plan.clients {
            let key = key(client);
            let Some((_, key)) = key.split_once(':') else { continue };
            let mut headers = HeaderMap::new();
            headers.insert("x-api-key", HeaderValue::from_str(key).unwrap());
            let Ok(Some(client)) = clients.authenticate(&headers, None, Protocol::OpenAi) else {
                continue;
            };
            let Some(permits) = client.concurrency() else { continue };
            let mut known = self.state();
            if !known.permits.iter().any(|(known, _)| Arc::ptr_eq(known, permits)) {
                // A client that was loaded now has no request yet.
                known.permits.push((Arc::clone(permits), permits.available_permits()));
            }
        }
    }

    /// Checks that nothing is in flight and every permit has returned.
    pub(super) fn check_quiet(&self, state: &GatewayState) {
        self.check_gauges(&state.telemetry, &["requests_in_flight", "requests_queued"]);
        let most = self.plan.max_concurrent;
        if let Some(free) = state.limits.free().filter(|free| *free != most) {
            self.violated(format!("{free} of {most} permits are free"));
        }
        let permits = self.state().permits.clone();
        for (permits, most) in permits {
            let free = permits.available_permits();
            if free != most {
                self.violated(format!("{free} of {most} permits of a client are free"));
            }
        }
    }

    /// Checks that no request waits for a permit while there are some.
    pub(super) async fn watch_the_queue(&self, state: &GatewayState) {
        let waiting = state.limits.waiting();
        let mut times = 0;
        for _ in 0..200 {
            sleep(Duration::from_millis(300)).await;
            let is_free = state.limits.free() != Some(0)
                && self.state().permits.iter().all(|(permits, _)| permits.available_permits() > 0);
            times = if is_free && waiting.load(Relaxed) > 0 { times + 1 } else { 0 };
            // Tasks that were woken at the same moment may not have run yet.
            if times == 3 {
                self.violated("a request waits in the queue while permits are free");
            }
        }
    }

    /// Checks that no connection is open.
    pub(super) fn check_connections(&self, telemetry: &Telemetry) {
        self.check_gauges(telemetry, &["client_connections", "upstream_connections"]);
    }

    fn check_gauges(&self, telemetry: &Telemetry, names: &[&str]) {
        let text = telemetry.metrics(Form::Text);
        for name in names {
            let name = format!("vertex_gateway_{name} ");
            match text.lines().find_map(|line| line.strip_prefix(&name)) {
                Some("0" | "0.0") => {}
                value => self.violated(format!("at the end, {name}is {value:?}")),
            }
        }
    }

    /// Checks each request after the end. `was_cut` is whether the gateway ended without waiting for all of them.
    pub(super) fn check_requests(&self, was_cut: bool) {
        let requests = std::mem::take(&mut self.state().requests);
        for (number, request) in &requests {
            self.count_kind(request);
            for wrong in [
                self.check_records(*number, request),
                self.check_sent(*number, request),
                self.check_body(request),
                if was_cut { Ok(()) } else { self.check_served(*number, request) },
            ] {
                if let Err(why) = wrong {
                    self.violated(format!("sim-{number}: {why}"));
                }
            }
        }
    }

    /// Counts what happened to a request, to see that the faults of the plans reach every path.
    fn count_kind(&self, request: &Request) {
        let last = request.sent.last().map(|sent| sent.outcome);
        let replays = request.sent.windows(2).filter(|two| two[0].outcome == Outcome::Status(401));
        for (what, is_so) in [
            (
                "request: 200, complete",
                request.got.as_ref().is_some_and(|got| got.status == Some(200) && got.is_complete),
            ),
            (
                "request: 200, incomplete",
                request.got.as_ref().is_some_and(|got| got.status == Some(200) && !got.is_complete),
            ),
            (
                "request: error of the gateway",
                request.records.iter().any(|record| !record.error_code.is_empty()),
            ),
            ("request: client left", request.got.is_none()),
            ("request: replayed after a 401", replays.count() > 0),
            ("request: sent again", request.records.iter().any(|record| record.attempts > 1)),
            ("request: not sent", last.is_none()),
            (
                "request: upstream reset",
                request.records.iter().any(|record| record.end == "upstream_reset"),
            ),
            (
                "request: upstream idle",
                request.records.iter().any(|record| record.end == "upstream_idle"),
            ),
        ] {
            if is_so {
                self.count(what);
            }
        }
    }

    /// Each request has exactly one record, which agrees with what its client got.
    fn check_records(&self, number: usize, request: &Request) -> Result<(), String> {
        let got = request.got.as_ref();
        let is_named = got.is_some_and(|got| got.id.as_deref() == Some(&format!("sim-{number}")));
        let least = usize::from(is_named || !request.sent.is_empty());
        let records = request.records.len();
        if records < least || records > 1 {
            return Err(format!("{records} records: {:?}", request.records));
        }
        let Some((got, record)) = got.zip(request.records.first()) else { return Ok(()) };
        let Some(status) = got.status else { return Ok(()) };
        if u64::from(status) != record.status {
            return Err(format!("the status {status}, and the record {record:?}"));
        }
        if got.is_complete
            && (record.end == "client_closed" || record.bytes_sent != got.body.len() as u64)
        {
            return Err(format!(
                "a complete body of {}, and the record {record:?}",
                got.body.len()
            ));
        }
        let attempts = record.attempts;
        if attempts > self.plan.max_attempts.into() {
            return Err(format!("{attempts} attempts"));
        }
        Ok(())
    }

    /// The upstream gets a request again only if that is allowed.
    fn check_sent(&self, number: usize, request: &Request) -> Result<(), String> {
        let sent = &request.sent;
        let shown = || {
            let outcomes = sent.iter().map(|sent| (sent.outcome, sent.is_disturbed()));
            format!("sent {} times: {:?}", sent.len(), outcomes.collect::<Vec<_>>())
        };
        if is_for_a_stranger(self, number) && !sent.is_empty() {
            return Err("a request for a stranger was sent".to_owned());
        }
        if sent.len() > 1 && request_body(self, number).len() > self.plan.replay_limit {
            return Err(format!("{}, although it was not kept", shown()));
        }
        // An attempt that found no connection is in the record alone.
        let most = u64::from(self.plan.max_attempts);
        let recorded = request.records.first().map_or(most, |record| record.attempts);
        // Each way in which the requests can be attempts and replays of attempts: the number of the attempt of the
        // latest request, and whether it is the replay of it.
        let mut ways = vec![(1, false)];
        for before in &sent[..sent.len().saturating_sub(1)] {
            let is_401 = before.outcome == Outcome::Status(401);
            let is_retryable = matches!(
                before.outcome,
                Outcome::Status(408 | 429 | 500 | 502..=504) | Outcome::None
            );
            ways = ways
                .into_iter()
                .flat_map(|(attempt, is_replay)| {
                    let may_replay = is_401 && !is_replay;
                    // If there is no connection for the replay, another attempt follows the 401.
                    let may_retry = may_replay || is_retryable || before.is_disturbed();
                    let retried = (may_retry && attempt < recorded).then_some((attempt + 1, false));
                    [may_replay.then_some((attempt, true)), retried]
                })
                .flatten()
                .collect();
        }
        if ways.is_empty() {
            return Err(format!("{} in {recorded} attempts", shown()));
        }
        Ok(())
    }

    /// A body is what the upstream sent, or its beginning and visibly cut.
    #[expect(clippy::unused_self, reason = "like the other checks")]
    fn check_body(&self, request: &Request) -> Result<(), String> {
        let Some(got) = request.got.as_ref().filter(|got| got.status == Some(200)) else {
            return Ok(());
        };
        let Some(last) = request.sent.last().filter(|last| last.outcome == Outcome::Status(200))
        else {
            let last = request.sent.last().map(|sent| sent.outcome);
            return Err(format!("a 200, although the upstream's last reply is {last:?}"));
        };
        let (body, whole) = (&got.body, &last.body);
        let error = b"data: {\"error\"";
        let event = body.windows(error.len()).rposition(|bytes| bytes == error);
        match event {
            Some(at) if got.is_stream => {
                if !last.is_disturbed() {
                    return Err("a stream was interrupted without a fault".to_owned());
                }
                whole
                    .starts_with(&body[..at])
                    .then_some(())
                    .ok_or("an interrupted stream has other bytes".to_owned())
            }
            _ if got.is_complete && body != whole => {
                Err(format!("a body of {} bytes instead of {}", body.len(), whole.len()))
            }
            _ if !whole.starts_with(body) => Err("the beginning of the body is another".to_owned()),
            _ => Ok(()),
        }
    }

    /// Without a fault in between, a client that waits gets the response to its request.
    fn check_served(&self, number: usize, request: &Request) -> Result<(), String> {
        let Some(got) = &request.got else { return Ok(()) };
        let state = self.state();
        if state.has_hit_clients || state.is_draining || self.plan.slow > 0 {
            return Ok(());
        }
        drop(state);
        let Some(last) = request.sent.last() else {
            return match (got.status, is_for_a_stranger(self, number)) {
                // The connection was idle for too long, or another one needed its place.
                (None, _) if got.is_reused || self.plan.max_connections > 0 => Ok(()),
                (None, _) => Err("no response, and no fault".to_owned()),
                (Some(200), _) => Err("a 200 from nowhere".to_owned()),
                _ => Ok(()),
            };
        };
        if last.is_disturbed() || last.outcome == Outcome::None {
            return Ok(());
        }
        let code = request.records.first().map_or("", |record| &record.error_code);
        match last.outcome {
            Outcome::Status(200) if got.status == Some(200) && got.is_complete => Ok(()),
            // The upload or the wait took too long.
            Outcome::Status(status)
                if [Some(408), Some(504), Some(status)].contains(&got.status) =>
            {
                (status != 200 || got.status != Some(200)).then_some(()).ok_or_else(|| {
                    format!("{} bytes of {}, and no fault", got.body.len(), last.body.len())
                })
            }
            // It was to be sent again, and there was no connection or no token for that, or the connection was reset
            // before the upstream got the request.
            Outcome::Status(401 | 408 | 429 | 500..)
                if matches!(
                    (got.status, code),
                    (Some(502), "upstream_unreachable" | "upstream_reset")
                        | (Some(503), "token_unavailable")
                ) =>
            {
                Ok(())
            }
            outcome => Err(format!("{:?} for {outcome:?}", got.status)),
        }
    }
}
