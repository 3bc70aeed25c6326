//! Every order of the steps of threads in the library and the sidecar, tried by loom. `README.md` says what is checked.
//!
//! The modules below are the shipped files themselves, not copies. The name `std` is given to another crate
//! here, and Cargo.toml does the same for `tokio` and others, so that the locks, atomics and channels in those
//! files are loom's.
#![forbid(unsafe_code)]
// The models use a part of the files.
#![allow(dead_code, unused_imports)]

extern crate std_over_loom as std;

use std::{env, process::ExitCode, time::Instant};

pub use error::Error;
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

// The library.
#[path = "../../src/error/mod.rs"]
#[rustfmt::skip]
mod error;
#[path = "../../src/polled.rs"]
#[rustfmt::skip]
mod polled;
#[path = "../../src/redact.rs"]
#[rustfmt::skip]
mod redact;
#[path = "../../src/replay/mod.rs"]
#[rustfmt::skip]
mod replay;
#[path = "../../src/token/mod.rs"]
#[rustfmt::skip]
mod token;

// Stand-ins for files that the checked ones use, and that have no state between threads.
mod local_reply;
mod route;
mod values;

// The models, with the checked files that they are the parents of.
mod access;
mod outbound;
mod recording;
mod retry;
mod runner;
mod token_cache;

fn main() -> ExitCode {
    let mut long = false;
    let mut filter = String::new();
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--long" => long = true,
            text => text.clone_into(&mut filter),
        }
    }
    let start = Instant::now();
    let models =
        [token_cache::MODELS, retry::MODELS, recording::MODELS, access::MODELS, outbound::MODELS];
    let (mut count, mut interleavings) = (0, 0);
    for model in models.into_iter().flatten().filter(|model| model.name.contains(&filter)) {
        interleavings += model.check(long);
        count += 1;
    }
    println!("{count} models, {interleavings} interleavings, {:.1?}", start.elapsed());
    // A name that no model has is a mistake.
    if count > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
