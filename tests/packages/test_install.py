"""Installs each package from its file alone, where nothing else of this repository is, up to a first response."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import (
    ARCHIVE, CERTIFICATES, DEB, DIST, EMPTY, IMAGE, NPM, PATIENCE, ROOT, TARGET, UV, VERSION, WHEEL, Shell,
)

# A namespace of its own, in which this user is root.
UNSHARE = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
# Without a cache and without a registry.
PIP = ["pip", "install", "--quiet", "--no-index", "--no-cache-dir", "--disable-pip-version-check"]


def home(folder):
    """The options of a shell in an empty home."""
    folder.mkdir(exist_ok=True)
    return {"cwd": folder, "env": EMPTY | {"HOME": str(folder)}}


def test_the_binary_of_the_archive_serves_in_an_empty_root(tmp_path):
    """The root has the certificates of public authorities, and nothing else: no loader, no shell, no /tmp."""
    shell = Shell("archive", cwd=tmp_path)
    shell.run("tar", "-xzf", ARCHIVE)
    top = f"vertex-gateway-{VERSION}-{TARGET}"
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(tmp_path / top / "vertex-gateway", root)
    (root / "etc" / "ssl" / "certs").mkdir(parents=True)
    shutil.copy(CERTIFICATES, root / "etc" / "ssl" / "certs")
    code, _ = shell.first_response(*UNSHARE, "chroot", root, "/vertex-gateway")
    assert code == 0


def test_pip_installs_the_wheel(tmp_path):
    shell = Shell("wheel, by pip", **home(tmp_path / "home"))
    shell.run(sys.executable, "-m", "venv", "venv")
    shell.run("venv/bin/python", "-m", *PIP, WHEEL)
    code, _ = shell.first_response("venv/bin/vertex-gateway")
    assert code == 0


def test_uvx_runs_the_wheel(tmp_path):
    shell = Shell("wheel, by uvx", **home(tmp_path / "home"))
    uvx = [UV.with_name("uvx"), "--quiet", "--offline", "--python", sys.executable]
    code, _ = shell.first_response(*uvx, "--from", WHEEL, "vertex-gateway")
    assert code == 0


@pytest.fixture(scope="module")
def installed_by_npm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("npm")
    shell = Shell("npm", **home(folder / "home"))
    shell.run("npm", "install", "--silent", "--offline", "--prefix", folder / "project", *NPM)
    return shell, folder / "project"


def test_npx_runs_the_package(installed_by_npm):
    shell, project = installed_by_npm
    code, _ = shell.first_response("npx", "--offline", "--prefix", project, "vertex-gateway")
    assert code in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


def starters(project):
    """The starter under this machine's Node.js, and under the one of `NODE`, which may be newer."""
    program = project / "node_modules" / "vertex-gateway" / "bin" / "vertex-gateway.js"
    versions = {subprocess.check_output([node, "--version"]): node for node in ("node", os.environ.get("NODE", "node"))}
    return [(node, program) for node in versions.values()]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=lambda stop: stop.name)
def test_the_starter_forwards_signals_and_the_exit_code(installed_by_npm, stop):
    shell, project = installed_by_npm
    for starter in starters(project):
        code, _ = Shell(None, **shell.options).first_response(*starter, stop=stop)
        assert code == 0


def test_the_starter_ends_with_the_signal_that_ended_the_gateway(installed_by_npm):
    shell, project = installed_by_npm
    for starter in starters(project):
        # Nothing handles this signal.
        code, _ = Shell(None, **shell.options).first_response(*starter, stop=signal.SIGQUIT)
        assert code == -signal.SIGQUIT


def test_the_starter_passes_arguments_on_and_returns_the_exit_code(installed_by_npm):
    shell, project = installed_by_npm
    for starter in starters(project):
        for arguments in (["--version"], ["--listen", "no such address"], ["--emulator", ""]):
            runs = [
                subprocess.run([*command, *arguments], capture_output=True, **shell.options)
                for command in (starter, [IMAGE])
            ]
            found = [(run.returncode, run.stdout, run.stderr) for run in runs]
            assert found[0] == found[1]
            assert (runs[0].returncode == 0) == (arguments == ["--version"])


