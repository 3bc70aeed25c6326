//! Tests of the layers and of the token sources: with mocks, and over sockets against the emulator.
//!
//! All of them are one binary: many of these tests wait, and in one binary they wait at the same
//! time.

#[cfg(feature = "async-openai")]
mod async_openai;
mod auth;
#[cfg(feature = "client")]
mod client;
#[cfg(feature = "credentials")]
#[path = "../common/mod.rs"]
mod common;
mod compat;
#[cfg(feature = "client")]
mod connect;
#[cfg(all(feature = "credentials", feature = "credentials-federation", target_os = "linux"))]
mod credentials;
#[cfg(all(feature = "credentials", feature = "credentials-federation", unix))]
mod detect;
#[cfg(feature = "credentials")]
mod discover;
#[cfg(feature = "credentials")]
mod end_to_end;
mod error_format;
mod ext;
#[cfg(feature = "credentials")]
mod gcp_auth;
#[cfg(all(feature = "credentials", feature = "credentials-federation"))]
mod given_credentials;
#[cfg(feature = "credentials")]
mod grpc;
#[cfg(feature = "credentials")]
mod id_token;
mod model;
mod publishers;
#[cfg(all(feature = "client", feature = "reqwest"))]
mod redirect;
mod replay;
mod retry;
mod route;
mod token_cache;
