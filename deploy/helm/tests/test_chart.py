"""The chart by itself: lint, golden files, refusals, and that each value does something and is documented."""

import copy
import json
import os
import re

import chart
import documented
import effects
import server
from cases import refused

GOLDEN = chart.HERE / "golden"
WRITE = os.environ.get("WRITE") == "1"
README = chart.CHART / "README.md"
BEGIN, END = "<!-- values -->\n", "\n<!-- end of values -->"


def merged(*layers):
    """Later layers over earlier ones, as helm does it."""
    result = {}
    for layer in layers:
        for name, value in layer.items():
            if isinstance(value, dict) and isinstance(result.get(name), dict):
                result[name] = merged(result[name], value)
            else:
                result[name] = copy.deepcopy(value)
    return result


def test_lint_finds_nothing():
    for name, values in chart.value_sets().items():
        said = chart.command(chart.HELM, "lint", "--strict", chart.CHART, "--kube-version", chart.KUBERNETES, "--values", "-",
                             given=json.dumps(values))
        assert "0 chart(s) failed" in said and "WARNING" not in said and "ERROR" not in said, f"{name}: {said}"


def test_manifests_are_as_written_down():
    """WRITE=1 writes them anew; the difference is for the reviewer."""
    for name, values in chart.value_sets().items():
        rendered, path = chart.template(values), GOLDEN / f"{name}.yaml"
        if WRITE:
            path.write_text(rendered)
        assert rendered == path.read_text(), f"{path} differs: look at it with `make deploy-test WRITE=1` and git diff"
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(chart.value_sets()), "a golden file without its values"


def test_each_value_has_its_effect():
    for path, values, expected, *base in effects.EFFECTS:
        without = chart.template(merged(*base))
        with_it = chart.template(merged(*base, values))
        assert expected in with_it, f"{path}: {expected!r} is missing"
        assert expected not in without, f"{path}: {expected!r} is there without it too"
    for path, values, gone in effects.REMOVALS:
        assert gone in chart.template(), f"{path}: {gone!r} is not there by default"
        assert gone not in chart.template(values), f"{path}: {gone!r} stays"


def test_every_value_is_tested_and_documented():
    tested = {path for path, *_ in effects.EFFECTS + effects.REMOVALS + effects.FIXED}
    there = set(documented.leaves(chart.default_values())) | {"buckets[].profile", "buckets[].etag"}
    assert tested == there, f"untested: {sorted(there - tested)}; unknown: {sorted(tested - there)}"
    silent = [path for path in documented.leaves(chart.default_values()) if not documented.describe(path)]
    assert not silent, f"no comment in values.yaml: {silent}"
    text = README.read_text()
    before, rest = text.split(BEGIN)
    now, after = rest.split(END)
    if WRITE:
        README.write_text(before + BEGIN + documented.table() + END + after)
    else:
        assert now == documented.table(), "the table of the chart's README is old: make deploy-test WRITE=1"


def test_every_value_has_its_type_in_the_schema():
    """A value of another type, and a name that is not known, are refused at every place."""
    free = {"config", "affinity", "global"}
    for path in documented.leaves(chart.default_values()):
        if "[]" in path or path in free:
            continue
        # These have the types of the pod's specification, which the API server knows.
        if path.startswith(("podSecurityContext.", "securityContext.", "resources.")):
            continue
        is_number = type(chart_value(path)) is int or path == "service.nodePort"
        value = "text" if is_number else 12345
        refused(lambda: chart.template(nested(path, value)), path.split(".")[0])


def chart_value(path):
    value = chart.default_values()
    for step in path.split("."):
        value = value[step]
    return value


def nested(path, value):
    for step in reversed(path.split(".")):
        value = {step: value}
    return value


