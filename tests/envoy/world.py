"""The emulator, `vertex-gateway ext-authz` and a real Envoy with the shipped file."""

import http.client
import json
import re
import subprocess
import urllib.request
from contextlib import ExitStack
from importlib import resources
from pathlib import Path

from sidecar import PATIENCE, ROOT, Control, Process, free_port, poll  # Imported first, so that no call leaves this machine.

import openai

FILE = ROOT / "deploy" / "envoy" / "envoy.yaml"
ENVOY = str(resources.files("envoy") / "_bin" / "envoy")

MODEL = "google/gemini-2.5-flash"

# Texts that the shipped file contains once each. The tests replace them by values of this machine.
CLIENTS = "{ address: 127.0.0.1, port_value: 8080 }"
ADMIN = "{ address: 127.0.0.1, port_value: 9901 }"
GATEWAY = "{ address: 127.0.0.1, port_value: 8082 }"
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


def changed(text, changes):
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    return text


class Emulator(Process, Control):
    """Vertex AI over TLS."""

    def __init__(self, folder, *arguments):
        super().__init__("emulator", "--tls", *(arguments or ["--listen", "127.0.0.1:0"]))
        self.address = self.read("emulator listening on https://")
        self.control_url = self.read("emulator control on ")
        self.port = int(self.address.rsplit(":", 1)[1])
        self.authority = folder / "authority.pem"
        certificate = f"{self.control_url}/__emulator/certificate"
        with urllib.request.urlopen(certificate, timeout=PATIENCE) as response:
            self.authority.write_bytes(response.read())
        self.key = folder / "key.json"
        self.key.touch(mode=0o600)
        self.key.write_text(json.dumps(self.control("GET", "service_account_key")))

    def generations(self):
        """Returns the status of each request, and the number of its token."""
        return [(r["status"], r["token_generation"]) for r in self.requests()]


class Envoy:
    def __init__(self, folder, changes):
        self.path = folder / "envoy.yaml"
        self.path.write_text(changed(FILE.read_text(), changes))
        port = r"port_value: (\d+)"
        # The first port in the file is Envoy's own admin listener, and the second is the listener
        # for clients.
        admin, clients = re.findall(port, self.path.read_text())[:2]
        self.admin, self.port = int(admin), int(clients)
        self.log = open(folder / "envoy.log", "w")
        self.process = subprocess.Popen(
            [ENVOY, "-c", str(self.path), "--concurrency", "2", "--use-dynamic-base-id"]
            + ["-l", "warning"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={},
        )
        self.url = f"http://127.0.0.1:{self.port}/v1"
        try:
            poll(self.ready)
        except BaseException:
            self.stop()
            raise

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(Path(self.log.name).read_text())
        try:
            url = f"http://127.0.0.1:{self.admin}/ready"
            return urllib.request.urlopen(url, timeout=PATIENCE).status == 200
        except OSError:
            return False

    def stat(self, name):
        url = f"http://127.0.0.1:{self.admin}/stats?filter=^{name}$"
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            return int(response.read().decode().removeprefix(f"{name}: "))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.log.close()

    # The client does not retry, because a retry would hide a failure.
    def client(self, key="unused"):
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=0, timeout=PATIENCE)

    def post(self, path, body, **headers):
        """Sends a request that no SDK would send. Returns the status, the headers and the body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(
                "POST", path, json.dumps(body), {"content-type": "application/json"} | headers
            )
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()
        finally:
            connection.close()


class World:
    """Runs the three programs and stops them. The gateway must exit with the code 0."""

    def __init__(self, folder):
        self.folder, self.stack = folder, ExitStack()
        self.emulator = Emulator(folder)
        self.stack.callback(self.emulator.stop)
        self.gateway = self.envoy = None
        self.port = free_port()

    def start_gateway(self, *arguments):
        self.gateway = Process(
            *("ext-authz", "--listen", f"127.0.0.1:{self.port}"),
            *("--project", "p1", "--location", "us-central1"),
            *("--upstream", f"https://localhost:{self.emulator.port}"),
            *("--credentials", self.emulator.key),
            # The gateway itself fetches the list of models.
            *("--upstream-ca", self.emulator.authority),
            *arguments,
            log=self.folder / "gateway.log",
        )
        self.gateway.read("listening on ")

    def stop_gateway(self):
        gateway, self.gateway = self.gateway, None
        code = gateway.stop() if gateway else 0
        assert code == 0, f"vertex-gateway ended with {code}"

    def start_envoy(self, changes={}):
        addresses = {
            CLIENTS: f"{{ address: 127.0.0.1, port_value: {free_port()} }}",
            ADMIN: f"{{ address: 127.0.0.1, port_value: {free_port()} }}",
            GATEWAY: f"{{ address: 127.0.0.1, port_value: {self.port} }}",
            AUTHORITIES: str(self.emulator.authority),
        }
        self.envoy = Envoy(self.folder, addresses | changes)
        self.stack.callback(self.envoy.stop)

    def start(self, *arguments, changes={}):
        self.start_gateway(*arguments)
        self.start_envoy(changes)
        return self

    def log(self):
        return (self.folder / "gateway.log").read_text()

    def close(self):
        with self.stack:
            self.stop_gateway()


def chat(client, text="hello", **arguments):
    arguments = {"model": MODEL} | arguments
    return client.chat.completions.create(
        messages=[{"role": "user", "content": text}], **arguments
    )


def said(answer):
    return answer.choices[0].message.content
