//! `vertex-gateway` for longer than a moment: a thousand streams of a minute, and an hour of all
//! that happens, compressed by tokens that live for seconds.
//!
//! They take the longest, and a name in front of all others has the test harness begin with them.

mod everything;
mod streams;
mod troubled;