def test_without_its_binary_the_starter_says_how_to_install_it(installed_by_npm, tmp_path):
    shell, project = installed_by_npm
    for node, program in starters(project):
        alone = shutil.copy(program, tmp_path)
        done = subprocess.run([node, alone], capture_output=True, **shell.options)
        assert done.returncode == 1
        assert "--include=optional" in done.stderr


@pytest.fixture(scope="module")
def debian(tmp_path_factory):
    """The root of a Debian with systemd and the packages that every Debian has."""
    root = tmp_path_factory.mktemp("debian") / "root"
    command = ["mmdebstrap", "--variant=minbase", "--include=ca-certificates,systemd,procps", "bookworm", root]
    made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert made.returncode == 0, made.stdout
    return root


def test_dpkg_installs_starts_and_removes_the_service(debian):
    shutil.copy(DEB, debian / "tmp")
    inside = [*UNSHARE, "chroot", debian]
    shell = Shell("deb")
    shell.run(*inside, "dpkg", "--install", f"/tmp/{DEB.name}")

    # The user has no password, no shell and no home.
    passwd = (debian / "etc" / "passwd").read_text()
    assert re.search(r"^vertex-gateway:[!x]:\d+:\d+:[^:]*:/:/usr/sbin/nologin$", passwd, re.MULTILINE), passwd
    unit = "/usr/lib/systemd/system/vertex-gateway.service"
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={debian}", unit], capture_output=True, text=True
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    for page in ("man/man1/vertex-gateway.1.gz", "bash-completion/completions/vertex-gateway"):
        assert (debian / "usr" / "share" / page).stat().st_size > 0

    # The command of the unit, as its user.
    [line] = re.findall("^ExecStart=(.*)$", (debian / unit[1:]).read_text(), re.MULTILINE)
    user = ["setpriv", "--reuid=vertex-gateway", "--regid=vertex-gateway", "--clear-groups"]
    code, _ = shell.first_response(*inside, *user, *line.split())
    assert code == 0

    # A change of the configuration stays until the package is purged.
    config = debian / "etc" / "vertex-gateway" / "gateway.toml"
    assert config.read_text() == (ROOT / "gateway.example.toml").read_text()
    config.write_text('project = "mine"\n')
    shell.run(*inside, "dpkg", "--install", f"/tmp/{DEB.name}")
    assert config.read_text() == 'project = "mine"\n'
    shell.run(*inside, "dpkg", "--remove", "vertex-gateway")
    assert not (debian / "usr" / "bin" / "vertex-gateway").exists() and not (debian / unit[1:]).exists()
    assert config.exists()
    shell.run(*inside, "dpkg", "--purge", "vertex-gateway")
    assert not config.parent.exists()


def test_the_image_serves_as_its_user(tmp_path):
    """Lays out what deploy/Containerfile copies into the image, because nothing here runs images."""
    text = (ROOT / "deploy" / "Containerfile").read_text()
    last = text.rpartition("\nFROM scratch\n")[2]
    root = tmp_path / "root"
    for words in re.findall(r"^COPY (.*)$", last, re.MULTILINE):
        source, *more, target = words.removeprefix("--from=builder ").removeprefix("--from=binary ").split()
        for path in (source, *more):
            path = {"/vertex-gateway": IMAGE}.get(path, ROOT / path)
            place = root / target.lstrip("/") / ("" if not target.endswith("/") else path.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    [user] = re.findall(r"^USER (\d+):\d+$", last, re.MULTILINE)
    [entry] = re.findall(r'^ENTRYPOINT \["(.*)"\]$', last, re.MULTILINE)
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    # CI builds without LTO, which makes the binary larger.
    limit = 30_000_000 if os.environ.get("CARGO_PROFILE_RELEASE_LTO") == "off" else 20_000_000
    assert size < limit, size
    code, _ = Shell("image").first_response(*UNSHARE, "chroot", f"--userspec={user}:{user}", root, entry)
    assert code == 0
