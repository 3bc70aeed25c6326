# Common commands. `just` lists them.

_default:
    @just --list --unsorted

# Checks that everything compiles
check:
    cargo check --workspace --all-features --tests

# Runs the tests whose names contain FILTER, in all test binaries
test FILTER='':
    cargo test --workspace --all-features --lib --test library --test gateway --test emulator -- {{FILTER}}

# Formats everything, and runs the linter
lint:
    cargo fmt --all
    cargo clippy --workspace --all-features --all-targets -- -D warnings

# Opens the documentation as on docs.rs
docs:
    cargo doc --workspace --all-features --no-deps --open

# Starts a sidecar with the emulator, without a Google account
demo:
    cargo run --release -p vertex-gateway -- --emulator

# Measures the cost of the layers for a request
bench:
    cargo bench --locked --manifest-path benches/Cargo.toml --bench overhead

# Tries all orders of the steps of threads, in the models whose names contain FILTER
models FILTER='':
    cargo run --locked --manifest-path models/Cargo.toml -- {{ quote(FILTER) }}

# The same with more orders; it takes hours
models-long FILTER='':
    cargo run --locked --manifest-path models/Cargo.toml -- --long {{ quote(FILTER) }}

# Runs all steps of CI, or those with STEP in their names
ci STEP='':
    bash .ci/run {{ quote(STEP) }}

# Fuzzes TARGET, or all targets in turn, for SECONDS each
fuzz TARGET='' SECONDS='3600':
    bash fuzz/run {{ quote(TARGET) }} {{ quote(SECONDS) }}
