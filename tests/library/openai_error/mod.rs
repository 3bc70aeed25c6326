//! `VertexError` over scripted responses, frame by frame, and over sockets.

mod answers;
mod script;
#[cfg(feature = "gcp-auth")]
mod sockets;
mod streams;
