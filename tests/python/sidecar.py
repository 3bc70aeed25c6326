"""The program `vertex-gateway` as a process, and the control API of its emulator."""

import ipaddress
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).parents[2]
BINARY = os.environ.get("VERTEX_GATEWAY") or str(ROOT / "target" / "release" / "vertex-gateway")

# The time limit in seconds for operations that normally take milliseconds.
PATIENCE = 30.0


def free_port():
    """A port below the kernel's ephemeral range, so that no other process gets it before it is used."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        first = int(file.read().split()[0])
    for port in random.sample(range(10_000, first), 100):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no free port")


def no_calls_out(event, arguments):
    """Prevents all connections to other machines, such as the telemetry of a client."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        if not ipaddress.ip_address(arguments[1][0]).is_loopback:
            raise PermissionError(f"a test connects to {arguments[1]}")


# This module must be imported first, because the hook affects only later imports.
sys.addaudithook(no_calls_out)


def poll(what, deadline=PATIENCE):
    """Returns the first true value of `what()`."""
    end = time.monotonic() + deadline
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"still {value!r} after {deadline} s")
        time.sleep(0.01)


class Process:
    """A process that prints the address on which it listens. Without `env`, it gets no variables of the
    person who runs the tests."""

    def __init__(self, *arguments, env={"VERTEX_GATEWAY_LOG": "warn,tower_vertex=info,vertex_gateway=info"}, log=None):
        self.log = open(log, "w") if log else None
        self.process = subprocess.Popen(
            [BINARY, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=env,
            text=True,
        )

    def read(self, start):
        """Returns the rest of the next line with this start."""
        # If the process hangs, it is killed. Its output is closed then, and the reading ends.
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        try:
            for line in self.process.stdout:
                if line.startswith(start):
                    return line.removeprefix(start).strip()
            raise RuntimeError(f"{self.process.args} ended without saying {start!r}")
        finally:
            watchdog.cancel()

    def stop(self):
        """Terminates the process, and returns its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()
            if self.log:
                self.log.close()


class Control:
    """Controls the emulator at `control_url` directly, without the tested program."""

    control_url: str

    def control(self, method, name, body=None):
        request = urllib.request.Request(
            f"{self.control_url}/__emulator/{name}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as response:
            return json.load(response)

    def stats(self):
        return self.control("GET", "stats")

    def requests(self):
        return self.control("GET", "requests")

    def revoke(self):
        return self.control("POST", "revoke")

    def set_token(self, **behavior):
        return self.control("PUT", "token", behavior)

    def set_faults(self, **faults):
        return self.control("PUT", "faults", faults)
