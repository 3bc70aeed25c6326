# The commands that people need. `just` lists them.

_default:
    @just --list --unsorted

# Does it compile?
check:
    cargo check --workspace --all-features --tests

# Tests whose names contain FILTER, by the library's and the sidecar's binaries
test FILTER='':
    cargo test --workspace --all-features --lib --test library --test gateway --test emulator -- {{FILTER}}

# Formats, and runs the linter on everything
lint:
    cargo fmt --all
    cargo clippy --workspace --all-features --all-targets -- -D warnings

# The documentation, as docs.rs shows it
docs:
    cargo doc --workspace --all-features --no-deps --open

# A sidecar in front of the emulator, without a Google account
demo:
    cargo run --release -p vertex-gateway -- --emulator

# What the layers cost a request
bench:
    cargo bench --locked --manifest-path benches/Cargo.toml --bench overhead

# All that CI runs, or the steps with STEP in their names
ci STEP='':
    bash .ci/run {{ quote(STEP) }}
