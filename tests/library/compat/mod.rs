//! `VertexCompatLayer`: the cures of requests and of responses.

mod bodies;
#[cfg(feature = "credentials")]
mod loops;
mod requests;
mod resends;
#[cfg(feature = "credentials")]
mod responses;
mod script;

use tower_vertex::compat::Cure;

#[test]
fn the_manual_lists_each_cure_with_its_default() {
    let manual = include_str!("../../../docs/compat.md");
    let rows = manual.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let mut documented: Vec<_> = rows.map(|(name, row)| (name, row.starts_with("on"))).collect();
    let mut cures: Vec<_> = Cure::ALL.iter().map(|cure| (cure.name(), cure.is_default())).collect();
    documented.sort_unstable();
    cures.sort_unstable();
    assert_eq!(documented, cures);
}
