//! `VertexError` over scripted answers, frame by frame, and over sockets.

mod answers;
#[cfg(all(feature = "emulator", feature = "gcp-auth"))]
#[path = "../common/mod.rs"]
mod common;
mod script;
#[cfg(all(feature = "emulator", feature = "gcp-auth"))]
mod sockets;
mod streams;