HTTP_ROUTE = {"kind": "HTTPRoute", "parentRefs": [{"name": "e"}], "hostnames": ["s.lan"]}
REFUSED = [
    ({"bukets": []}, "bukets"),
    ({"disks": {"cuont": 2}}, "cuont"),
    ({"disks": {"count": 0}}, "disks"),
    ({"disks": {"count": 65}}, "disks"),
    ({"disks": {"size": "50 GB"}}, "size"),
    ({"disks": {"count": 2, "storageClasses": ["one"]}}, "1 storageClasses for 2 disks"),
    ({"profile": "4-2"}, "profile"),
    ({"buckets": [{"name": "Gitlab"}]}, "buckets"),
    ({"buckets": [{"name": "ok1", "qouta": "1GiB"}]}, "qouta"),
    ({"buckets": [{"name": "ok1", "quota": "much"}]}, "quota"),
    ({"buckets": []}, "names the bucket gitlab-cache, which is not among buckets"),
    ({"keys": [{"name": "a"}]}, "bucket"),
    ({"keys": [{"name": "root", "bucket": "gitlab-cache"}]}, "another key's"),
    ({"keys": [{"name": "a", "bucket": "gitlab-cache", "secret": "s"}, {"name": "b", "bucket": "gitlab-cache", "secret": "s"}]},
     "another key's"),
    ({"tls": {"mode": "auto"}}, "tls"),
    ({"tls": {"mode": "secret"}}, "secretName"),
    ({"tls": {"mode": "certManager"}}, "issuerRef"),
    ({"tls": {"mode": "certManager", "certManager": {"publishCa": False, "issuerRef": {"name": "acme"}}}}, "signs no name of the cluster"),
    ({"tls": {"names": ["https://s3.lan"]}}, "names"),
    ({"ingress": {"enabled": True}}, "hosts"),
    ({"gateway": {"kind": "TLSRoute"}}, "parentRefs"),
    ({"gateway": {"kind": "TLSRoute", "parentRefs": [{"name": "e"}], "hostnames": ["s.lan"]}, "tls": {"mode": "off"}}, "HTTPRoute"),
    ({"serviceAccount": {"create": False}}, "serviceAccount"),
    ({"service": {"type": "ExternalName"}}, "type"),
    ({"service": {"port": 70000}}, "port"),
    ({"gateway": HTTP_ROUTE, "tls": {"mode": "secret", "secretName": "own"}}, "take TLSRoute, or tls.mode builtin"),
    ({"tls": {"names": [f"n{number}.lan" for number in range(40)]}, "ingress": {"enabled": True, "hosts": [
        f"h{number}.lan" for number in range(40)]}}, "64 are the most"),
    ({"config": {"disks": 6}}, "disks"),
    ({"extraEnv": [{"name": "CAIRN_TLS", "value": "off"}]}, "extraEnv"),
    ({"extraEnv": [{"name": "CAIRN_ROOT_KEY_FILE", "value": "/tmp/key"}]}, "extraEnv"),
    ({"extraEnv": [{"name": "CAIRN-X", "value": "1"}]}, "extraEnv"),
    ({"config": {"tls": "off"}}, "tls"),
    ({"config": {"Presign": "1d"}}, "Presign"),
    ({"config": {"presign-expires-max": {"days": 7}}}, "presign-expires-max"),
    ({"image": {"digest": "sha256:12"}}, "digest"),
    ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
    ({"securityContext": {"privileged": True}}, "privileged"),
    ({"logging": {"format": "xml"}}, "format"),
    ({"shutdownLimitSeconds": 0}, "shutdownLimitSeconds"),
]


def test_what_is_wrong_is_refused_by_its_name():
    for values, word in REFUSED:
        refused(lambda: chart.template(values), word)
    for path, values in effects.FIXED:
        refused(lambda: chart.template(values), path.split(".")[-1])


def test_each_setting_of_the_server_is_a_value_or_can_be_set():
    """`config` knows what the server knows and the chart does not set itself; a new setting is decided about here."""
    known = set(json.loads((chart.CHART / "values.schema.json").read_text())["properties"]["config"]["properties"])
    of_the_chart = {"data", "meta", "disk", "disks", "tls", "tls-name", "s3-domain", "s3-listen", "profile", "shutdown-limit", "log-format",
                    "log-level", "root-key-file", "bucket", "key", "kubernetes"}
    assert known | of_the_chart == server.settings() and not known & of_the_chart, known ^ server.settings() ^ of_the_chart


