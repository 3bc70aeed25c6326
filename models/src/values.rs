//! The parsers of the options, which the models do not parse.

pub(crate) const MOST: usize = usize::MAX;
pub(crate) fn number() {}
pub(crate) fn time() {}
