//! `VertexRetry` over a scripted inner service under a paused clock, and over sockets.

mod scripted;
#[cfg(all(feature = "emulator", feature = "credentials"))]
mod sockets;
