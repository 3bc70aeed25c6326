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

# Measures the sidecar beside nginx, HAProxy, Envoy and LiteLLM, and writes docs/benchmarks.md and its plots
bench *OPTIONS='--write':
    [ -x target/bench-python/bin/python ] || python3 -m venv target/bench-python
    target/bench-python/bin/python -m pip install --quiet --requirement benches/gateway/requirements.txt
    cargo bench --locked --manifest-path benches/Cargo.toml --no-default-features --profile shipped --bench gateway -- {{OPTIONS}}

# Measures the cost of the layers for a request
bench-layers:
    cargo bench --locked --manifest-path benches/Cargo.toml --bench overhead

# Tries all orders of the steps of threads, in the models whose names contain FILTER
models FILTER='':
    cargo run --locked --manifest-path models/Cargo.toml -- {{ quote(FILTER) }}

# The same with more orders; it takes hours
models-long FILTER='':
    cargo run --locked --manifest-path models/Cargo.toml -- --long {{ quote(FILTER) }}

# Measures many idle streams at the same time, as far as the limit of open files allows
bench-idle STREAMS='10000':
    just bench --idle-streams {{STREAMS}} --write

# Runs the sidecar through a day in this many minutes, and fails if it grows
soak MINUTES='60' *OPTIONS='':
    cargo run --locked --manifest-path benches/Cargo.toml --no-default-features --profile shipped --features soak --bin soak -- {{MINUTES}} {{OPTIONS}}

# Runs tests of the library and of pure parts of the sidecar under Miri, or those with FILTER in their names
miri FILTER='':
    bash tests/miri {{FILTER}}

# Runs the tests of tokens, replays and authentication, and the sidecar's unit tests, under the thread sanitizer
thread-sanitizer:
    bash tests/miri --thread-sanitizer

# Changes the code of MODULE, or of all modules that tests/mutation.md lists, and runs the tests on each change
mutants MODULE='':
    python3 -m venv --upgrade-deps target/mutants/venv
    target/mutants/venv/bin/pip install --quiet -r tests/mutants/requirements.txt
    nice target/mutants/venv/bin/python tests/mutants/run.py {{MODULE}}

# Runs all steps of CI, or those with STEP in their names
ci STEP='':
    bash .ci/run {{ quote(STEP) }}

# Fuzzes TARGET, or all targets in turn, for SECONDS each
fuzz TARGET='' SECONDS='3600':
    bash fuzz/run {{ quote(TARGET) }} {{ quote(SECONDS) }}

# Builds the packages for people without Rust, in target/dist, or those that PACKAGES names
dist *PACKAGES:
    dist/build {{PACKAGES}}