def test_what_the_server_would_refuse_at_its_start_is_refused():
    """A start that fails takes the store away: helm has to say it. test_pod.py asks the server whether it agrees."""
    for values, word, _ in effects.REFUSED_BY_THE_SERVER:
        refused(lambda: chart.template(values), word)
    for values, _ in effects.TAKEN_BY_THE_SERVER:
        chart.template(values)


def test_a_gateway_never_speaks_plain_http_to_a_port_of_tls():
    modes = [{"mode": "builtin"}, {"mode": "certManager", "certManager": {"issuerRef": {"name": "ca"}}},
             {"mode": "certManager", "certManager": {"issuerRef": {"name": "acme"}, "publishCa": False}}, {"mode": "off"}]
    for tls in modes:
        objects = chart.manifests({"gateway": HTTP_ROUTE, "tls": tls})
        policies = [item["spec"] for item in objects if item["kind"] == "BackendTLSPolicy"]
        assert len(policies) == (0 if tls["mode"] == "off" else 1), tls
        for policy in policies:
            validation = policy["validation"]
            if tls["mode"] == "certManager":
                assert validation["hostname"] in certificate_names(objects)[0], validation
            assert ("wellKnownCACertificates" in validation) == (tls.get("certManager", {}).get("publishCa") is False), validation


