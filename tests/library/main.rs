//! Tests of the layers and of the token sources: with mocks, and over sockets against the emulator.
//!
//! All of them are one binary: many of these tests wait, and in one binary they wait at the same
//! time.

#[cfg(feature = "gcp-auth")]
mod async_openai;
mod auth;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "gcp-auth")]
#[path = "../common/mod.rs"]
mod common;
#[cfg(all(feature = "gcp-auth", feature = "google-cloud-auth", target_os = "linux"))]
mod credentials;
#[cfg(all(feature = "gcp-auth", feature = "google-cloud-auth", unix))]
mod detect;
#[cfg(feature = "gcp-auth")]
mod discover;
#[cfg(feature = "gcp-auth")]
mod end_to_end;
mod ext;
#[cfg(feature = "gcp-auth")]
mod gcp_auth;
mod model;
mod openai_error;
mod replay;
mod retry;
mod route;
mod token_cache;
