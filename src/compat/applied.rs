//! The cures that were applied to a request, as the caller and the client see them.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::settings::{Cure, Cures};

/// The header of a response that names the cures of its request, such as
/// `signatures, developer_role`.
pub(super) const HEADER: HeaderName = HeaderName::from_static("x-vertex-compat");

/// The cures that changed the request of a response. [`VertexCompat`](super::VertexCompat) puts them
/// into the extensions of the response, unless there was none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppliedCures {
    pub(super) cures: Cures,
    pub(super) restored: u64,
    pub(super) placeholders: u64,
}

impl AppliedCures {
    pub(super) const fn none() -> Self {
        Self { cures: Cures::none(), restored: 0, placeholders: 0 }
    }

    /// The cures.
    pub fn iter(self) -> impl Iterator<Item = Cure> {
        self.cures.iter()
    }

    /// Whether this cure was applied.
    pub const fn contains(self, cure: Cure) -> bool {
        self.cures.is_on(cure)
    }

    /// The number of thought signatures that were restored.
    pub const fn restored_signatures(self) -> u64 {
        self.restored
    }

    /// The number of placeholders that were sent in the place of signatures.
    pub const fn placeholder_signatures(self) -> u64 {
        self.placeholders
    }

    /// Puts the header on a response.
    pub(super) fn put_on(self, headers: &mut HeaderMap) {
        let names: Vec<_> = self.iter().map(Cure::name).collect();
        // The names have letters and underscores only.
        if let Ok(value) = HeaderValue::from_str(&names.join(", ")) {
            headers.insert(HEADER, value);
        }
    }
}
