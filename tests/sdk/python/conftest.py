"""A `vertex-gateway --emulator` of its own for each test, and a way to talk to its emulator."""

import ipaddress
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import openai
import pytest


def no_calls_out(event, arguments):
    """Nothing that a client does by itself, such as telemetry, leaves this machine."""
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        if not ipaddress.ip_address(arguments[1][0]).is_loopback:
            raise PermissionError(f"a test connects to {arguments[1]}")


sys.addaudithook(no_calls_out)

# With it come the clients: after that, so that it holds for them from the beginning.
from results import Results

# As long as anything here may take that normally takes milliseconds.
PATIENCE = 30.0

# Settings of the person who runs the tests are not for the gateway under test.
FOREIGN = ("GOOGLE_", "GCLOUD_", "VERTEX_", "OPENAI_", "LANGCHAIN_", "LANGSMITH_")
FOREIGN_NAMES = {"PROJECT_ID", "LOCATION", "ENDPOINT"}


def clean_environment():
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN)
        and name not in FOREIGN_NAMES
        and not name.lower().endswith("_proxy")
    }


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """The SDK reads the environment too."""
    kept = clean_environment()
    for name in set(os.environ) - set(kept):
        monkeypatch.delenv(name)


def binary():
    path = os.environ.get("VERTEX_GATEWAY")
    if not path:
        default = Path(__file__).parents[3] / "target" / "release" / "vertex-gateway"
        path = str(default)
    if not Path(path).is_file():
        pytest.exit(
            f"no gateway at {path}: build it with `cargo build --release --features gateway`, "
            "or set VERTEX_GATEWAY to one",
            returncode=2,
        )
    return path


BINARY = binary()


class Gateway:
    """A running gateway. `url` is the base URL for an SDK, `emulator` that of the emulator, and
    `vertex_url` the base URL without the gateway: that of Vertex AI itself."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [BINARY, "--emulator", "--listen", "127.0.0.1:0", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            env=clean_environment() | {"VERTEX_GATEWAY_LOG": "warn"},
            text=True,
        )
        # A gateway that hangs closes its output then, and the reading below ends.
        watchdog = threading.Timer(PATIENCE, self.process.kill)
        watchdog.start()
        self.emulator = self._read("emulator listening on ")
        self.url = self._read("listening on ") + "/v1"
        watchdog.cancel()
        upstream = "v1/projects/emulator/locations/us-central1/endpoints/openapi"
        self.vertex_url = f"{self.emulator}/{upstream}"

    @classmethod
    @contextmanager
    def running(cls, *arguments):
        gateway = cls(*arguments)
        try:
            yield gateway
        finally:
            code = gateway.stop()
        assert code == 0, f"vertex-gateway ended with {code}"

    def _read(self, start):
        for line in self.process.stdout:
            if line.startswith(start):
                return line.removeprefix(start).strip()
        raise RuntimeError(f"vertex-gateway ended without saying {start!r}")

    def stop(self):
        """Asks it to end, and returns its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()

    # The emulator's control. None of it goes through the gateway.

    def control(self, method, name, body=None):
        request = urllib.request.Request(
            f"{self.emulator}/__emulator/{name}",
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

    def set_stream(self, **behavior):
        return self.control("PUT", "faults", {"stream": behavior})

    def set_fault(self, **fault):
        return self.control("PUT", "faults", {"api": fault})

    def token(self):
        """An access token, as one gets it without the gateway."""
        with tempfile.NamedTemporaryFile("w", suffix=".json") as key:
            json.dump(self.control("GET", "service_account_key"), key)
            key.flush()
            return subprocess.check_output(
                [BINARY, "token", "--credentials", key.name],
                env=clean_environment(),
                text=True,
                timeout=PATIENCE,
            ).strip()

    def newest_token_at_work(self):
        """The number of the newest token, if a request has been served with it, else 0.

        If so, the gateway holds it, and no other one is on its way for now.
        """
        served = [r["token_generation"] for r in self.requests() if r["status"] == 200]
        newest = max(served, default=0)
        return newest if newest == self.stats()["token_mints"] else 0

    # The SDK. Without retries of its own, which would hide a failure.

    def client(self):
        return openai.OpenAI(base_url=self.url, api_key="unused", max_retries=0)

    def async_client(self):
        return openai.AsyncOpenAI(base_url=self.url, api_key="unused", max_retries=0)


@pytest.fixture
def start():
    """Starts a gateway with more arguments. It ends with the test, and has to end well."""
    with ExitStack() as running:
        yield lambda *arguments: running.enter_context(Gateway.running(*arguments))


@pytest.fixture
def gateway(start):
    return start()


@pytest.fixture
def client(gateway):
    with gateway.client() as client:
        yield client


def poll(what, deadline=PATIENCE):
    """The first value of `what()` that is true."""
    end = time.monotonic() + deadline
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"still {value!r} after {deadline} s")
        time.sleep(0.01)


def pytest_configure(config):
    # Not in a worker of xdist: the controller gets its reports.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Results())
