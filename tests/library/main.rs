//! The layers and the sources of tokens: between mocks, and over sockets against the emulator.
//!
//! One binary for all of it: many of these tests wait, and here they wait at the same time.

#[cfg(all(feature = "async-openai", feature = "emulator"))]
mod async_openai;
mod auth;
#[cfg(all(feature = "client", feature = "emulator"))]
mod client;
#[cfg(all(feature = "emulator", feature = "credentials"))]
#[path = "../common/mod.rs"]
mod common;
#[cfg(all(
    feature = "emulator",
    feature = "credentials",
    feature = "credentials-federation",
    target_os = "linux"
))]
mod credentials;
#[cfg(all(
    feature = "emulator",
    feature = "credentials",
    feature = "credentials-federation",
    unix
))]
mod detect;
#[cfg(all(feature = "emulator", feature = "credentials"))]
mod discover;
#[cfg(all(feature = "emulator", feature = "credentials"))]
mod end_to_end;
mod ext;
#[cfg(all(feature = "emulator", feature = "credentials"))]
mod gcp_auth;
mod model;
mod openai_error;
mod replay;
mod retry;
mod route;
mod token_cache;
