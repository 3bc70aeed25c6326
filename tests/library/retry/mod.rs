//! `VertexRetry` over a scripted inner service under a paused clock, and over sockets.

mod scripted;
#[cfg(feature = "credentials")]
mod sockets;
