//! The names of models in labels, whose number is limited.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use super::OTHER;
use crate::printable::fit;

/// Largest number of models outside the table that have their own label. A gateway that forwards
/// any name sees more.
const MOST_MODELS: usize = 200;
/// Number of 2xx responses after which a name gets one of the last labels.
const USES: u32 = 10;
/// Largest number of names whose uses are counted for a label.
const MOST_CANDIDATES: usize = 1000;
/// A longer name is not a model of Vertex AI.
const LONGEST_MODEL: usize = 128;

/// The models that have their own labels.
///
/// The models of the table always have one. A client can make up other names, if an upstream
/// responds to them with 2xx. Half of the labels for those names goes to the first names, and the
/// other half to names that are used repeatedly.
#[derive(Debug, Default)]
pub(super) struct Models(RwLock<ModelLabels>);

#[derive(Debug, Default)]
struct ModelLabels {
    /// Labels by the names that clients use.
    labels: HashMap<Arc<str>, Arc<str>>,
    /// Number of labels for names outside the table.
    unlisted: usize,
    /// Number of uses of each name that has no label yet.
    used: HashMap<Arc<str>, u32>,
}

impl Models {
    /// Adds a model of the table.
    pub(super) fn list(&self, model: &str) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.used.remove(model);
        known.labels.entry(model.into()).or_insert_with(|| fit(model).into());
    }

    /// The label of a requested model; `good` is whether the response was 2xx.
    pub(super) fn label(&self, model: &str, good: bool) -> Arc<str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(label) = known.labels.get(model) {
            return label.clone();
        }
        let is_full = known.unlisted >= MOST_MODELS;
        drop(known);
        if !good || is_full || model.len() > LONGEST_MODEL {
            return OTHER.into();
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).used(model)
    }
}

impl ModelLabels {
    fn used(&mut self, model: &str) -> Arc<str> {
        if let Some(label) = self.labels.get(model) {
            return label.clone();
        }
        if self.unlisted >= MOST_MODELS / 2 {
            if self.used.len() >= MOST_CANDIDATES && !self.used.contains_key(model) {
                // A name that is used often returns soon.
                self.used.clear();
            }
            let times = self.used.entry(model.into()).or_default();
            *times += 1;
            if *times < USES || self.unlisted >= MOST_MODELS {
                return OTHER.into();
            }
            self.used.remove(model);
        }
        self.unlisted += 1;
        let label: Arc<str> = fit(model).into();
        self.labels.insert(model.into(), label.clone());
        label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_leave_labels_for_models_that_are_used_repeatedly() {
        let models = Models::default();
        for number in 0..MOST_MODELS + 7 {
            models.list(&format!("listed-{number}"));
        }
        for number in 0..5000 {
            models.label(&format!("made-up-{number}"), true);
        }
        let known = || models.0.read().unwrap().labels.len();
        assert_eq!(known(), MOST_MODELS + 7 + MOST_MODELS / 2);
        assert!(models.0.read().unwrap().used.len() <= MOST_CANDIDATES);
        for number in 0..MOST_MODELS + 7 {
            let name = format!("listed-{number}");
            assert_eq!(*models.label(&name, false), *name);
        }
        for _ in 1..USES {
            assert_eq!(&*models.label("google/real", true), OTHER);
            assert_eq!(&*models.label("google/real", false), OTHER);
        }
        assert_eq!(&*models.label("google/real", true), "google/real");
        assert_eq!(&*models.label("google/real", false), "google/real");
        // Their number is limited, however often they are used.
        for number in 0..2 * MOST_MODELS {
            (0..USES).for_each(|_| drop(models.label(&format!("busy-{number}"), true)));
        }
        assert_eq!(known(), MOST_MODELS + 7 + MOST_MODELS);
    }

    #[test]
    fn a_label_has_no_character_that_moves_a_cursor_or_reverses_text() {
        let models = Models::default();
        assert_eq!(
            &*models.label("a\u{1b}[2Jb\u{202e}c\u{2028}", true),
            r"a\u{1b}[2Jb\u{202e}c\u{2028}"
        );
    }
}
