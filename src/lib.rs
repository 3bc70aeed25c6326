//! Google Vertex AI for every OpenAI client, as Tower layers.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod auth;
#[cfg(feature = "emulator")]
pub mod emulator;
pub mod error;
#[cfg(feature = "gateway")]
pub mod gateway;
pub mod replay;
pub mod route;
pub mod token;

pub use error::Error;
/// The error type of a service, as everywhere in Tower.
pub use tower::BoxError;
