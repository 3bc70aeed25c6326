//! The output of the bench, and its part of the manual.

use std::fs;

use tower::BoxError;

use crate::{
    contenders::{World, versions},
    measures::Row,
    page::replace,
    plan::Plan,
    plot::{Bar, bars, draw},
    process::{installed, root},
    table::{idle_table, tables},
};

#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub testing: bool,
    pub only_idle: bool,
    pub write: bool,
}

pub fn report(rows: &[Row], plan: &Plan, world: &World, wanted: Wanted) -> Result<(), BoxError> {
    if wanted.testing {
        for row in rows {
            let responds = !row.measures.is_empty() || !row.idle.is_empty();
            println!("{}: {}", row.name(), if responds { "responds" } else { "not installed" });
        }
        return Ok(());
    }
    let (name, text) = if wanted.only_idle {
        ("idle streams", idle_table(rows, plan.idle_streams, world))
    } else {
        let mut all: Vec<String> = installed(&[world.sidecar.clone()], "--version")
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        all.extend(hyper());
        all.extend(versions());
        ("gateway", tables(rows, plan, world, &all))
    };
    println!("\n{text}");
    if wanted.write {
        let docs = root().join("docs");
        let drawn = if wanted.only_idle { String::new() } else { plots(rows, &docs)? };
        replace(&docs.join("benchmarks.md"), name, &(drawn + &text))?;
    }
    Ok(())
}

/// The version of hyper, which the lock file names.
fn hyper() -> Option<String> {
    let lock = fs::read_to_string(root().join("benches/Cargo.lock")).ok()?;
    let (_, rest) = lock.split_once("name = \"hyper\"\nversion = \"")?;
    Some(format!("hyper {}", rest.split('"').next()?))
}

/// Draws the plots, and returns their links.
fn plots(rows: &[Row], docs: &std::path::Path) -> Result<String, BoxError> {
    let measured = |of: fn(&crate::measures::Measures) -> f64| -> Vec<Bar> {
        bars(rows, |row| row.measures.iter().map(of).collect())
    };
    let proxies =
        |of| -> Vec<Bar> { measured(of).into_iter().filter(|bar| bar.value.max > 0.0).collect() };
    let memory = bars(rows, |row| row.idle.iter().map(|idle| idle.memory / 1e3).collect());
    let drawings = [
        (
            "bench-requests.svg",
            "Requests per second and CPU per request of each proxy",
            vec![
                ("Requests per second on one core", measured(|row| row.per_second)),
                ("CPU µs per request", proxies(|row| row.cpu * 1e6)),
            ],
        ),
        (
            "bench-latency.svg",
            "Latency of each proxy at a constant rate",
            vec![
                ("Open loop: p50, µs", measured(|row| row.open[0] * 1e6)),
                ("Open loop: p99, µs", measured(|row| row.open[1] * 1e6)),
                ("Open loop: p99.9, µs", measured(|row| row.open[2] * 1e6)),
            ],
        ),
        (
            "bench-streams.svg",
            "CPU per stream, first byte and memory per idle stream of each proxy",
            vec![
                ("CPU µs per stream of 51 events", proxies(|row| row.stream_cpu * 1e6)),
                ("First byte of a stream, µs", measured(|row| row.first_byte * 1e6)),
                ("Memory per idle stream, kB", memory),
            ],
        ),
    ];
    let mut links = String::new();
    for (name, description, panels) in drawings {
        draw(&docs.join(name), &panels).map_err(|error| error.to_string())?;
        links += &format!("![{description}]({name})\n\n");
    }
    Ok(links)
}
