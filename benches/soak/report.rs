//! The report of a run, and what makes it a failure.

use tower::BoxError;

use crate::{
    Run,
    fit::fit,
    gateway::Vitals,
    heap::{grown, profiles},
    machine::machine,
    traffic::is_expected,
};

/// The part of the time after which the sidecar is warm.
const WARM: f64 = 0.2;

/// A measure: its name, its unit in bytes or pieces, the growth in a run that is still flat, and its value.
type Measure = (&'static str, f64, f64, fn(&Vitals) -> Option<f64>);

const MEASURES: [Measure; 4] = [
    ("resident memory, kB", 1e3, 2000.0, |vitals| Some(vitals.resident)),
    ("allocated by jemalloc, kB", 1e3, 500.0, |vitals| vitals.allocated),
    ("descriptors", 1.0, 2.0, |vitals| Some(vitals.files)),
    ("threads", 1.0, 0.5, |vitals| Some(vitals.threads)),
];

/// Returns the report, and the failures.
pub fn report(run: &Run) -> Result<(String, Vec<String>), BoxError> {
    let mut failures = Vec::new();
    let all: u64 = run.outcomes.values().sum();
    let wrong: u64 = run
        .outcomes
        .iter()
        .filter(|((kind, status), _)| !is_expected(kind, *status))
        .map(|(_, number)| number)
        .sum();
    let mut text = format!(
        "{}. {:.0} minutes, {all} requests, {wrong} with an outcome that they may not have.\n\n",
        machine(),
        run.minutes
    );
    for ((kind, status), number) in &run.outcomes {
        if !is_expected(kind, *status) {
            failures.push(format!("{number} × {kind}: {status}"));
        }
    }

    text += "| event | in a day | in this run |\n|---|---:|---:|\n";
    let metric = |name: &str, labels: &str| sum(&run.metrics, name, labels);
    let events = [
        (
            "tokens fetched (a token lives for an hour)",
            26.0,
            metric("vertex_gateway_token_refreshes_total", "new_token"),
        ),
        (
            "of them after a 401 for a revoked token",
            0.0,
            metric("vertex_gateway_token_refreshes_total", "rejected"),
        ),
        (
            "lives of a connection to Vertex AI (5 minutes)",
            288.0,
            run.minutes * 60.0 / crate::LIFE as f64,
        ),
        ("look-ups of endpoints and models (every 5 minutes)", 288.0, run.discoveries as f64),
        ("reloads of the files (one an hour), and SIGHUP", 24.0, run.reloads as f64),
    ];
    for (event, day, here) in events {
        text += &format!("| {event} | {day:.0} | {here:.0} |\n");
    }
    text += &format!(
        "| connections to Vertex AI opened | – | {:.0} |\n| connections of clients | – | {:.0} |\n\
         | aborted streams | – | {:.0} |\n\n",
        metric("vertex_gateway_upstream_connections_opened_total", ""),
        metric("vertex_gateway_client_connections_opened_total", ""),
        metric("vertex_gateway_requests_total", "client_closed"),
    );

    text += "| measure | after a fifth | at the end | growth in the run | standard error | flat up to |\n\
             |---|---:|---:|---:|---:|---:|\n";
    for (name, unit, bound, of) in MEASURES {
        let samples: Vec<(f64, f64)> = run
            .samples
            .iter()
            .filter_map(|(time, vitals)| Some((*time, of(vitals)? / unit)))
            .collect();
        let Some(line) = fit(&samples, WARM) else {
            text += &format!("| {name} | not measured | | | | |\n");
            continue;
        };
        let mean = |from: f64, to: f64| {
            let some: Vec<f64> = samples
                .iter()
                .filter(|(time, _)| (from..=to).contains(time))
                .map(|(_, value)| *value)
                .collect();
            some.iter().sum::<f64>() / some.len() as f64
        };
        text += &format!(
            "| {name} | {:.1} | {:.1} | {:+.1} | {:.1} | {bound} |\n",
            mean(WARM, WARM + 0.05),
            mean(0.95, 1.0),
            line.slope,
            line.error,
        );
        if line.slope - 2.0 * line.error > bound {
            failures
                .push(format!("{name} grows by {:.1} ± {:.1} in the run", line.slope, line.error));
        }
    }
    for (name, wanted) in
        [("vertex_gateway_requests_in_flight", 0.0), ("vertex_gateway_requests_queued", 0.0)]
    {
        let value = metric(name, "");
        if value != wanted {
            failures.push(format!("{name} is {value} at the end"));
        }
    }
    let heaps = profiles(&run.folder)?;
    // The last profile is written at the exit, when the traffic has ended: it is compared by itself.
    if let [first, .., last, at_exit] = &heaps[..] {
        text += &format!(
            "\nHeap profiles, one in 128 KiB sampled: {:.0} kB live in the first of {}, {:.0} kB in the last \
             one, {:.0} kB at the exit. The places that grew the most:\n\n| kB | functions |\n|---:|---|\n",
            first.live / 1e3,
            heaps.len(),
            last.live / 1e3,
            at_exit.live / 1e3
        );
        for (bytes, functions) in grown(first, last, 5)? {
            text += &format!("| {:+.0} | `{functions}` |\n", bytes / 1e3);
        }
    } else {
        text += &format!("\n{} heap profiles: too few to compare.\n", heaps.len());
    }
    Ok((text, failures))
}

/// The sum of all samples of a metric whose labels contain this text.
fn sum(metrics: &str, name: &str, labels: &str) -> f64 {
    let samples = metrics.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (series, its_labels) = series.split_once('{').unwrap_or((series, ""));
        (series == name && its_labels.contains(labels)).then(|| value.parse::<f64>().ok())?
    });
    samples.sum()
}
