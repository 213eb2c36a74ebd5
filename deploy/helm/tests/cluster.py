"""A real API server with its etcd, with RBAC and Pod Security; no controllers, no scheduler, no kubelet."""

import base64
import json
import pathlib
import secrets
import subprocess
import sys
import time

import yaml

import chart
from api import PORT, address, decoded, make_certificate

ASK = """
import json, ssl, sys, urllib.error, urllib.request
spec = json.load(sys.stdin)
request = urllib.request.Request(spec["url"], method=spec["method"], data=spec["body"].encode() if spec["body"] else None,
    headers={"Authorization": "Bearer " + spec["token"], "Content-Type": spec["type"]})
context = ssl.create_default_context(cafile=spec["ca"])
try:
    answer = urllib.request.urlopen(request, timeout=30, context=context)
except urllib.error.HTTPError as error:
    answer = error
print(json.dumps([answer.status, answer.read().decode()]))
"""


class Cluster:
    """The same interface as the stand-in's; manifests come from `helm install` and are read back from the server."""

    name = "a real API server"

    def __init__(self, node, folder, namespace="ci"):
        self.node, self.folder, self.namespace = node, pathlib.Path(folder), namespace
        self.ca, self.certificate, self.key = make_certificate(self.folder)
        self.admin = secrets.token_urlsafe(24)
        self.processes = []
        self._start()
        self._kubeconfig()
        self.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {
            "name": namespace, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}, namespace="")

    def _start(self):
        folder = self.folder
        chart.command("openssl", "genrsa", "-out", folder / "accounts.key", "2048")
        (folder / "tokens.csv").write_text(f"{self.admin},admin,admin,system:masters\n")
        self._run("etcd", chart.TOOLS / "bin" / "etcd", "--data-dir", folder / "etcd", "--unsafe-no-fsync",
                  "--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
                  "--listen-peer-urls", "http://127.0.0.1:2380")
        self._run("apiserver", chart.TOOLS / "bin" / "kube-apiserver", "--etcd-servers", "http://127.0.0.1:2379",
                  "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", PORT,
                  "--tls-cert-file", self.certificate, "--tls-private-key-file", self.key, "--cert-dir", folder,
                  "--token-auth-file", folder / "tokens.csv", "--authorization-mode", "RBAC",
                  "--service-account-key-file", folder / "accounts.key", "--service-account-signing-key-file", folder / "accounts.key",
                  "--service-account-issuer", "https://kubernetes.default.svc", "--service-cluster-ip-range", "10.43.0.0/16",
                  # Controllers would make this account's default; there are none.
                  "--disable-admission-plugins", "ServiceAccount")
        until = time.monotonic() + 120
        while self.try_ask("GET", "/readyz")[0] != 200:
            assert time.monotonic() < until, (folder / "apiserver.log").read_text()[-3000:]
            time.sleep(0.5)

    def _run(self, name, *words):
        with (self.folder / f"{name}.log").open("w") as log:
            self.processes.append(subprocess.Popen(self.node.words(*words), stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def _kubeconfig(self):
        ca = base64.b64encode(self.ca.read_bytes()).decode()
        self.kubeconfig = self.folder / "kubeconfig"
        self.kubeconfig.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": f"https://127.0.0.1:{PORT}", "certificate-authority-data": ca}}],
            "users": [{"name": "it", "user": {"token": self.admin}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }))

    def try_ask(self, method, path, body=None, token=None, content="application/json"):
        """One request: its status and its answer."""
        spec = {"url": f"https://127.0.0.1:{PORT}{path}", "method": method, "body": json.dumps(body) if body else "", "type": content,
                "token": token or self.admin, "ca": str(self.ca)}
        done = subprocess.run(self.node.words(sys.executable, "-c", ASK), input=json.dumps(spec), capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            return 0, done.stderr
        return tuple(json.loads(done.stdout))

    def ask(self, method, path, body=None, **kwargs):
        """The answer of a request that must succeed; None where there is no such object."""
        status, text = self.try_ask(method, path, body, **kwargs)
        if status == 404:
            return None
        assert status in (200, 201), f"{method} {path}: {status} {text}"
        return json.loads(text)

    def path(self, resource, name="", namespace=None, group="/api/v1"):
        namespace = self.namespace if namespace is None else namespace
        inside = f"/namespaces/{namespace}" if namespace else ""
        return f"{group}{inside}/{resource}" + (f"/{name}" if name else "")

    def create(self, resource, item, namespace=None):
        return self.ask("POST", self.path(resource, namespace=namespace), item)

    def helm(self, *words, values=None):
        """A helm command against the server."""
        command = self.node.words(chart.HELM, *words, "--namespace", self.namespace, "--kubeconfig", self.kubeconfig)
        return chart.command(*command, given=json.dumps(values or {}))

    def install(self, values):
        """`helm upgrade --install`; the release's objects as the server has them."""
        self.helm("upgrade", "--install", chart.RELEASE, chart.CHART, "--values", "-", values=values)
        manifest = [item for item in yaml.safe_load_all(self.helm("get", "manifest", chart.RELEASE)) if item]
        groups = {"StatefulSet": ("/apis/apps/v1", "statefulsets"), "ConfigMap": ("/api/v1", "configmaps")}
        read = []
        for item in manifest:
            if item["kind"] in groups:
                group, resource = groups[item["kind"]]
                read.append(self.ask("GET", self.path(resource, item["metadata"]["name"], group=group)) | {"kind": item["kind"]})
        return read

    def uninstall(self):
        self.helm("uninstall", chart.RELEASE)

    def secret(self, name):
        return decoded(self.ask("GET", self.path("secrets", name)))

    def config_map(self, name):
        return decoded(self.ask("GET", self.path("configmaps", name)))

    def delete_secret(self, name):
        assert self.ask("DELETE", self.path("secrets", name))

    def account(self, service_account):
        """Files of the service account, with a token as the kubelet asks for it."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3607}}
        made = self.ask("POST", self.path("serviceaccounts", service_account) + "/token", request)
        return {"token": made["status"]["token"], "ca.crt": self.ca.read_text(), "namespace": self.namespace}

    def address(self):
        return address()

    def close(self):
        # Its data goes with its folder, so nobody waits for a clean end.
        for process in reversed(self.processes):
            process.kill()
            process.wait()
