"""The real `vertex-gateway`, with the arguments of a file in deploy/."""

import http.client
import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from files import KUBERNETES, options
from sidecar import BINARY, PATIENCE, Control, Process

if not Path(BINARY).is_file():
    pytest.exit(
        f"no gateway at {BINARY}: build it with `cargo build --release -p vertex-gateway`, "
        "or set VERTEX_GATEWAY to one",
        returncode=2,
    )

KEY = "0123456789abcdef0123456789abcdef"


def run(*arguments):
    """Runs a command and waits for its end."""
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
    # All other values of the file are kept.
    return ["--emulator"] + [f"{name}={mine.get(name, value)}" for name, value in given.items()]


def environment(container):
    """The container's variables, with a client key in place of a secret."""
    return {
        variable["name"]: variable.get("value", f"team-a:{KEY}")
        for variable in container.get("env", [])
    }


class Gateway(Process, Control):
    def __init__(self, container, folder):
        super().__init__(*here(container["args"], folder), env=environment(container))
        self.control_url = self.read("emulator listening on ")
        self.address = self.read("listening on http://")
        self.admin = self.read("admin on http://")

    def status(self, path):
        """The status that the admin listener returns for a path."""
        connection = http.client.HTTPConnection(self.admin, timeout=PATIENCE)
        connection.request("GET", path)
        return connection.getresponse().status

    def until(self, path, status):
        """Polls the admin listener until it returns the status."""
        deadline = time.monotonic() + PATIENCE
        while (found := self.status(path)) != status:
            assert time.monotonic() < deadline, f"{path} still returns {found}"

    def chat(self, **more):
        """Returns a response whose body has not been read."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        messages = [{"role": "user", "content": "hello"}]
        body = {"model": "gemini-2.5-flash", "messages": messages} | more
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        return connection.getresponse()


@contextmanager
def running(container, folder):
    gateway = Gateway(container, folder)
    try:
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.wait()
        gateway.process.stdout.close()
