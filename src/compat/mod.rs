//! Cures what OpenAI clients and Gemini models on Vertex AI cannot read of each other.
//!
//! Vertex AI serves Gemini models at an OpenAI-compatible endpoint. Its responses differ from
//! OpenAI's in ways that break OpenAI's own client libraries, and it refuses requests that OpenAI
//! accepts. [`Cures`] lists the differences that can be cured by small edits of the bodies, and
//! turns each cure on or off.
//!
//! A cure edits the bytes of the members that it is about, and no others. A body that is not as the
//! cure expects stays as it is. No cure renames tools, changes schemas, or puts data into ids.

mod canonical;
#[allow(dead_code, reason = "the layer uses the rest")]
pub(crate) mod json;
#[allow(dead_code, unused_imports, reason = "the layer uses this")]
pub(crate) mod response;
mod settings;
mod signatures;

pub use self::{
    settings::{Cure, Cures, UnknownCure},
    signatures::{SignatureOwner, SignatureStats, Signatures},
};
