//! `ArcSwapOption`, over an atomic of loom. As in the original, a load acquires what a store released, and
//! nothing more: a thread may still see an older value until something else orders it after the store.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

use loom::sync::atomic::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire},
};

pub struct ArcSwapOption<T> {
    /// All values so far. It is no step for loom, because an element never changes.
    values: Mutex<Vec<Option<Arc<T>>>>,
    current: AtomicUsize,
}

pub struct Guard<T>(Option<Arc<T>>);

impl<T> Deref for Guard<T> {
    type Target = Option<Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<T> ArcSwapOption<T> {
    pub fn empty() -> Self {
        Self { values: Mutex::new(vec![None]), current: AtomicUsize::new(0) }
    }

    pub fn load(&self) -> Guard<T> {
        Guard(self.load_full())
    }

    pub fn load_full(&self) -> Option<Arc<T>> {
        let at = self.current.load(Acquire);
        self.values.lock().unwrap_or_else(PoisonError::into_inner)[at].clone()
    }

    pub fn store(&self, value: Option<Arc<T>>) {
        let at = {
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            values.push(value);
            values.len() - 1
        };
        self.current.swap(at, AcqRel);
    }
}
