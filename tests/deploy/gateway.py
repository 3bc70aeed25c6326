"""The real `vertex-gateway`, with the arguments of a file in deploy/."""

import http.client
import json
import os
import re
import subprocess
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from files import KUBERNETES, ROOT, options

BINARY = os.environ.get("VERTEX_GATEWAY", str(ROOT / "target" / "release" / "vertex-gateway"))
if not Path(BINARY).is_file():
    pytest.exit(
        f"no gateway at {BINARY}: build it with `cargo build --release --features gateway`, "
        "or set VERTEX_GATEWAY to one",
        returncode=2,
    )

# As long as anything here may take that normally takes milliseconds.
PATIENCE = 30.0
KEY = "0123456789abcdef0123456789abcdef"


def run(*arguments):
    """A command that ends."""
    return subprocess.run(
        [BINARY, *arguments], capture_output=True, text=True, env={}, timeout=PATIENCE
    )


def here(arguments, folder):
    """The arguments with addresses, files and an upstream of this machine."""
    (folder / "client-keys").write_text(f"team-a:{KEY}\n")
    (folder / "gateway.toml").write_text(KUBERNETES["config.yaml"]["data"]["gateway.toml"])
    mine = {
        "--listen": "127.0.0.1:0",
        "--admin-listen": "127.0.0.1:0",
        "--config": folder / "gateway.toml",
        "--client-key-file": folder / "client-keys",
    }
    given = options(arguments)
    # What a file says is kept, but for these.
    return ["--emulator"] + [f"{name}={mine.get(name, value)}" for name, value in given.items()]


def environment(container):
    """Its variables, with a key where a secret would be."""
    return {
        variable["name"]: variable.get("value", f"team-a:{KEY}")
        for variable in container.get("env", [])
    }


class Gateway:
    def __init__(self, container, folder):
        self.process = subprocess.Popen(
            [BINARY, *here(container["args"], folder)],
            stdout=subprocess.PIPE,
            env=environment(container),
            text=True,
        )
        # One that hangs closes its output then, and the reading below ends.
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        self.emulator = self._read("emulator listening on")
        self.address = self._read("listening on")
        self.admin = self._read("admin on")
        watchdog.cancel()

    def _read(self, start):
        for line in self.process.stdout:
            if found := re.match(rf"{start} http://(\S+)", line):
                return found[1]
        raise RuntimeError(f"vertex-gateway ended without saying {start!r}")

    def status(self, path):
        """Of the admin listener."""
        connection = http.client.HTTPConnection(self.admin, timeout=PATIENCE)
        connection.request("GET", path)
        return connection.getresponse().status

    def until(self, path, status):
        """Asks the admin listener again and again."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.status(path)) != status:
            assert time.monotonic() < deadline, f"{path} still says {found}"

    def chat(self, **more):
        """An answer, of which nothing but the head has been read."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": "gemini-2.5-flash", "messages": messages} | more
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        return connection.getresponse()

    def fault(self, **faults):
        """A way in which the emulator behaves from now on."""
        connection = http.client.HTTPConnection(self.emulator, timeout=PATIENCE)
        connection.request("PUT", "/__emulator/faults", json.dumps(faults))
        assert connection.getresponse().status == 200


@contextmanager
def running(container, folder):
    gateway = Gateway(container, folder)
    try:
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.wait()
        gateway.process.stdout.close()
