//! `VertexRetry` over a scripted inner service under a paused clock, and over sockets.

#[cfg(all(feature = "emulator", feature = "gcp-auth"))]
#[path = "../common/mod.rs"]
mod common;
mod scripted;
#[cfg(all(feature = "emulator", feature = "gcp-auth"))]
mod sockets;
