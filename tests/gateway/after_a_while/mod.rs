//! `vertex-gateway` for longer than a moment: a thousand streams of a minute, and an hour of all
//! that happens, compressed by tokens that live for seconds.

mod everything;
mod streams;
mod troubled;
