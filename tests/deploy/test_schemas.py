"""Tests the files against the schemas and tools of their readers. Each reader is shown to refuse a wrong file."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cloud_run
import jsonschema
import kubernetes_validate
import pytest
from files import CLOUD_RUN, CONTAINERFILE, CONTAINERS, KUBERNETES, ROOT, UNIT
from sidecar import BINARY

# The oldest version that supports the manifests, and the newest that the package knows.
VERSIONS = ("1.29", "1.37")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", KUBERNETES)
def test_a_manifest_is_valid_for_kubernetes(name, version):
    kubernetes_validate.validate(KUBERNETES[name], version, strict=True)


@pytest.mark.parametrize(
    "change",
    [
        lambda container: container["securityContext"].update(readOnlyRootFileSystem=True),
        lambda container: container["readinessProbe"].update(periodSeconds="5"),
        lambda container: container["ports"][0].pop("containerPort"),
    ],
    ids=["a typo", "a wrong type", "a missing field"],
)
def test_a_wrong_deployment_is_refused(change):
    deployment = copy.deepcopy(KUBERNETES["deployment.yaml"])
    change(deployment["spec"]["template"]["spec"]["containers"][0])
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[-1], strict=True)


def test_the_service_is_valid_for_cloud_run():
    cloud_run.validate(CLOUD_RUN)


@pytest.mark.parametrize(
    "change",
    [
        lambda spec: spec["spec"].update(timeoutSecond=1),
        lambda spec: spec["spec"].update(timeoutSeconds="3600"),
        lambda spec: spec["spec"]["containers"][0]["startupProbe"]["httpGet"].update(host="::1"),
        lambda spec: spec["metadata"]["annotations"].update({"run.googleapis.com/ingress": "all"}),
    ],
    ids=["a typo", "a wrong type", "a field that Cloud Run lacks", "an annotation of something else"],
)
def test_a_wrong_service_is_refused(change):
    service = copy.deepcopy(CLOUD_RUN)
    change(service["spec"]["template"])
    with pytest.raises(jsonschema.ValidationError):
        cloud_run.validate(service)


def analyze(command, unit, folder):
    """Runs systemd-analyze on a unit, with the path of the program on this machine."""
    text = unit.replace("ExecStart=vertex-gateway", f"ExecStart={Path(BINARY).resolve()}")
    path = folder / "vertex-gateway.service"
    path.write_text(text)
    run = subprocess.run(
        ["systemd-analyze", "--no-pager", *command, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return run.returncode, run.stdout


def test_systemd_accepts_the_unit_without_a_warning(tmp_path):
    assert analyze(["verify"], UNIT.read_text(), tmp_path) == (0, "")


def test_systemd_accepts_the_file_with_the_secrets(tmp_path):
    """A typo in it would be reported too."""
    folder = tmp_path / "vertex-gateway.service.d"
    folder.mkdir()
    for setting, accepted in (("LoadCredential=", True), ("LoadCredentials=", False)):
        text = UNIT.with_name("secrets.conf").read_text().replace("LoadCredential=", setting)
        (folder / "secrets.conf").write_text(text)
        assert (analyze(["verify"], UNIT.read_text(), tmp_path) == (0, "")) == accepted


@pytest.mark.parametrize(
    "right, wrong",
    [("ProtectHome=", "ProtectHomes="), ("=vertex-gateway ", "=no-such-gateway ")],
    ids=["a typo", "no such program"],
)
def test_systemd_reports_an_error_in_a_unit(right, wrong, tmp_path):
    text = UNIT.read_text()
    assert right in text
    assert analyze(["verify"], text.replace(right, wrong), tmp_path)[1]


def test_the_unit_exposes_little(tmp_path):
    """The threshold is in tenths: 1.5 of systemd's 10.0. Without hardening the unit has 9.6."""
    command = ["security", "--offline=true", "--threshold=15"]
    assert analyze(command, UNIT.read_text(), tmp_path)[0] == 0
    without = re.sub("^(User|DynamicUser|PrivateUsers)=.*$", "", UNIT.read_text(), flags=re.MULTILINE)
    assert analyze(command, without, tmp_path)[0] == 1


def hadolint(path):
    tool = Path(sys.executable).with_name("hadolint")
    return subprocess.run([tool, path], capture_output=True, text=True)


def test_hadolint_accepts_the_containerfile():
    run = hadolint(CONTAINERFILE)
    assert (run.returncode, run.stdout) == (0, "")


def test_hadolint_reports_an_error_in_a_containerfile(tmp_path):
    path = tmp_path / "Containerfile"
    path.write_text(CONTAINERFILE.read_text().replace("ENTRYPOINT [", "ENTRYPOINT sh ["))
    assert "DL3025" in hadolint(path).stdout


def instructions(name):
    lines = CONTAINERFILE.read_text().replace("\\\n", " ").splitlines()
    return [line.split()[1:] for line in lines if line.startswith(f"{name} ")]


def test_the_image_has_the_user_and_ports_of_the_manifests():
    pod = KUBERNETES["deployment.yaml"]["spec"]["template"]["spec"]["securityContext"]
    user = f"{pod['runAsUser']}:{pod['runAsGroup']}"
    assert instructions("USER") == [[user]]
    assert instructions("FROM")[-1] == ["scratch"]
    exposed = {int(port) for [*ports] in instructions("EXPOSE") for port in ports}
    for container in CONTAINERS.values():
        assert {port["containerPort"] for port in container["ports"]} <= exposed
        # The manifests use the entry point of the image.
        assert "command" not in container


def is_in_context(path):
    """Whether .containerignore leaves a file of the repository in the context of the build."""
    lines = (ROOT / ".containerignore").read_text().splitlines()
    patterns = [Path(line.removeprefix("!")) for line in lines if line.startswith("!")]
    return any(
        len(part.parts) == len(pattern.parts) and part.match(str(pattern))
        for part in (path, *path.parents)
        for pattern in patterns
    )


def copied(folder):
    """Copies the files that the Containerfile copies from the context of the build into a folder."""
    for source in instructions("COPY"):
        if not source[0].startswith("--"):
            for path in source[:-1]:
                top = ROOT / path
                for file in [top] if top.is_file() else filter(Path.is_file, top.rglob("*")):
                    name = file.relative_to(ROOT)
                    if is_in_context(name):
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        shutil.copy(file, folder / name)


def cargo(folder):
    """Runs cargo as the Containerfile does, with a compiler that fails."""
    [command] = [words for words in instructions("RUN") if words[:2] == ["cargo", "build"]]
    assert "--locked" in command and "--features" in command
    return subprocess.run(
        [*command, "--offline"],
        cwd=folder,
        env=os.environ | {"RUSTC": "false"},
        capture_output=True,
        text=True,
    ).stderr


def test_the_containerfile_copies_all_files_that_cargo_needs(tmp_path):
    copied(tmp_path)
    assert "`false -vV`" in cargo(tmp_path)
    shutil.rmtree(tmp_path / "examples")
    assert "failed to parse manifest" in cargo(tmp_path)


def test_secrets_beside_the_sources_are_not_in_the_context_of_the_build():
    for name in ("key.json", "target/release/vertex-gateway", "crates/vertex-gateway/key.json"):
        assert not is_in_context(Path(name)), name
