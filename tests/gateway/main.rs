//! `vertex-gateway`, as its users meet it.
//!
//! One binary for all of it: most of these tests wait, and here they wait at the same time.
#![cfg(feature = "gateway")]

#[path = "../sdk/rust/mod.rs"]
mod async_openai_matrix;
#[cfg(unix)]
mod change;
#[cfg(unix)]
mod check;
#[cfg(target_os = "linux")]
mod clock;
#[path = "../common/mod.rs"]
mod common;
#[cfg(unix)]
mod endpoints;
#[cfg(all(feature = "ext-authz", unix))]
mod ext_authz;
#[cfg(target_os = "linux")]
mod faults;
#[cfg(target_os = "linux")]
mod hosts;
#[cfg(target_os = "linux")]
mod hour;
mod load;
#[cfg(target_os = "linux")]
mod network;
mod outbound;
#[cfg(unix)]
mod readme_credentials;
mod requests;
mod retry;
mod sight;
mod strangers;
mod traces;
