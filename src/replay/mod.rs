//! A body that is recorded while it is sent, so that it can be sent again.
//!
//! [`ReplayBody::record`] splits a body in two: what goes on the wire now, and a [`Recording`].
//! Dropping the recording stops it and frees what it holds; [`Recording::replay`] makes a second
//! body of it, which is complete even if the first one was still being sent: the replay takes over
//! what is left of the original, and the first body fails when it is polled next.
//! [`Recording::replay_and_record`] does the same and records on, for more than one replay.
//!
//! Nothing waits. A body of one frame, and frames of 32 KiB and more, are not copied (they are
//! reference counted). Smaller ones are copied together, because each would keep the buffer alive that
//! it was read into: so a recording takes at most twice the bytes of its body and half a KiB,
//! however the body is cut up. A recording of one frame keeps the buffer that the frame was read into, and
//! counts for 8 KiB at least; the buffer is longer, up to the longest of the server (hyper's is 408 KiB),
//! where long bodies came over the same connection before. What is sent again has the same bytes, in fewer frames. A recording that
//! grows over its cap, or over the [`MemoryBudget`] that it shares with others, is dropped; the body goes on.
//!
//! ```
//! use bytes::Bytes;
//! use http_body_util::{BodyExt, Full};
//! use tower_vertex::replay::{MemoryBudget, ReplayBody};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_vertex::BoxError> {
//! let body = Full::new(Bytes::from_static(b"hello"));
//! let (body, recording) = ReplayBody::record(body, 1024, &MemoryBudget::new(1 << 20));
//!
//! assert_eq!(body.collect().await?.to_bytes(), "hello");
//! let again = recording.and_then(|r| r.replay()).expect("five bytes are below the cap");
//! assert_eq!(again.collect().await?.to_bytes(), "hello");
//! # Ok(())
//! # }
//! ```

mod body;
mod budget;
mod coalesced;
mod head;
mod recording;
mod tape;

pub use self::{
    body::ReplayBody,
    budget::MemoryBudget,
    coalesced::{READ_BUFFER, detached},
    recording::Recording,
    tape::Superseded,
};
pub(crate) use self::{
    body::{Broken, drain, poll_bytes},
    coalesced::Coalesced,
    head::SavedHead,
    recording::Rewind,
};

/// 32 MiB: more than the 20 MiB that Gemini's endpoint takes. Layers' default for a request.
pub(crate) const REPLAY_LIMIT: usize = 32 << 20;
/// 256 MiB: what a process can spare for requests that wait for their answer. Layers' default.
pub(crate) const REPLAY_BUDGET: usize = 256 << 20;
