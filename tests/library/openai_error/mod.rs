//! `VertexError` over scripted answers, frame by frame, and over sockets.

mod answers;
mod script;
#[cfg(feature = "credentials")]
mod sockets;
mod streams;
