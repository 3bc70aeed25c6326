"""The contents of the packages, and what describes them."""

import json
import re
import subprocess
import tarfile
import zipfile

import pytest
from conftest import (
    ARCHIVE, BINARY, CERTIFICATES, DEB, DIST, IMAGE, MACHINE, NPM, ROOT, SBOM, TARGET, UV, VERSION, WHEEL,
    digest,
)

TOP = f"vertex-gateway-{VERSION}-{TARGET}"


def test_all_packages_have_the_same_binary(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        archive.extract(f"{TOP}/vertex-gateway", tmp_path / "archive", filter="data")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extract(f"vertex_gateway-{VERSION}.data/scripts/vertex-gateway", tmp_path / "wheel")
    with tarfile.open(NPM[1]) as package:
        package.extract("package/bin/vertex-gateway", tmp_path / "npm", filter="data")
    subprocess.run(["dpkg-deb", "--extract", DEB, tmp_path / "deb"], check=True)

    found = {path.relative_to(tmp_path).parts[0]: digest(path) for path in tmp_path.rglob("*/vertex-gateway")
             if path.is_file() and path.parent.name in (TOP, "scripts", "bin")}
    assert found == dict.fromkeys(("archive", "wheel", "npm", "deb"), digest(BINARY))
    assert digest(IMAGE) == digest(BINARY)


def test_the_sums_are_those_of_all_files():
    listed = (DIST / "SHA256SUMS").read_text()
    names = {path.name for path in DIST.iterdir() if path.is_file()} - {"SHA256SUMS"}
    assert set(re.findall(r"^[0-9a-f]{64}  (.*)$", listed, re.MULTILINE)) == names
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=DIST, check=True)


def test_the_binary_has_no_path_of_this_machine():
    content = BINARY.read_bytes()
    assert b"/cargo/registry/src/" in content
    for path in (str(ROOT), "/.cargo/registry", "/.rustup/"):
        assert path.encode() not in content, path


def test_the_image_has_less_than_20_megabytes():
    # The licences are the only other files.
    assert IMAGE.stat().st_size + CERTIFICATES.stat().st_size < 20_000_000


def test_the_archive_has_the_files_of_no_user():
    with tarfile.open(ARCHIVE) as archive:
        entries = archive.getmembers()
    names = [entry.name.removeprefix(f"{TOP}/") for entry in entries]
    assert names == sorted(names)
    assert {"LICENSE-MIT", "README.md", "gateway.example.toml", "vertex-gateway.cdx.json"} <= set(names)
    assert {"man/vertex-gateway.1", "completions/_vertex-gateway"} <= set(names)
    assert {(entry.uid, entry.gid, entry.uname) for entry in entries} == {(0, 0, "")}
    assert len({entry.mtime for entry in entries}) == 1
    assert [entry.name for entry in entries if entry.mode != 0o644] == [f"{TOP}/vertex-gateway"]


def test_the_sbom_lists_the_crates_of_the_binary():
    bom = json.loads(SBOM.read_text())
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.5")
    crates = {one["name"]: one for one in bom["components"]}
    assert {"ring", "tokio", "tower-vertex", "tikv-jemalloc-sys", "opentelemetry", "tonic"} <= set(crates)
    # It has no crate of another system, and none that only tests or builds use.
    assert not {"windows-sys", "security-framework", "insta", "cc"} & set(crates)
    assert crates["ring"]["hashes"] and crates["ring"]["purl"].startswith("pkg:cargo/ring@")
    assert str(ROOT) not in SBOM.read_text()
    with zipfile.ZipFile(WHEEL) as wheel:
        [inside] = [name for name in wheel.namelist() if ".dist-info/sboms/" in name]
        assert wheel.read(inside) == SBOM.read_bytes()


@pytest.mark.parametrize("system", [f"{MACHINE}-manylinux_2_17", f"{MACHINE}-unknown-linux-musl"])
def test_the_wheel_fits_systems_with_glibc_and_with_musl(system, tmp_path):
    command = [UV, "pip", "install", "--no-cache", "--no-index", "--find-links", DIST, "--target", tmp_path]
    command += ["--python-platform", system, "--python-version", "3.9", "vertex-gateway"]
    subprocess.run(command, check=True)
    assert digest(tmp_path / "bin" / "vertex-gateway") == digest(BINARY)


def test_the_manual_names_the_packages_of_this_version():
    page = (ROOT / "docs" / "install.md").read_text()
    for path in (ARCHIVE, DEB, WHEEL, *NPM):
        name = path.name.replace("aarch64", "x86_64").replace("arm64", "amd64" if path == DEB else "x64")
        assert name in page, name
