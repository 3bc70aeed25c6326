"""The workflow that releases, which only GitHub can run."""

import re
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
ACTIONLINT = Path(sys.executable).with_name("actionlint")


def actionlint(*paths):
    command = [ACTIONLINT, "-no-color", "-shellcheck=", "-pyflakes=", *paths]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_actionlint_accepts_the_workflow():
    paths = sorted(WORKFLOWS.glob("*.yml"))
    assert paths
    done = actionlint(*paths)
    assert (done.returncode, done.stdout) == (0, "")


def test_actionlint_reports_an_error_in_a_workflow(tmp_path):
    path = tmp_path / "release.yml"
    text = (WORKFLOWS / "release.yml").read_text()
    path.write_text(text.replace("needs: [build]", "needs: [biuld]", 1))
    assert "biuld" in actionlint(path).stdout


def test_each_action_is_pinned_and_each_job_has_few_permissions():
    text = (WORKFLOWS / "release.yml").read_text()
    for action in re.findall(r"uses: (\S+)", text):
        assert re.fullmatch(r"[\w./-]+@(v\d[\w.]*|release/v\d|[0-9a-f]{40})", action), action
    assert re.search(r"^permissions: \{\}$", text, re.MULTILINE)
    # Publishing is by short-lived identities: there is no secret to lose.
    assert set(re.findall(r"secrets\.(\w+)", text)) <= {"GITHUB_TOKEN"}
