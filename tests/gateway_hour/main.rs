//! `vertex-gateway` for longer than a moment: a thousand streams of a minute, and an hour of all
//! that happens, compressed by tokens that live for seconds.
#![cfg(all(feature = "gateway", target_os = "linux"))]

#[path = "../common/mod.rs"]
mod common;
mod hour;
mod streams;
mod troubled;
