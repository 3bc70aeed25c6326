"""The sidecar with each kind of credentials: its `check` sends a request with a token.

The arguments are the program, and for an emulator at a base URL this URL. The output is as that of client.py.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

PROGRAM, OWN = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
CONTROL = OWN or os.environ["VERTEX_EMULATOR_CONTROL_URL"]
KINDS = {
    "service_account": "service_account_key",
    "authorized_user": "authorized_user",
    "impersonated_service_account": "impersonated_service_account",
    "external_account": "external_account",
    "external_account, impersonates": "external_account_impersonated",
    "external_account_authorized_user": "external_account_authorized_user",
    "metadata server": None,
}
folder = Path(tempfile.mkdtemp())
os.environ.pop("GOOGLE_APPLICATION_CREDENTIALS", None)
os.environ["CLOUDSDK_CONFIG"] = str(folder)


def control(name):
    with urllib.request.urlopen(f"{CONTROL}/__emulator/{name}", timeout=30) as response:
        return response.read().decode()


def check(kind):
    command = [PROGRAM, "check", "--json", "--project=emulator-project", "--location=us-central1"]
    if kind:
        token, path = folder / "subject-token", folder / f"{kind}.json"
        token.write_text(control("subject_token"))
        path.touch(mode=0o600)
        path.write_text(control(f"{kind}?file={token}{'' if OWN else '&at=google'}"))
        command.append(f"--credentials={path}")
    if OWN:
        # A file may name another host for impersonation only with this option.
        command += [f"--upstream={OWN}", "--allow-insecure-token-endpoints"]
    checks = json.loads(subprocess.run(command, capture_output=True, timeout=60).stdout)["checks"]
    failed = [f"{check['name']}: {check['detail']}" for check in checks if check["ok"] is False]
    if failed:
        raise RuntimeError("; ".join(failed))
    return json.loads(control("requests"))[-1]["principal"]


for name, kind in KINDS.items():
    try:
        result = {"principal": check(kind)}
    except Exception as error:
        result = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps({"flow": name, **result}), flush=True)
