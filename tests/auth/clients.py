"""Runs each client in both ways, and has their results."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sidecar import BINARY, Process

FOLDER = Path(__file__).parent
NODE = os.environ.get("NODE", "node")
# The longest time of a client with all its flows, in seconds.
PATIENCE = 300

CLIENTS = {
    "google-auth (Python)": [sys.executable, FOLDER / "client.py"],
    "google-auth-library 9": [NODE, FOLDER / "client.mjs", "gal9"],
    "google-auth-library 10": [NODE, FOLDER / "client.mjs", "gal10"],
    "google-auth-library 11": [NODE, FOLDER / "client.mjs", "gal11"],
    "the sidecar": [sys.executable, FOLDER / "sidecar_client.py", BINARY],
}
WAYS = ["files only", "Google's names"]


def environment(folder):
    """The variables of a client: none of the person who runs the tests. The libraries look for a project in
    gcloud, too. In place of this machine's, which takes seconds, they find one without any setting."""
    gcloud = folder / "bin" / "gcloud"
    gcloud.parent.mkdir()
    gcloud.write_text("#!/bin/sh\nexit 1\n")
    gcloud.chmod(0o755)
    path = f"{gcloud.parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(folder), "TMPDIR": str(folder)}


def by_files(command, folder):
    """The client calls an emulator at its base URL. No other host is reachable: port 9 has no server."""
    emulator = Process("emulator", "--listen", "127.0.0.1:0")
    try:
        url = emulator.read("emulator listening on ")
        address = url.removeprefix("http://")
        variables = {
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1",
            # google-auth for Python finds the server only with both.
            "GCE_METADATA_HOST": address,
            "GCE_METADATA_IP": address,
        }
        return output([*command, url], environment(folder) | variables)
    finally:
        emulator.stop()


def by_names(command, folder):
    """The client calls Google's own addresses."""
    emulator = [BINARY, "emulator", "--as-google", "--credential", "metadata", "--"]
    return output([*emulator, *command], environment(folder))


def output(command, env):
    command = list(map(str, command))
    ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE)
    if ended.returncode:
        raise RuntimeError(f"{command} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
    lines = map(json.loads, ended.stdout.splitlines())
    return {line.pop("flow"): line for line in lines}


def run_all(folder):
    """The results by client, way and flow."""
    runs = {}
    with ThreadPoolExecutor(max_workers=4) as pool:
        for client, command in CLIENTS.items():
            for way, run in zip(WAYS, [by_files, by_names]):
                own = folder / f"{len(runs)}"
                own.mkdir()
                runs[client, way] = pool.submit(run, command, own)
    return {key: run.result() for key, run in runs.items()}
