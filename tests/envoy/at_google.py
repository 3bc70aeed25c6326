"""Runs the shipped file in a network where Google's host names lead to this machine. The file keeps its
own ports, and trusts only the emulator's certificate. Prints the host and the status of each request."""

import json
import sys
from contextlib import ExitStack
from pathlib import Path

from sidecar import Process
from world import AUTHORITIES, Emulator, Envoy, chat

folder = Path(sys.argv[1])
config = folder / "gateway.toml"
config.write_text(
    """
project = "p1"
location = "us-central1"

[[model]]
name = "google/gemini-2.5-pro"
location = "global"

[[model]]
name = "google/gemini-2.5-flash-lite"
location = "eu"
"""
)
with ExitStack() as stack:
    emulator = Emulator(folder, "--host-aware", "--listen", "127.0.0.1:443")
    stack.callback(emulator.stop)
    gateway = Process("ext-authz", "--config", config, "--credentials", emulator.key)
    stack.callback(gateway.stop)
    gateway.read("listening on grpc://127.0.0.1:8082")
    envoy = Envoy(folder, {AUTHORITIES: str(emulator.authority)})
    stack.callback(envoy.stop)
    with envoy.client() as client:
        for name in ["flash", "pro", "flash-lite"]:
            chat(client, model=f"google/gemini-2.5-{name}")
        emulator.revoke()
        chat(client)
    print(json.dumps([[r["host"], r["status"]] for r in emulator.requests()]))
