//! The locations of models, and which are ejected.

use serde::Serialize;

use tower_vertex::{model::ModelTable, redact, retry::LocationCircuit};

/// Largest number of circuits that are shown.
const MOST: usize = 200;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Circuit {
    /// The name or the pattern of the entry in the table of models.
    model: String,
    location: String,
    /// `closed`, `open` or `half_open`.
    state: &'static str,
    /// Failures in a row.
    failures: u32,
    /// Time until a request probes the location.
    probe_in_seconds: Option<u64>,
}

/// The circuits of all entries that have a list of locations.
pub(super) fn circuits(table: &ModelTable) -> Vec<Circuit> {
    let lists = table.entries().filter_map(|entry| Some((entry.pattern(), entry.locations()?)));
    let all = lists.flat_map(|(model, list)| list.circuits().map(move |at| (model, at)));
    let shown = |(model, (upstream, circuit)): (&str, (&tower_vertex::route::Upstream, _))| {
        let location = upstream.location().map_or(upstream.origin(), |location| location.as_str());
        let (state, failures, probe_in) = match circuit {
            LocationCircuit::Closed { failures } => ("closed", failures, None),
            LocationCircuit::Open { probe_in } => ("open", 0, Some(probe_in)),
            LocationCircuit::HalfOpen => ("half_open", 0, None),
            // A later version of the library may have more states.
            _ => ("unknown", 0, None),
        };
        Circuit {
            model: redact::value(model).to_string(),
            location: redact::value(location).to_string(),
            state,
            failures,
            probe_in_seconds: probe_in.map(|time| time.as_secs()),
        }
    };
    all.take(MOST).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower_vertex::{model::ModelRoute, route::Upstream};

    #[test]
    fn each_location_of_a_list_has_a_circuit() {
        let base = Upstream::new("p", "us-central1").unwrap();
        let table = ModelTable::builder(base)
            .route("plain", ModelRoute::new().model("gemini-2.5-pro"))
            .route("listed-*", ModelRoute::new().locations(["us-central1", "us-east4"]))
            .build()
            .unwrap();
        let all = circuits(&table);
        let names: Vec<_> =
            all.iter().map(|one| (&*one.model, &*one.location, one.state)).collect();
        let expected = ["us-central1", "us-east4"].map(|at| ("listed-*", at, "closed"));
        assert_eq!(names, expected);
    }
}
