//! `VertexError` over scripted responses, frame by frame, and over sockets.

mod answers;
mod forms;
mod script;
#[cfg(feature = "credentials")]
mod sockets;
mod streams;
