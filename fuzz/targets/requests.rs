#![no_main]
#![allow(unsafe_code, reason = "libFuzzer calls a function by its name")]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tower_vertex_fuzz::requests::run(data));
