//! Tests of `vertex-gateway` from a user's view.
//!
//! All of them are one binary: most of these tests wait, and in one binary they wait at the same
//! time.

#[cfg(target_os = "linux")]
mod after_a_while;
#[cfg(target_os = "linux")]
mod as_google;
#[path = "../../../../tests/sdk/rust/mod.rs"]
mod async_openai_matrix;
#[cfg(unix)]
mod change;
#[cfg(unix)]
mod check;
#[cfg(unix)]
mod child;
#[cfg(target_os = "linux")]
mod clock;
mod common;
mod compat;
#[cfg(unix)]
mod doors;
mod endpoints;
#[cfg(all(feature = "ext-authz", unix))]
mod ext_authz;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(unix)]
mod help;
#[cfg(target_os = "linux")]
mod hosts;
mod load;
mod models;
#[cfg(target_os = "linux")]
mod network;
mod outbound;
#[cfg(unix)]
mod readme_credentials;
mod requests;
mod retry;
#[cfg(unix)]
mod run;
mod strangers;
mod telemetry;
#[cfg(unix)]
mod terminal;
mod traces;
