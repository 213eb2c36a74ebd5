"""Rendered manifests against the schemas of Kubernetes' versions and of the operators' kinds."""

import copy
import re

import jsonschema
import kubernetes_validate
import yaml

import chart

VERSIONS = [f"1.{minor}" for minor in range(25, 38)]


def strict(schema):
    """A definition's schema as a JSON schema that refuses unknown names, as the API server does when it is strict."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    result = {name: strict(value) for name, value in schema.items() if not name.startswith("x-kubernetes")}
    if isinstance(schema.get("pattern"), str):
        # Go takes the flag anywhere.
        result["pattern"] = schema["pattern"].replace("^(?i)", "(?i)^")
    if schema.get("x-kubernetes-int-or-string"):
        result["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    unknown_allowed = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema and not unknown_allowed:
        result["additionalProperties"] = False
    return result


def definitions():
    """Schemas of the kinds that operators bring, by (apiVersion, kind)."""
    found = {}
    for path in (chart.TOOLS / "crds").glob("*.yaml"):
        for crd in yaml.safe_load_all(path.read_text()):
            for version in crd["spec"]["versions"] if crd else []:
                if version["served"]:
                    schema = copy.deepcopy(version["schema"]["openAPIV3Schema"])
                    schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
                    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
                    key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                    found[key] = strict(schema)
    return found


def test_every_version_of_kubernetes_takes_them():
    own, foreign, kinds = 0, definitions(), set()
    for name, values in chart.value_sets().items():
        objects = chart.manifests(values, kube_version=f"v{VERSIONS[0]}.0")
        assert objects == chart.manifests(values, kube_version=f"v{VERSIONS[-1]}.0"), f"{name}: versions get different manifests"
        for item in objects:
            key = (item["apiVersion"], item["kind"])
            kinds.add(item["kind"])
            if key in foreign:
                jsonschema.validate(item, foreign[key])
                continue
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(item, version, strict=True)
                except Exception as error:
                    raise AssertionError(f"{name}, Kubernetes {version}, {key}: {error}") from error
                own += 1
    assert own > 13 * 5 * 8, own
    wanted = {"ServiceMonitor", "PrometheusRule", "Certificate", "TLSRoute", "HTTPRoute", "BackendTLSPolicy", "Ingress",
              "PodDisruptionBudget", "NetworkPolicy", "StatefulSet", "Role"}
    assert wanted <= kinds, wanted - kinds


def test_the_schemas_see_what_is_wrong():
    objects = chart.manifests(chart.value_sets()["monitored"])
    pod = copy.deepcopy(chart.one(objects, "StatefulSet"))
    pod["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    try:
        kubernetes_validate.validate(pod, "1.33", strict=True)
    except Exception:
        pass
    else:
        raise AssertionError("a misspelt name in a container passed")
    for kind, where in (("ServiceMonitor", ("spec", "endpoints", 0)), ("Certificate", ("spec",)), ("TLSRoute", ("spec",))):
        item = copy.deepcopy(chart.one(objects, kind))
        inner = item
        for step in where:
            inner = inner[step]
        inner["misspelt"] = 1
        try:
            jsonschema.validate(item, definitions()[(item["apiVersion"], item["kind"])])
        except jsonschema.ValidationError:
            continue
        raise AssertionError(f"a misspelt name in {kind} passed")


def test_the_pod_fits_the_restricted_standard():
    """What the Pod Security Standard `restricted` demands, for every set of values."""
    for name, values in chart.value_sets().items():
        pod = chart.one(chart.manifests(values), "StatefulSet")["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        assert not any(pod.get(word) for word in ("hostNetwork", "hostPID", "hostIPC")), name
        assert {next(iter(set(volume) - {"name"})) for volume in pod["volumes"]} <= {"configMap", "secret"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["capabilities"] == {"drop": ["ALL"]} and context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name


def recovery_pod():
    """The pod of the README that brings lost metadata back."""
    text = (chart.CHART / "README.md").read_text()
    (block,) = re.findall(r"^    apiVersion: v1\n    kind: Pod\n(?:    .*\n)+", text, re.MULTILINE)
    return yaml.safe_load(block)


def test_the_recovery_pod_of_the_readme_has_what_the_server_has():
    """Its volumes, its user and its image, for the release that the README is about."""
    pod, stateful = recovery_pod(), chart.one(chart.manifests(), "StatefulSet")
    for version in VERSIONS:
        kubernetes_validate.validate(pod, version, strict=True)
    template = stateful["spec"]["template"]["spec"]
    (server,), (recover,) = template["containers"], pod["spec"]["containers"]
    assert pod["spec"]["securityContext"] == template["securityContext"]
    assert all(recover[name] == server[name] for name in ("image", "env", "volumeMounts")), recover
    assert recover["command"] == server["command"] + ["recover"] + server["args"][1:]
    claims = {claim["metadata"]["name"]: f"{claim['metadata']['name']}-{stateful['metadata']['name']}-0"
              for claim in stateful["spec"]["volumeClaimTemplates"]}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert {name: volumes.pop(name)["persistentVolumeClaim"]["claimName"] for name in claims} == claims
    assert [volumes.pop("config")] == template["volumes"] and set(volumes) == {"key"}
    for container in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
        assert container["securityContext"] == server["securityContext"], container["name"]


def test_parts_point_at_each_other():
    for name, values in chart.value_sets().items():
        objects = chart.manifests(values)
        stateful = chart.one(objects, "StatefulSet")
        labels = stateful["spec"]["template"]["metadata"]["labels"].items()
        assert stateful["spec"]["selector"]["matchLabels"].items() <= labels, name
        services = [item for item in objects if item["kind"] == "Service"]
        assert stateful["spec"]["serviceName"] in {item["metadata"]["name"] for item in services}, name
        ports = {port["name"] for port in stateful["spec"]["template"]["spec"]["containers"][0]["ports"]}
        for service in services:
            assert service["spec"]["selector"].items() <= labels, name
            assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name
        for monitor in (item for item in objects if item["kind"] == "ServiceMonitor"):
            wanted = monitor["spec"]["selector"]["matchLabels"].items()
            assert len([item for item in services if wanted <= item["metadata"]["labels"].items()]) == 1, name
        claims = {claim["metadata"]["name"] for claim in stateful["spec"]["volumeClaimTemplates"]}
        volumes = {volume["name"] for volume in stateful["spec"]["template"]["spec"]["volumes"]}
        mounts = {mount["name"] for mount in stateful["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
        assert mounts == claims | volumes, name
