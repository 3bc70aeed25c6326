"""Tests the shipped file with Google's own host names, in a network where they lead to the emulator."""

import json
import os
import subprocess
import sys
from pathlib import Path

from sidecar import BINARY, ROOT

HOSTS = """127.0.0.1 localhost
127.0.0.1 us-central1-aiplatform.googleapis.com aiplatform.googleapis.com aiplatform.eu.rep.googleapis.com
"""


def test_each_model_is_called_at_its_own_host_over_tls(tmp_path):
    (tmp_path / "hosts").write_text(HOSTS)
    inside = 'ip link set lo up && mount --bind "$1/hosts" /etc/hosts && exec "$2" "$3" "$1"'
    script = Path(__file__).with_name("at_google.py")
    # Without root, the kernel must allow user namespaces.
    spaces = ["-m", "-n"] if os.geteuid() == 0 else ["-r", "-m", "-n"]
    run = subprocess.run(
        ["unshare", *spaces, "sh", "-c", inside, "sh", str(tmp_path), sys.executable, str(script)],
        capture_output=True,
        text=True,
        env=os.environ | {"VERTEX_GATEWAY": BINARY, "PYTHONPATH": str(ROOT / "tests" / "python")},
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    central = "us-central1-aiplatform.googleapis.com"
    assert json.loads(run.stdout.splitlines()[-1]) == [
        [central, 200],
        ["aiplatform.googleapis.com", 200],
        ["aiplatform.eu.rep.googleapis.com", 200],
        [central, 401],
        [central, 200],
    ]
