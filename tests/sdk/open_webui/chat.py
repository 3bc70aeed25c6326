#!/usr/bin/env python3
"""Starts Open WebUI with nothing but the sidecar's address, and requests its models and a chat.

    VERTEX_GATEWAY=target/debug/vertex-gateway target/open-webui/bin/python tests/sdk/open_webui/chat.py

The Python that runs it must have the package `open-webui`. The other variables only prevent calls of other
machines, and a login.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "python"))

from sidecar import Control, Process, poll

QUIET = {
    "ANONYMIZED_TELEMETRY": "false",
    "DO_NOT_TRACK": "true",
    "ENABLE_VERSION_UPDATE_CHECK": "false",
    "HF_HUB_OFFLINE": "1",
    "OFFLINE_MODE": "true",
    "SCARF_NO_ANALYTICS": "true",
    "WEBUI_AUTH": "false",
    "WEBUI_SECRET_KEY": "unused",
}


class Gateway(Process, Control):
    def __init__(self):
        super().__init__("--emulator", "--listen", "127.0.0.1:0")
        self.control_url = self.read("emulator listening on ")
        self.url = self.read("listening on ")


class OpenWebUI:
    def __init__(self, base_url, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.token = None
        self.log = open(folder / "log", "w")
        program = Path(sys.executable).with_name("open-webui")
        self.process = subprocess.Popen(
            [program, "serve", "--host", "127.0.0.1", "--port", str(self.port)],
            cwd=folder,
            env={
                **QUIET,
                "DATA_DIR": str(folder),
                "HOME": str(folder),
                "OPENAI_API_BASE_URL": base_url,
                "OPENAI_API_KEY": "unused",
                "PATH": os.environ["PATH"],
            },
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )

    def call(self, method, path, body=None):
        headers = {"content-type": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers=headers,
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.read().decode()

    def ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"Open WebUI ended with {self.process.returncode}")
        try:
            return self.call("GET", "/health")
        except OSError:
            return None

    def sign_in(self):
        """Without logins, every user is the administrator."""
        account = {"email": "", "password": ""}
        self.token = json.loads(self.call("POST", "/api/v1/auths/signin", account))["token"]


def main():
    began = time.monotonic()
    gateway = Gateway()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        webui = OpenWebUI(f"{gateway.url}/v1", Path(folder))
        try:
            poll(webui.ready, deadline=240)
            print(f"started in {time.monotonic() - began:.0f} s")
            webui.sign_in()
            models = [model["id"] for model in json.loads(webui.call("GET", "/api/models"))["data"]]
            print(f"{len(models)} models: {', '.join(models[:8])}")
            model = next(model for model in models if "gemini-2.5-flash" in model)
            asked = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
            answer = json.loads(webui.call("POST", "/api/chat/completions", asked | {"stream": False}))
            text = answer["choices"][0]["message"]["content"]
            print(f"{model}: {text}")
            assert text.endswith("You said: hello"), text
            stream = webui.call("POST", "/api/chat/completions", asked | {"stream": True})
            chunks = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data: {")]
            choices = [choice for chunk in chunks for choice in chunk.get("choices", [])]
            said = "".join(choice["delta"].get("content") or "" for choice in choices)
            print(f"{model}, in a stream of {len(chunks)} chunks: {said}")
            assert said.endswith("You said: hello"), said
        except BaseException:
            print(Path(folder, "log").read_text()[-5000:], file=sys.stderr)
            raise
        finally:
            webui.process.terminate()
            webui.process.wait(30)
            assert gateway.stop() == 0
    print(f"done in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
