//! `vertex-gateway` under load for a longer time: a thousand streams of a minute, and an hour of
//! mixed traffic, compressed by tokens that live for seconds.
//!
//! These tests take the longest. The name of this module sorts before all others, so that the test
//! harness starts them first.

mod everything;
mod streams;
mod troubled;
