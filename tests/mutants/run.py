"""Runs the mutants of `cargo mutants` on modules: `python run.py [MODULE…]`.

cargo-mutants builds once for each mutant, which would take a day for these modules. This builds once for all of
them, each behind a switch, and runs for each mutant the tests that reach it. A survivor that tests/mutation.md does
not explain is a failure.
"""

import collections
import concurrent.futures
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import tempfile
import time

import alternatives

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = (ROOT / "target").resolve() / "mutants/tree"
SWITCH = pathlib.Path(__file__).parent / "switch.rs"
SIDECAR = "crates/vertex-gateway/"
LIBRARY_MODULES = ["token", "auth", "replay", "retry", "route", "compat"]
MODULES = {name: f"src/{name}/" for name in LIBRARY_MODULES} | {"access": f"{SIDECAR}src/access/"}
# The bounds of a test process: seconds of a processor, for a mutant that loops; seconds of the clock, for one that
# waits for ever; and bytes of memory.
PROCESSOR, CLOCK, MEMORY = 20, 120, 3 << 30
# Tests together in one process: the first few are the quick ones, which kill most mutants.
GROUPS = [8, 40, 10_000]
JOBS = int(os.environ.get("JOBS", os.cpu_count() or 2))


def copy():
    """Copies the tracked files. A file that has not changed keeps its time, so that Cargo reuses its crate."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    for name in names.stdout.split("\0")[:-1]:
        old, new = ROOT / name, TREE / name
        if old.is_file():
            write(new, old.read_bytes())


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)


def listed(package, folders):
    command = ["cargo", "mutants", "--list", "--json", "--dir", ROOT, "--package", package]
    command += [f"--file={folder}**" for folder in folders]
    mutants = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    for number, mutant in enumerate(mutants):
        mutant["number"] = number
        # Without line and column, a name stays when the file changes elsewhere.
        mutant["name"] = re.sub(r":\d+:\d+: ", ": ", mutant["name"])
    return mutants


def inject(mutants, root, left_out):
    by_file = collections.defaultdict(list)
    for mutant in mutants:
        by_file[mutant["file"]].append(mutant)
    for file, here in by_file.items():
        here = [mutant for mutant in here if mutant["number"] not in left_out]
        changed = alternatives.File((ROOT / file).read_bytes(), here)
        left_out.update(changed.skipped)
        write(TREE / file, changed.text())
    write(TREE / root, (ROOT / root).read_bytes() + SWITCH.read_bytes())


def build(mutants, folder, root, tests):
    """Leaves out the mutants that do not compile, until the rest does. Returns the test binaries."""
    left_out = set()
    environment = os.environ | {"CARGO_INCREMENTAL": "0", "CARGO_PROFILE_DEV_DEBUG": "none"}
    # With the same options as elsewhere, Cargo reuses the dependencies that it has built.
    command = ["cargo", "test", "--no-run", "--workspace", "--all-features", "--message-format=json"]
    command += ["--target-dir", ROOT / "target", *tests]
    while True:
        inject(mutants, root, left_out)
        done = subprocess.run(command, cwd=TREE, env=environment, capture_output=True, text=True)
        messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        if done.returncode == 0:
            built = [message for message in messages if message.get("executable")]
            mine = [one for one in built if one["manifest_path"] == str(folder / "Cargo.toml")]
            if not mine:
                sys.exit("no test binary was built")
            return [one["executable"] for one in mine], left_out
        wrong = set()
        for message in messages:
            if message["reason"] == "compiler-message" and message["message"]["level"] == "error":
                wrong |= owners(message["message"])
        print(f"{len(wrong)} mutants do not compile", flush=True)
        if not wrong - left_out:
            sys.exit(done.stderr)
        left_out |= wrong


def owners(error):
    """The mutants of a compiler error."""
    spans = sorted(error["spans"], key=lambda span: not span["is_primary"])
    spans += [span for child in error["children"] for span in child["spans"]]
    for span in spans:
        file = TREE / span["file_name"]
        if file.is_file() and (found := alternatives.owner(file.read_bytes(), span["byte_start"], span["byte_end"])):
            return found
    return set()


def run(binary, folder, tests, **environment):
    """The result of these tests: `passed`, `failed`, or `ended` after one of the bounds."""

    def bounds():
        resource.setrlimit(resource.RLIMIT_CPU, (PROCESSOR, PROCESSOR))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    process = subprocess.Popen(
        [binary, "--exact", *tests],
        cwd=folder,
        env=os.environ | {"PROPTEST_CASES": "32"} | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=bounds,
    )
    try:
        code = process.wait(CLOCK)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "ended"
    return "passed" if code == 0 else "ended" if code in (-9, -24) else "failed"


def tests_of(binaries, folder):
    """For each mutant, the tests that reach it, the quickest first. Tests that count allocations fail here."""
    found = collections.defaultdict(list)

    def reached(binary, test):
        with tempfile.NamedTemporaryFile("r") as file:
            began = time.monotonic()
            result = run(binary, folder, [test], MUTANTS_REACHED=file.name)
            return time.monotonic() - began, result, {int(line) for line in file}

    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        futures = {}
        for binary in binaries:
            names = subprocess.run([binary, "--list", "--format=terse"], cwd=folder, capture_output=True, text=True)
            for name in re.findall(r"^(.+): test$", names.stdout, re.MULTILINE):
                futures[pool.submit(reached, binary, name)] = binary, name
        for future in concurrent.futures.as_completed(futures):
            duration, result, numbers = future.result()
            if result != "passed":
                print(f"not used, because it has {result} without a mutant: {futures[future][1]}", flush=True)
                continue
            for number in numbers:
                found[number].append((duration, *futures[future]))
    return {number: sorted(tests) for number, tests in found.items()}


def verdict(number, tests, binaries, folder):
    for binary in binaries:
        names = [name for _, of, name in tests if of == binary]
        for size in GROUPS:
            group, names = names[:size], names[size:]
            if group and (result := run(binary, folder, group, MUTANT=str(number))) != "passed":
                return "timeouts" if result == "ended" else "caught"
    return "survivors" if tests else "never reached"


def mutate(package, root, folder, modules, tests):
    mutants = listed(package, [MODULES[module] for module in modules])
    binaries, left_out = build(mutants, folder, root, tests)
    print(f"{len(mutants)} mutants, of which {len(left_out)} do not compile", flush=True)
    reach = tests_of(binaries, folder)
    results = {}
    with concurrent.futures.ThreadPoolExecutor(JOBS) as pool:
        for mutant in mutants:
            number = mutant["number"]
            if number not in left_out:
                results[number] = pool.submit(verdict, number, reach.get(number, []), binaries, folder)
        counts = {module: collections.Counter() for module in modules}
        alive = []
        for mutant in mutants:
            result = results[mutant["number"]].result() if mutant["number"] in results else "do not compile"
            module = next(module for module in modules if mutant["file"].startswith(MODULES[module]))
            counts[module].update(["mutants", result])
            if result in ("survivors", "never reached"):
                alive.append(mutant["name"])
    for module, count in counts.items():
        print(module, dict(count), flush=True)
    return alive


def main(modules):
    copy()
    library = [module for module in modules if module in LIBRARY_MODULES]
    alive = []
    if library:
        alive += mutate("tower-vertex", "src/lib.rs", TREE, library, ["--lib", "--test=library"])
    if "access" in modules:
        sidecar = TREE / SIDECAR
        tests = ["--lib", "--test=gateway"]
        alive += mutate("vertex-gateway", f"{SIDECAR}src/lib.rs", sidecar, ["access"], tests)
    explained = collections.Counter(re.findall(r"^- `(.+?)`", (ROOT / "tests/mutation.md").read_text(), re.MULTILINE))
    unexplained = collections.Counter(alive) - explained
    print(f"{len(alive)} survive, of which {unexplained.total()} are not explained:", *unexplained, sep="\n")
    return bool(unexplained)


def forget():
    """Removes the mutated crates, which Cargo would take for those of this checkout."""
    crates = ["tower-vertex", "tower-vertex-emulator", "vertex-gateway"]
    options = [option for crate in crates for option in ("--package", crate)]
    subprocess.run(["cargo", "clean", "--quiet", *options], cwd=ROOT, check=True)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:] or list(MODULES)))
    finally:
        forget()
