"""The packages that `dist/build` has made, and a first response from each of them."""

import hashlib
import os
import platform
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIST = ROOT / "target" / "dist"
VERSION = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
MACHINE = platform.machine()
NODE, DEBIAN = {"x86_64": ("x64", "amd64"), "aarch64": ("arm64", "arm64")}[MACHINE]
TARGET = f"{MACHINE}-unknown-linux-musl"

ARCHIVE = DIST / f"vertex-gateway-{VERSION}-{TARGET}.tar.gz"
SBOM = DIST / f"vertex-gateway-{VERSION}-{TARGET}.cdx.json"
DEB = DIST / f"vertex-gateway_{VERSION}_{DEBIAN}.deb"
NPM = [DIST / f"vertex-gateway-{VERSION}.tgz", DIST / f"vertex-gateway-linux-{NODE}-{VERSION}.tgz"]
IMAGE = DIST / "image" / DEBIAN / "vertex-gateway"
# The image has these as well.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
[*WHEEL] = DIST.glob(f"vertex_gateway-{VERSION}-py3-none-manylinux*_{MACHINE}.whl")

missing = [path.name for path in (ARCHIVE, SBOM, DEB, *NPM, IMAGE) if not path.is_file()]
if missing or len(WHEEL) != 1:
    pytest.exit(f"target/dist has no {missing or 'wheel'}: build the packages with `dist/build`", returncode=2)
[WHEEL] = WHEEL

# The time limit in seconds for operations that normally take milliseconds.
PATIENCE = 60.0
# The environment of a user who has just logged in.
EMPTY = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
UV = Path(sys.executable).with_name("uv")
SHOWN = []


def digest(path):
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# A build with `VERTEX_GATEWAY` is the one that all other tests use.
BINARY = Path(os.environ.get("VERTEX_GATEWAY") or IMAGE)


class Shell:
    """Runs the commands of a user one after the other, and measures the time to the first response. With a name, the
    commands are shown at the end."""

    def __init__(self, name, **options):
        self.name = name
        self.options = {"env": EMPTY, "stdin": subprocess.DEVNULL, "text": True} | options
        self.began = time.monotonic()
        self.commands = []

    def run(self, *command):
        """Returns the output of a command, which must succeed."""
        self.commands.append(command)
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE * 5, **self.options
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def start(self, *command):
        self.commands.append(command)
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, **self.options
        )

    def first_response(self, *command, stop=signal.SIGTERM):
        """Starts the gateway, runs the `curl` command that it prints, and stops it by a signal to the command."""
        process = self.start(*command, "--emulator", "--listen", "127.0.0.1:0")
        watchdog = threading.Timer(PATIENCE, os.killpg, (process.pid, signal.SIGKILL))
        watchdog.start()
        printed = []
        try:
            for line in process.stdout:
                printed.append(line)
                if line.strip().startswith("curl "):
                    break
            else:
                raise AssertionError("".join(printed))
            curl = [*shlex.split(line), "--fail", "--silent", "--show-error"]
            answer = subprocess.check_output(curl, text=True, timeout=PATIENCE)
            assert "You said: hello" in answer
            if self.name:
                self.show(curl, answer)
            process.send_signal(stop)
            rest = process.stdout.read()
            return process.wait(PATIENCE), rest
        finally:
            watchdog.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            process.stdout.close()

    def show(self, curl, answer):
        """Keeps the commands for the end of the run, without the paths of this machine."""
        lines = [shlex.join(map(str, command)) for command in [*self.commands, curl]]
        text = "\n".join(f"  $ {line}" for line in lines).replace(f"{DIST}/", "")
        text = re.sub(r"/\S*/pytest-[^/ ]*/pytest-[^/ ]*/[^/ ]*", "~", text)
        SHOWN.append(f"{self.name}: {time.monotonic() - self.began:.1f} s\n{text}\n  {answer.strip()}")


def pytest_terminal_summary(terminalreporter):
    terminalreporter.section("from the file of a package to the first response")
    for text in SHOWN:
        terminalreporter.write_line(text)
