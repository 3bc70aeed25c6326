//! A body that is recorded while it is sent, so that it can be sent again.
//!
//! [`ReplayBody::record`] returns the body to send and a [`Recording`] of it. Dropping the
//! recording stops it and frees its memory. [`Recording::replay`] makes a second body from the
//! recording, which is complete even if the first one was still being sent. The replay takes over
//! the rest of the original, and the first body fails when it is polled next.
//! [`Recording::replay_and_record`] does the same and continues to record, for more than one
//! replay.
//!
//! No call waits. The only frame of a body, and frames of 32 KiB and more, are not copied but
//! reference counted. Smaller frames are copied together, because each would keep the buffer alive
//! that it was read into. So a recording takes at most twice the bytes of its body and half a KiB,
//! in any division into frames. A recording of one frame keeps the buffer that the frame was read
//! into, and counts for at least 8 KiB. The buffer is longer, up to the maximum of the server
//! (hyper's is 408 KiB), after long bodies on the same connection. The replay has the same bytes,
//! in fewer frames. A recording that exceeds its cap, or the [`MemoryBudget`] that it shares with
//! others, is dropped. The body is still sent.
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
mod chunks;
mod coalesced;
mod head;
mod in_memory;
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
    chunks::Chunks,
    coalesced::Coalesced,
    head::SavedHead,
    recording::Rewind,
};

/// 32 MiB: more than the 20 MiB that Gemini's endpoint accepts. The default of the layers for one
/// request.
pub(crate) const REPLAY_LIMIT: usize = 32 << 20;
/// 256 MiB: the memory that a process can spare for requests in flight. The default of the layers.
pub(crate) const REPLAY_BUDGET: usize = 256 << 20;
