//! The table.

use crate::{Measures, Plan, Row, machine::machine};

pub fn table(rows: &[Row], plan: &Plan) -> String {
    let bare = &rows[0].measures;
    let mut table = format!(
        "\n{}\n\n\
         {} clients, {} rounds of {:.0} s and {} streams for each row; medians of the ratios to the \
         bare proxy, whose own medians are in parentheses. All processes share the machine.\n\n\
         | row | requests/s | CPU per request | p99 | first byte of a stream |\n\
         |---|---:|---:|---:|---:|\n",
        machine(),
        plan.clients,
        plan.rounds,
        plan.load.as_secs_f64(),
        plan.streams,
    );
    for row in rows {
        let cells = COLUMNS.map(|(of, show)| match &row.measures[..] {
            [] => "not installed".to_owned(),
            measures if std::ptr::eq(row, &rows[0]) => {
                format!("({})", show(median(measures.iter().map(of))))
            }
            measures => {
                let ratios = measures.iter().zip(bare).map(|(row, bare)| of(row) / of(bare));
                format!("{:.2}", median(ratios))
            }
        });
        table += &format!("| {} | {} |\n", row.name, cells.join(" | "));
    }
    table
}

type Column = (fn(&Measures) -> f64, fn(f64) -> String);

const COLUMNS: [Column; 4] = [
    (|row| row.requests_per_second, |value| format!("{value:.0}")),
    (|row| row.cpu, micros),
    (|row| row.p99, |value| format!("{:.1} ms", value * 1e3)),
    (|row| row.first_byte, micros),
];

fn micros(seconds: f64) -> String {
    format!("{:.0} µs", seconds * 1e6)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
