"""The API servers that a pod's test can run against: one interface, a stand-in and a real one (cluster.py)."""

import base64
import json
import pathlib
import secrets
import subprocess
import sys

import chart

PORT = 6443


def make_certificate(folder):
    """A CA, and a certificate by it for 127.0.0.1: the paths of the CA, the certificate and its key."""
    folder = pathlib.Path(folder)
    authority, certificate, key = folder / "ca.crt", folder / "api.crt", folder / "api.key"
    new = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
    chart.command(*new, "-keyout", folder / "ca.key", "-out", authority, "-subj", "/CN=ca")
    chart.command(
        *new, "-CA", authority, "-CAkey", folder / "ca.key", "-keyout", key, "-out", certificate, "-subj", "/CN=api",
        "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    return authority, certificate, key


def address():
    """What a pod's environment says of the API server."""
    return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(PORT), "KUBERNETES_SERVICE_PORT_HTTPS": str(PORT)}


def decoded(item):
    """A Secret's or ConfigMap's content as text; None if there is none."""
    if item is None:
        return None
    if item["kind"] == "ConfigMap":
        return item.get("data", {})
    plain = {name: base64.b64decode(text).decode() for name, text in item.get("data", {}).items()}
    return plain | item.get("stringData", {})


class StandIn:
    """The stand-in: the Role is taken from the rendered manifests."""

    name = "a stand-in for the API server"

    def __init__(self, node, folder, namespace=chart.NAMESPACE):
        self.node, self.folder, self.namespace = node, pathlib.Path(folder), namespace
        self.state, self.token, self.process = self.folder / "objects.json", secrets.token_urlsafe(24), None
        self.ca, self.certificate, self.key = make_certificate(self.folder)

    def install(self, values):
        """Takes the manifests in, as `helm install` and `helm upgrade` would; answers them."""
        objects = chart.manifests(values, namespace=self.namespace)
        self.close()
        spec = {"state": str(self.state), "certificate": str(self.certificate), "key": str(self.key), "port": PORT, "token": self.token,
                "namespace": self.namespace, "rules": chart.one(objects, "Role")["rules"]}
        words = self.node.words(sys.executable, chart.HERE / "standin.py", json.dumps(spec))
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE)
        assert self.process.stdout.readline() == b"ready\n"
        return objects

    def uninstall(self):
        """What helm made goes; what the server made is not helm's."""

    def _object(self, resource, name):
        objects = json.loads(self.state.read_text()) if self.state.exists() else {}
        return objects.get(f"{resource}/{name}")

    def secret(self, name):
        return decoded(self._object("secrets", name))

    def config_map(self, name):
        return decoded(self._object("configmaps", name))

    def delete_secret(self, name):
        objects = json.loads(self.state.read_text())
        del objects[f"secrets/{name}"]
        self.state.write_text(json.dumps(objects))

    def put_secret(self, name, data):
        """A Secret that a person made."""
        self._put("Secret", "secrets", name, {part: base64.b64encode(text.encode()).decode() for part, text in data.items()})

    def put_config_map(self, name, data):
        """A ConfigMap that a person made."""
        self._put("ConfigMap", "configmaps", name, data)

    def _put(self, kind, resource, name, data):
        objects = json.loads(self.state.read_text()) if self.state.exists() else {}
        objects[f"{resource}/{name}"] = {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": data}
        self.state.write_text(json.dumps(objects))

    def account(self, _service_account):
        """Files of the service account."""
        return {"token": self.token, "ca.crt": self.ca.read_text(), "namespace": self.namespace}

    def address(self):
        return address()

    def close(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None
