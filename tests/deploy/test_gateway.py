"""Tests the files against the vertex-gateway binary."""

import re

import pytest
from files import CONTAINERS, DEPLOY, KUBERNETES, PODS, options, unit
from gateway import here, run, running

HELP = run("serve", "--help").stdout
OPTIONS = set(re.findall(r"--[a-z][a-z-]+", HELP))
ENVIRONMENT = " ".join(re.findall(r"\[(?:also )?env:[^]]*\]|variable\s+\w+", HELP))
VARIABLES = set(re.findall(r"\b[A-Z][A-Z_]+[A-Z]\b", ENVIRONMENT))
PAGE = (DEPLOY.parent / "docs" / "deploy.md").read_text()
FILES = [*DEPLOY.glob("kubernetes/*"), *DEPLOY.glob("cloud-run/*"), *DEPLOY.glob("systemd/*")]


def drained(arguments):
    """Seconds from SIGTERM to the end of the process, if no request finishes earlier."""
    given = options(arguments)
    return int(given.get("--drain-delay", 0)) + int(given["--drain-timeout"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_option_and_variable_is_one_of_the_gateway(path):
    text = path.read_text()
    # Comments are checked as well, except the lines that say how to apply the file.
    text = re.sub("^# (gcloud|kubectl) .*", "", text, flags=re.MULTILINE)
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= OPTIONS
    named = re.findall(r"\b(?:VERTEX_|GOOGLE_)[A-Z_]+", text)
    assert set(named) <= VARIABLES, set(named) - VARIABLES


def test_the_page_names_only_existing_options():
    named = re.findall(r"`(--[a-z][a-z-]+)", PAGE)
    assert named and set(named) <= OPTIONS
    [first_try] = re.findall(r"^podman run .* vertex-gateway (.*)$", PAGE, re.MULTILINE)
    assert set(re.findall(r"--[a-z][a-z-]+", first_try)) <= OPTIONS


def test_the_page_repeats_the_times_of_the_deployment():
    delay = options(CONTAINERS["Deployment"]["args"])["--drain-delay"]
    drained_by = drained(CONTAINERS["Deployment"]["args"])
    grace = PODS["Deployment"]["terminationGracePeriodSeconds"]
    told = re.findall(r"^\| (\d+|up to \d+) \|", PAGE, re.MULTILINE)
    assert told == ["0", delay, f"up to {drained_by}", str(grace)]


def test_each_environment_variable_is_one_of_the_gateway():
    """This includes variables without the prefix of the other test."""
    for container in CONTAINERS.values():
        assert {variable["name"] for variable in container.get("env", [])} <= VARIABLES
    example = (DEPLOY / "systemd" / "environment.example").read_text()
    named = re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)
    assert named and set(named) <= VARIABLES


def test_the_configuration_passes_the_check_command(tmp_path):
    here([], tmp_path)
    check = run("check", "--emulator", f"--config={tmp_path / 'gateway.toml'}")
    assert check.returncode == 0, check.stdout


def test_the_example_keys_are_refused(tmp_path):
    keys = tmp_path / "client-keys"
    keys.write_text(KUBERNETES["client-keys.example.yaml"]["stringData"]["client-keys"])
    refused = run("--emulator", "--listen=127.0.0.1:0", f"--client-key-file={keys}")
    assert refused.returncode == 2
    assert "openssl rand" in refused.stderr


@pytest.mark.parametrize("name", CONTAINERS)
def test_the_probes_succeed(name, tmp_path):
    container = CONTAINERS[name]
    with running(container, tmp_path) as gateway:
        assert gateway.chat().status == 200
        probes = [container[probe] for probe in container if probe.endswith("Probe")]
        assert probes
        for probe in probes:
            gateway.until(probe["httpGet"]["path"], 200)


def test_after_sigterm_the_gateway_is_not_ready_and_ends_with_its_last_stream(tmp_path):
    container = CONTAINERS["Deployment"]
    chunks = 40
    probe = container["readinessProbe"]
    # The stream lasts longer than Kubernetes takes to notice the failing probe.
    noticed = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    with running(container, tmp_path) as gateway:
        gateway.until("/readyz", 200)
        gateway.set_faults(stream={"chunks": chunks, "chunk_delay_ms": noticed * 1000 // chunks + 1})
        answer = gateway.chat(stream=True)
        assert answer.readline().startswith(b"data: ")

        gateway.process.terminate()
        gateway.until("/readyz", 503)
        assert gateway.status("/healthz") == 200
        # New connections still arrive until the nodes have updated their rules.
        gateway.set_faults(stream={})
        assert gateway.chat().status == 200

        rest = answer.read()
        assert rest.count(b"data: ") >= chunks - 1
        assert rest.endswith(b"data: [DONE]\n\n")
        grace = PODS["Deployment"]["terminationGracePeriodSeconds"]
        assert gateway.process.wait(grace) == 0


def test_each_grace_period_leaves_time_to_drain():
    deployment = CONTAINERS["Deployment"]
    grace = PODS["Deployment"]["terminationGracePeriodSeconds"]
    assert drained(deployment["args"]) + 10 <= grace
    # Connections are accepted until Kubernetes has noticed the failing probe.
    probe = deployment["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    assert noticed <= int(options(deployment["args"])["--drain-delay"])

    sidecar = CONTAINERS["sidecar"]
    assert drained(sidecar["args"]) + 10 <= PODS["sidecar"]["terminationGracePeriodSeconds"]
    # The grace period of Cloud Run is fixed at 10 s.
    assert drained(CONTAINERS["Cloud Run"]["args"]) < 10
    [_, *arguments] = unit()["ExecStart"][0].split()
    assert drained(arguments) + 10 <= int(unit()["TimeoutStopSec"][0])


def test_the_gateway_gives_up_before_cloud_run_does():
    timeout = PODS["Cloud Run"]["timeoutSeconds"]
    assert int(options(CONTAINERS["Cloud Run"]["args"])["--response-header-timeout"]) < timeout
