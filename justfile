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

# Runs tests of the library and of pure parts of the sidecar under Miri, or those with FILTER in their names
miri FILTER='':
    bash tests/miri {{FILTER}}

# Runs the tests of tokens, replays and authentication under the thread sanitizer
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
