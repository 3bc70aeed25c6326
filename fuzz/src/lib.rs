//! The fuzz targets, one module each, and what they share. `README.md` says what each one checks.

// The targets run only in a build that `fuzz/build` or `cargo fuzz` has made.
#![cfg(fuzzing)]
#![forbid(unsafe_code)]

pub mod body;
pub mod credentials;
pub mod cures;
pub mod errors;
pub mod files;
pub mod framing;
pub mod input;
pub mod json;
pub mod model;
pub mod requests;
pub mod responses;
pub mod route;
pub mod sse;
pub mod streams;
pub mod usage;

/// A text that seeds have in place of secrets. It must be in no message.
pub const SECRET: &str = "S3cRetS3cRet0123456789";

/// The path of a file of this process.
pub fn file(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("tower-vertex-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the folder for temporary files takes a folder");
    folder.join(name)
}
