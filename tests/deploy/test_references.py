"""Tests the references between the manifests, which no schema checks."""

from files import CONTAINERS, DEPLOY, KUBERNETES, KUSTOMIZATION, PODS, options, port

DEPLOYMENT = KUBERNETES["deployment.yaml"]
POD = DEPLOYMENT["spec"]["template"]
LABELS = POD["metadata"]["labels"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINERS["Deployment"]["ports"]}


def test_the_kustomization_lists_every_manifest_except_examples():
    there = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    examples = {name for name in there if ".example." in name}
    assert set(KUSTOMIZATION["resources"]) == there - examples - {"kustomization.yaml"}
    assert KUSTOMIZATION["namespace"] == KUBERNETES["namespace.yaml"]["metadata"]["name"]
    [image] = KUSTOMIZATION["images"]
    assert image["name"] == CONTAINERS["Deployment"]["image"]


def test_all_selectors_match_the_pods_of_the_deployment():
    selectors = [
        DEPLOYMENT["spec"]["selector"]["matchLabels"],
        KUBERNETES["service.yaml"]["spec"]["selector"],
        KUBERNETES["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
        KUBERNETES["network-policy.yaml"]["spec"]["podSelector"]["matchLabels"],
        *(
            constraint["labelSelector"]["matchLabels"]
            for constraint in POD["spec"]["topologySpreadConstraints"]
        ),
    ]
    for selector in selectors:
        assert selector == LABELS
    target = KUBERNETES["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", DEPLOYMENT["metadata"]["name"])


def test_the_resources_that_the_pod_names_exist():
    pod = POD["spec"]
    assert pod["serviceAccountName"] == KUBERNETES["service-account.yaml"]["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    config, keys = KUBERNETES["config.yaml"], KUBERNETES["client-keys.example.yaml"]
    assert volumes["config"]["configMap"]["name"] == config["metadata"]["name"]
    assert volumes["client-keys"]["secret"]["secretName"] == keys["metadata"]["name"]

    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted.keys() == volumes.keys()
    given = options(pod["containers"][0]["args"])
    files = [f"{mounted['config']}/{name}" for name in config["data"]]
    assert files == [given["--config"]]
    assert [f"{mounted['client-keys']}/{name}" for name in keys["stringData"]] == [
        given["--client-key-file"]
    ]


def test_all_ports_are_ports_of_the_gateway():
    [to] = KUBERNETES["service.yaml"]["spec"]["ports"]
    assert to["targetPort"] == "http"
    allowed = [rule["ports"] for rule in KUBERNETES["network-policy.yaml"]["spec"]["ingress"]]
    assert [[entry["port"] for entry in ports] for ports in allowed] == [["http"], ["admin"]]
    assert PORTS.keys() == {"http", "admin"}
    for container in CONTAINERS.values():
        given = options(container["args"])
        listens = {name: given[name] for name in ("--listen", "--admin-listen")}
        numbers = {name: int(address.rsplit(":", 1)[1]) for name, address in listens.items()}
        assert {one["containerPort"] for one in container["ports"]} <= set(numbers.values())
        for probe in (container[name] for name in container if name.endswith("Probe")):
            assert port(container, probe["httpGet"]["port"]) == numbers["--admin-listen"]


def test_containers_have_minimal_privileges():
    for name in ("Deployment", "sidecar"):
        assert PODS[name]["securityContext"]["runAsNonRoot"]
        assert PODS[name]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert CONTAINERS[name]["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_the_program_beside_a_sidecar_uses_the_sidecar():
    [program] = PODS["sidecar"]["containers"]
    environment = {variable["name"]: variable["value"] for variable in program["env"]}
    listen = options(CONTAINERS["sidecar"]["args"])["--listen"]
    assert environment["OPENAI_BASE_URL"] == f"http://{listen}/v1"
