"""A stand-in for the API server: named Secrets and ConfigMaps of one namespace, by GET and server-side apply, for one
token and within the chart's Role. It knows what the server asks for and nothing else.

    standin.py SPEC     JSON: {"state", "certificate", "key", "port", "token", "namespace", "rules"}
"""

import http.server
import json
import pathlib
import ssl
import sys

spec = json.loads(sys.argv[1])
state = pathlib.Path(spec["state"])
KINDS = {"secrets": "Secret", "configmaps": "ConfigMap"}


class Api(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Secrets pass through here: nothing is logged."""

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def refuse(self, status, reason, message):
        self.answer(status, {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": status})

    def serve(self, verb):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.headers.get("Authorization") != f"Bearer {spec['token']}":
            return self.refuse(401, "Unauthorized", "Unauthorized")
        path, _, query = self.path.partition("?")
        parts = path.split("/")
        if parts[:4] != ["", "api", "v1", "namespaces"] or len(parts) != 7 or parts[5] not in KINDS:
            return self.refuse(404, "NotFound", "this stand-in knows named secrets and config maps alone")
        namespace, resource, name = parts[4], parts[5], parts[6]
        objects = json.loads(state.read_text()) if state.exists() else {}
        key = f"{resource}/{name}"
        verbs = ["get"] if verb == "GET" else ["patch"] + ([] if key in objects else ["create"])
        for wanted in verbs:
            if namespace != spec["namespace"] or not self.allowed(wanted, resource, name):
                return self.refuse(403, "Forbidden", f'{resource} "{name}" is forbidden: cannot {wanted}')
        if verb == "GET":
            if key not in objects:
                return self.refuse(404, "NotFound", f'{resource} "{name}" not found')
            return self.answer(200, objects[key])
        if self.headers.get("Content-Type") != "application/apply-patch+yaml" or "fieldManager=" not in query:
            return self.refuse(415, "UnsupportedMediaType", "only server-side apply is known here")
        applied = json.loads(body)
        if applied.get("kind") != KINDS[resource] or applied.get("metadata", {}).get("name") != name:
            return self.refuse(400, "BadRequest", "the object is another than the path's")
        status = 200 if key in objects else 201
        objects[key] = applied
        state.write_text(json.dumps(objects))
        return self.answer(status, applied)

    def allowed(self, verb, resource, name):
        return any(verb in rule["verbs"] and resource in rule["resources"] and name in rule["resourceNames"] for rule in spec["rules"])

    def do_GET(self):
        self.serve("GET")

    def do_PATCH(self):
        self.serve("PATCH")

    def do_POST(self):
        self.refuse(403, "Forbidden", "cannot create by POST")


server = http.server.ThreadingHTTPServer(("127.0.0.1", spec["port"]), Api)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(spec["certificate"], spec["key"])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
