//! The cost of a lookup in a table of 10,000 models, compared with one of 10: `cargo bench --bench
//! table`.
//!
//! Half of the entries are names, and the other half are patterns. Each name is looked up in all
//! tables in turn, so that other work of the machine affects all tables alike. Only the ratios are
//! meaningful.

use std::{env, hint::black_box, time::Instant};

use tower_vertex::{
    BoxError,
    model::{ModelRoute, ModelTable},
    route::Upstream,
};

const ENTRIES: [usize; 3] = [10, 1_000, 10_000];
/// Lookups in each turn, and the number of turns.
const LOOKUPS: u32 = 1_000;
const TURNS: usize = 2_000;

fn table(entries: usize) -> Result<ModelTable, BoxError> {
    let mut table = ModelTable::builder(Upstream::new("my-project", "global")?);
    for number in 0..entries / 2 {
        let route = || ModelRoute::new().model("gemini-2.5-flash");
        table = table.route(format!("model-{number:05}"), route());
        table = table.route(format!("family-{number:05}-*"), route());
    }
    Ok(table.build()?)
}

fn main() -> Result<(), BoxError> {
    let tables = ENTRIES.map(table).into_iter().collect::<Result<Vec<_>, _>>()?;
    let turns = if env::args().any(|argument| argument == "--test") { 1 } else { TURNS };
    println!("| name | 10 entries | 1,000 | 10,000 |\n|---|---:|---:|---:|");
    for (what, name, found) in [
        ("an entry", "model-00003", true),
        ("a pattern", "family-00003-large", true),
        ("neither", "gemini-2.5-pro-preview", false),
    ] {
        let mut nanoseconds = vec![Vec::with_capacity(turns); tables.len()];
        for turn in 0..turns {
            for position in 0..tables.len() {
                let which = (position + turn) % tables.len();
                let table = &tables[which];
                assert_eq!(table.find(name).is_some(), found, "{name}");
                let began = Instant::now();
                for _ in 0..LOOKUPS {
                    black_box(table.find(black_box(name)));
                }
                nanoseconds[which].push(began.elapsed().as_nanos() as f64 / f64::from(LOOKUPS));
            }
        }
        let medians: Vec<f64> = nanoseconds.iter_mut().map(median).collect();
        let ratios = medians.iter().skip(1).map(|each| format!(" {:.2} |", each / medians[0]));
        println!("| {what} | ({:.0} ns) |{}", medians[0], ratios.collect::<String>());
    }
    Ok(())
}

fn median(values: &mut Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