def test_settings_with_values_of_their_own_are_set_nowhere_else():
    """Neither by `config` nor by a variable, which would go before the file: whatever the chart writes for any values."""
    written = set()
    for values in chart.value_sets().values():
        objects = chart.manifests(values)
        text = chart.one(objects, "ConfigMap", chart.one(objects, "StatefulSet")["metadata"]["name"])["data"]["cairn.toml"]
        written |= set(re.findall(r"^([a-z0-9-]+) = ", text.partition("\n[")[0], re.MULTILINE)) - set(values.get("config", {}))
    assert {"meta", "disk", "s3-listen", "tls-name", "log-level"} <= written, written
    for name in written:
        refused(lambda: chart.template({"config": {name: "x"}}), name)
        refused(lambda: chart.template({"extraEnv": [{"name": f"CAIRN_{name.upper().replace('-', '_')}", "value": "x"}]}), "extraEnv")
    (container,) = chart.one(chart.manifests({"rootKey": {"existingSecret": "mine"}}), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    for variable in container["env"]:
        refused(lambda: chart.template({"extraEnv": [{"name": variable["name"], "value": "x"}]}), "extraEnv")


def test_names_come_from_the_release():
    for release, name in (("cairn", "cairn"), ("my-cairn", "my-cairn"), ("cache", "cache-cairn"), ("a" * 53, "a" * 52)):
        objects = chart.manifests(release=release, namespace="ci")
        assert chart.one(objects, "StatefulSet")["metadata"]["name"] == name
        assert f'secret = "{name}-runner"' in chart.one(objects, "ConfigMap")["data"]["cairn.toml"]
        for item in objects:
            assert item["metadata"]["name"].startswith(name), item["metadata"]
    claims = chart.one(chart.manifests(release="a" * 53), "StatefulSet")
    assert len(claims["metadata"]["name"] + "-0123456789") <= 63, "a StatefulSet labels its pods with name and revision"


def test_no_secret_is_in_the_chart():
    for name, values in chart.value_sets().items():
        assert not [item for item in chart.manifests(values) if item["kind"] == "Secret"], name
    words = re.compile(r"(secret-?key|password|token)\s*[:=]\s*\S{8,}", re.IGNORECASE)
    for path in chart.CHART.rglob("*"):
        if path.is_file() and path.suffix != ".json":
            assert not words.search(path.read_text()), f"{path} looks as if it held a secret"


def test_permissions_name_exactly_what_the_server_writes():
    for name, values in chart.value_sets().items():
        objects = chart.manifests(values)
        toml = [item for item in objects if item["kind"] == "ConfigMap" and "cairn.toml" in item["data"]][0]["data"]["cairn.toml"]
        written = set(re.findall(r'^(?:secret|root-secret|ca-config-map) = "([^"]*)"', toml, re.MULTILINE))
        rules = chart.one(objects, "Role")["rules"]
        assert {item for rule in rules for item in rule["resourceNames"]} == written, name
        assert all(rule["verbs"] == ["get", "create", "patch"] and rule["resourceNames"] for rule in rules), rules
        kinds = [item["kind"] for item in objects]
        assert not {"ClusterRole", "ClusterRoleBinding"} & set(kinds), kinds


def test_the_grace_period_is_over_the_servers_own_limits():
    """What running requests get, then what the server gives its own parts."""
    for seconds in (1, 25, 3600):
        objects = chart.manifests({"shutdownLimitSeconds": seconds})
        pod = chart.one(objects, "StatefulSet")["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] > seconds + server.stop_seconds()


def certificate_names(objects):
    """DNS names and addresses of the Certificate."""
    spec = chart.one(objects, "Certificate")["spec"]
    return spec.get("dnsNames", []), spec.get("ipAddresses", [])


def test_a_public_authority_is_asked_for_given_names_alone():
    public = {"mode": "certManager", "certManager": {"publishCa": False, "issuerRef": {"name": "acme"}}}
    hosts = {"s3Domains": ["s3.lan"], "ingress": {"enabled": True, "hosts": ["in.lan"]},
             "gateway": {"kind": "TLSRoute", "parentRefs": [{"name": "edge"}], "hostnames": ["gate.lan"]}}
    objects = chart.manifests(hosts | {"tls": public | {"names": ["cache.lan", "192.0.2.7", "2001:db8::7"]}})
    assert certificate_names(objects) == (["cache.lan", "s3.lan", "*.s3.lan", "in.lan", "gate.lan"], ["192.0.2.7", "2001:db8::7"])
    # One that clients get the CA of signs names of the cluster too, but no bare host name.
    private = public | {"certManager": public["certManager"] | {"publishCa": True}}
    names, _ = certificate_names(chart.manifests(hosts | {"tls": private}))
    assert {"cairn.default.svc", "*.cairn-nodes.default.svc", "gate.lan"} <= set(names) and "cairn" not in names, names


def test_prometheus_verifies_a_name_that_the_certificate_has():
    monitor = {"monitoring": {"serviceMonitor": {"enabled": True}}}
    issuer = {"issuerRef": {"name": "acme"}}
    table = [
        ({"mode": "builtin", "names": ["cache.lan"]}, "cairn.default.svc", "configMap"),
        ({"mode": "certManager", "certManager": issuer}, "cairn.default.svc", "configMap"),
        ({"mode": "certManager", "names": ["cache.lan"], "certManager": issuer | {"publishCa": False}}, "cache.lan", None),
        ({"mode": "certManager", "names": ["*.lan"], "certManager": issuer | {"publishCa": False}}, "cairn.lan", None),
        ({"mode": "secret", "secretName": "own", "names": ["cache.lan"]}, "cache.lan", "secret"),
        ({"mode": "secret", "secretName": "own"}, "cairn.default.svc", "secret"),
    ]
    for tls, name, authority in table:
        objects = chart.manifests(monitor | {"tls": tls})
        config = chart.one(objects, "ServiceMonitor")["spec"]["endpoints"][0]["tlsConfig"]
        assert config["serverName"] == name and set(config.get("ca", {})) == ({authority} if authority else set()), f"{tls}: {config}"
        if tls["mode"] == "certManager":
            names, _ = certificate_names(objects)
            assert name in names or f"*.{name.partition('.')[2]}" in names, f"{name} is not among {names}"


def test_changed_settings_restart_the_pod_and_nothing_else_does():
    """Buckets and keys are taken up by the running server."""

    def checksum(values):
        template = chart.one(chart.manifests(values), "StatefulSet")["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/settings"]

    assert checksum({}) != checksum({"logging": {"level": "debug"}})
    assert checksum({}) == checksum({"service": {"type": "NodePort"}})
    assert checksum({}) == checksum({"buckets": [{"name": "gitlab-cache"}, {"name": "more"}], "keys": []})
