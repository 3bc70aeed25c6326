//! The cures of a run, for the two targets of cures.

use tower_vertex::compat::{Cure, Cures};

use crate::input::Input;

/// Takes controls: the default cures, all cures, or one alone, which is returned too.
pub fn choose(input: &mut Input<'_>) -> (Cures, Option<Cure>) {
    match input.choose(3) {
        0 => (Cures::default(), None),
        1 => (Cures::all(), None),
        _ => {
            let cure = Cure::ALL[input.choose(Cure::ALL.len())];
            (Cures::none().with(cure, true), Some(cure))
        }
    }
}
