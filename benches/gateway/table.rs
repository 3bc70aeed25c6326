//! The tables.

use crate::{
    contenders::{Contender, World},
    measures::{Measures, Row},
    plan::Plan,
    process::installed,
    statistics::{Spread, three_digits},
};

/// A column: its title, its unit included, and the value of one round.
type Column<T> = (&'static str, fn(&T) -> f64);

const REQUESTS: [Column<Measures>; 6] = [
    ("requests/s", |row| row.per_second),
    ("CPU µs per request", |row| row.cpu * 1e6),
    ("p99 ms", |row| row.closed[2 - 1] * 1e3),
    ("p50 µs, open loop", |row| row.open[0] * 1e6),
    ("p99 µs, open loop", |row| row.open[1] * 1e6),
    ("p99.9 µs, open loop", |row| row.open[2] * 1e6),
];

const STREAMS: [Column<Measures>; 2] = [
    ("first byte µs", |row| row.first_byte * 1e6),
    ("CPU µs per stream", |row| row.stream_cpu * 1e6),
];

pub fn tables(rows: &[Row], plan: &Plan, world: &World, versions: &[String]) -> String {
    let number = |value: f64| three_digits(value);
    let mut text = format!(
        "{}. {}. {}\n\n{} Medians of {} interleaved rounds, and in parentheses the least and the \
         greatest value; idle streams: {} rounds, each with a new process.\n\n",
        versions.join(", "),
        world.machine,
        date(),
        world.cores.describe(),
        plan.rounds,
        plan.idle_rounds,
    );
    text += &format!(
        "**Requests** of 1 KiB, with responses of 700 bytes: {} clients without a pause, then {} \
         requests/s over {} connections in an open loop.\n\n",
        plan.clients, plan.rate, plan.connections
    );
    text += &table(rows, &REQUESTS.map(|(title, _)| title), |row| {
        cells(&row.measures, &REQUESTS, number)
    });
    text += &format!(
        "\n**Streams** of 51 events, a millisecond apart: {} clients without a pause; the first byte \
         of a stream without other load; {} idle streams.\n\n",
        plan.streams, plan.idle_streams
    );
    let titles = [STREAMS[0].0, STREAMS[1].0, "memory kB per idle stream"];
    text += &table(rows, &titles, |row| {
        let mut cells = cells(&row.measures, &STREAMS, number);
        let memory = Spread::of(row.idle.iter().map(|idle| idle.memory / 1e3));
        cells.push(memory.map_or("–".to_owned(), |memory| memory.show(number)));
        cells
    });
    text += "\n| row | does less than the sidecar | busy | late |\n|---|---|---:|---:|\n";
    for row in rows.iter().filter(|row| !row.measures.is_empty() && !row.tls) {
        let busy = Spread::of(row.measures.iter().map(|measures| measures.busy * 100.0));
        let missed: usize = row.measures.iter().map(|measures| measures.missed).sum();
        let slow = if row.contender.is_slow() {
            format!(
                "; the open loop sends {} requests/s, and 200 streams are idle at most",
                plan.slow_rate
            )
        } else {
            String::new()
        };
        text += &format!(
            "| {} | {}{slow} | {} % | {missed} |\n",
            row.name(),
            row.contender.lacks(),
            busy.map_or_else(String::new, |busy| format!("{:.0}", busy.median)),
        );
    }
    text
}

fn cells<T>(rounds: &[T], columns: &[Column<T>], show: fn(f64) -> String) -> Vec<String> {
    let cell = |(_, of): &Column<T>| {
        Spread::of(rounds.iter().map(of)).map_or("not installed".to_owned(), |all| all.show(show))
    };
    columns.iter().map(cell).collect()
}

fn table(rows: &[Row], titles: &[&str], cells: impl Fn(&Row) -> Vec<String>) -> String {
    let mut text =
        format!("| row | {} |\n|---|{}\n", titles.join(" | "), "---:|".repeat(titles.len()));
    for row in rows {
        text += &format!("| {} | {} |\n", row.name(), cells(row).join(" | "));
    }
    text
}

/// Idle streams: memory, and the times to the first byte.
pub fn idle_table(rows: &[Row], streams: usize, world: &World) -> String {
    let mut text = format!(
        "{streams} idle streams, {} beginning at a time. {}. {}\n\n\
         | row | memory kB per stream | first byte ms, p50 | p99 | last |\n|---|---:|---:|---:|---:|\n",
        crate::idle::BEGINNING,
        world.machine,
        date()
    );
    for row in rows.iter().filter(|row| row.contender != Contender::NoProxy) {
        let spread = |of: &dyn Fn(&crate::idle::Idle) -> f64| {
            let spread = Spread::of(row.idle.iter().map(of));
            spread.map_or("not installed".to_owned(), |spread| spread.show(three_digits))
        };
        let first = |at: usize| spread(&move |idle| idle.first[at] * 1e3);
        text += &format!(
            "| {} | {} | {} | {} | {} |\n",
            row.name(),
            spread(&|idle| idle.memory / 1e3),
            first(0),
            first(1),
            first(2)
        );
    }
    text
}

fn date() -> String {
    installed(&["date".into()], "-uI").map_or_else(String::new, |(_, line)| line)
}
