"""The parsed files of deploy/."""

from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd" / "vertex-gateway.service"
CONTAINERFILE = DEPLOY / "Containerfile"


class UniqueKeys(yaml.SafeLoader):
    """Refuses duplicate keys. YAML forbids them, but PyYAML takes the last one."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"duplicate key: {node.start_mark}"
        return super().construct_mapping(node, deep)


def load(path):
    return yaml.load(path.read_text(), UniqueKeys)


KUSTOMIZATION = load(DEPLOY / "kubernetes" / "kustomization.yaml")
KUBERNETES = {
    path.name: load(path)
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    if path.name != "kustomization.yaml"
}
CLOUD_RUN = load(DEPLOY / "cloud-run" / "service.yaml")

# The pods in which the gateway runs, and the gateway's container in each of them.
PODS = {
    "Deployment": KUBERNETES["deployment.yaml"]["spec"]["template"]["spec"],
    "sidecar": KUBERNETES["sidecar.example.yaml"]["spec"],
    "Cloud Run": CLOUD_RUN["spec"]["template"]["spec"],
}


def gateway(pod):
    containers = pod.get("initContainers", []) + pod["containers"]
    [found] = [container for container in containers if container["name"] == "vertex-gateway"]
    return found


CONTAINERS = {name: gateway(pod) for name, pod in PODS.items()}


def unit():
    """The unit's settings, as lists because a setting may occur more than once."""
    settings = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, value = line.split("=", 1)
            settings.setdefault(name, []).append(value)
    return settings


def options(arguments):
    """The arguments `--name=value` as a dictionary."""
    split = [argument.split("=", 1) for argument in arguments]
    assert all(len(pair) == 2 for pair in split), arguments
    return dict(split)


def port(container, number_or_name):
    """The number of a port that may be given by its name."""
    named = {one["name"]: one["containerPort"] for one in container["ports"]}
    return named.get(number_or_name, number_or_name)
