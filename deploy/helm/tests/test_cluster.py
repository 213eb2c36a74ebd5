"""The chart on a real API server: installed by helm with RBAC on, its pod run with its own service account's token."""

import json

import chart
import test_pod
from cases import refused
from cluster import Cluster
from test_pod import check, install_and_use, key_of, place


def test_the_pod_serves_a_runner_and_loses_nothing():
    with place(Cluster) as there:
        key = install_and_use(there)
        test_pod.live_through_crashes(there, key)
        test_pod.live_through_an_upgrade(there, key)
        test_pod.live_through_a_reinstall(there, key)
        test_pod.take_up_declared(there, key)
        print(f"   (against {there.api.name}; {check(there, key)} acknowledged objects found again)")


def test_the_role_is_enough_and_no_more():
    with place(Cluster) as there:
        there.run({})
        key = key_of(there)
        api = there.api
        token = api.account("cairn")["token"]
        apply = "application/apply-patch+yaml"

        def status(method, path, body=None, content="application/json"):
            return api.try_ask(method, path, body, token=token, content=content)[0]

        def secret(name):
            return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": {}}

        assert status("GET", api.path("secrets", "cairn-runner")) == 200
        assert status("GET", api.path("secrets")) == 403, "all secrets can be listed"
        assert status("GET", api.path("secrets", "other")) == 403
        assert status("POST", api.path("secrets"), secret("other")) == 403, "any secret can be made"
        assert status("POST", api.path("secrets"), secret("cairn-runner")) == 403
        other = api.path("secrets", "other") + "?fieldManager=cairn"
        assert status("PATCH", other, secret("other"), apply) == 403, "a secret of another name can be applied"
        assert status("DELETE", api.path("secrets", "cairn-runner")) == 403
        assert status("PATCH", api.path("configmaps", "cairn") + "?fieldManager=cairn", {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cairn"}, "data": {"cairn.toml": ""}}, apply) == 403
        assert status("GET", api.path("secrets", "cairn-runner", namespace="default")) == 403
        assert status("GET", api.path("pods")) == 403
        assert api.secret("cairn-runner") == key
        managers = {entry["manager"] for entry in api.ask("GET", api.path("secrets", "cairn-runner"))["metadata"]["managedFields"]}
        assert managers == {"cairn"}, managers
        notes = api.helm("get", "notes", chart.RELEASE)
        assert 'ServerAddress = "cairn.ci.svc:9000"' in notes and "secretName: cairn-runner" in notes, notes
        for secret_text in (key["secretkey"], api.secret("cairn-root")["secretkey"]):
            for what in ("values", "manifest", "notes"):
                assert secret_text not in api.helm("get", what, chart.RELEASE), f"a secret is in helm get {what}"


def test_every_set_of_values_is_taken_by_the_server():
    """By a server-side dry run of each object that the server itself knows; of the pod under the restricted standard."""
    groups = {"v1": "/api/v1", "apps/v1": "/apis/apps/v1", "rbac.authorization.k8s.io/v1": "/apis/rbac.authorization.k8s.io/v1",
              "networking.k8s.io/v1": "/apis/networking.k8s.io/v1", "policy/v1": "/apis/policy/v1"}
    plurals = {"NetworkPolicy": "networkpolicies", "Ingress": "ingresses"}
    with place(Cluster) as there:
        api, taken = there.api, 0
        for name, values in chart.value_sets().items():
            for item in chart.manifests(values, namespace=api.namespace):
                if item["apiVersion"] not in groups:
                    continue
                resource = plurals.get(item["kind"], item["kind"].lower() + "s")
                path = api.path(resource, group=groups[item["apiVersion"]]) + "?dryRun=All&fieldValidation=Strict"
                status, text = api.try_ask("POST", path, item)
                assert status == 201, f"{name}: {item['kind']}: {text}"
                taken += 1
                if item["kind"] == "StatefulSet":
                    template = item["spec"]["template"]
                    claims = [{"name": claim["metadata"]["name"], "emptyDir": {}} for claim in item["spec"]["volumeClaimTemplates"]]
                    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"] | {"name": "pod"},
                           "spec": template["spec"] | {"volumes": template["spec"]["volumes"] + claims}}
                    pod["spec"].pop("priorityClassName", None)
                    status, text = api.try_ask("POST", api.path("pods") + "?dryRun=All&fieldValidation=Strict", pod)
                    assert status == 201, f"{name}: the pod: {text}"
        assert taken >= 40, taken


def test_volumes_change_as_the_readme_says():
    """helm alone is refused; with the StatefulSet removed and its pods left, it passes."""
    with place(Cluster) as there:
        api = there.api
        api.install({})
        grown = {"disks": {"size": "200Gi"}}
        refused(lambda: api.install(grown), "Forbidden", "updates to statefulset spec")
        path = api.path("statefulsets", "cairn", group="/apis/apps/v1") + "?propagationPolicy=Orphan"
        api.ask("DELETE", path)
        # Its finalizer is what the garbage collector takes off, and there is none here.
        found = api.ask("GET", path)
        if found:
            api.ask("PATCH", path.partition("?")[0], {"metadata": {"finalizers": None}}, content="application/merge-patch+json")
        (stateful,) = [item for item in api.install(grown) if item["kind"] == "StatefulSet"]
        sizes = [claim["spec"]["resources"]["requests"]["storage"] for claim in stateful["spec"]["volumeClaimTemplates"]]
        assert sizes == ["10Gi", "200Gi"], sizes


def test_what_the_schema_refuses_helm_does_not_install():
    with place(Cluster) as there:
        refused(lambda: there.api.install({"nodes": 3}), "nodes")
        assert json.loads(there.api.helm("list", "--all", "--output", "json")) == []
