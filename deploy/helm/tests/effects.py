"""For each value of the chart: what setting it changes in the manifests.

(value, values to set, text that must be there then and not without them, more values to set both times)
"""

SIX_DISKS = {"disks": {"count": 6}}
MONITOR = {"monitoring": {"serviceMonitor": {"enabled": True}}}
RULES = {"monitoring": {"rules": {"enabled": True}}}
DASHBOARD = {"monitoring": {"dashboard": {"enabled": True}}}
BALANCER = {"service": {"type": "LoadBalancer"}}
CERT_MANAGER = {"tls": {"mode": "certManager", "certManager": {"issuerRef": {"name": "ca"}}}}
PUBLIC = {"tls": {"names": ["s3.lan"], "certManager": {"publishCa": False}}}
INGRESS = {"ingress": {"enabled": True, "hosts": ["s3.lan"]}}
ROUTE = {"gateway": {"kind": "TLSRoute", "parentRefs": [{"name": "edge"}], "hostnames": ["s3.lan"]}}


def bucket(**more):
    return {"buckets": [{"name": "gitlab-cache", **more}]}


def key(**more):
    return {"keys": [{"name": "runner", "bucket": "gitlab-cache", **more}]}


EFFECTS = [
    ("nameOverride", {"nameOverride": "objects"}, "app.kubernetes.io/name: objects"),
    ("fullnameOverride", {"fullnameOverride": "store"}, "name: store-nodes"),
    ("clusterDomain", {"clusterDomain": "lab.internal"}, "cairn.default.svc.lab.internal"),
    ("image.repository", {"image": {"repository": "r.lan/c"}}, 'image: "r.lan/c:'),
    ("image.tag", {"image": {"tag": "v9"}}, 'image: "cairn:v9"'),
    ("image.digest", {"image": {"digest": "sha256:" + "a" * 64}}, 'image: "cairn@sha256:aaa'),
    ("image.pullPolicy", {"image": {"pullPolicy": "Never"}}, "imagePullPolicy: Never"),
    ("imagePullSecrets", {"imagePullSecrets": [{"name": "reg"}]}, "imagePullSecrets:"),
    ("disks.count", {"disks": {"count": 2}}, "mountPath: /var/lib/cairn/disk-1"),
    ("disks.count", {"disks": {"count": 2}}, 'disk = ["/var/lib/cairn/disk-0","/var/lib/cairn/disk-1"]'),
    ("disks.size", {"disks": {"size": "3Ti"}}, "storage: 3Ti"),
    ("disks.storageClass", {"disks": {"storageClass": "ssd"}}, "storageClassName: ssd"),
    ("disks.storageClasses", {"disks": {"storageClasses": ["one"]}}, "storageClassName: one"),
    ("meta.size", {"meta": {"size": "77Gi"}}, "storage: 77Gi"),
    ("meta.storageClass", {"meta": {"storageClass": "safe"}}, "storageClassName: safe"),
    ("profile", {"profile": "4+2"}, 'profile = "4+2"', SIX_DISKS),
    ("buckets[].name", bucket() | {"buckets": [{"name": "gitlab-cache"}, {"name": "other"}]}, 'name = "other"'),
    ("buckets[].cache", bucket(cache=False), "cache = false"),
    ("buckets[].quota", bucket(quota="7TiB"), 'quota = "7TiB"'),
    ("buckets[].profile", bucket(profile="5+1"), 'profile = "5+1"', SIX_DISKS),
    ("buckets[].etag", bucket(etag="fast"), 'etag = "fast"'),
    ("keys[].name", {"keys": [{"name": "ci", "bucket": "gitlab-cache"}]}, "- cairn-ci"),
    ("keys[].bucket", bucket() | key() | {"buckets": [{"name": "zoo"}], "keys": [{"name": "runner", "bucket": "zoo"}]},
     'bucket = "zoo"'),
    ("keys[].prefix", key(prefix="project/7/"), 'prefix = "project/7/"'),
    ("keys[].readOnly", key(readOnly=True), "read-only = true"),
    ("keys[].secret", key(secret="s3access"), "- s3access"),
    ("keys[].secret", key(secret="s3access"), 'secret = "s3access"'),
    ("rootKey.existingSecret", {"rootKey": {"existingSecret": "mine"}}, "name: CAIRN_ROOT_SECRET_KEY"),
    ("tls.mode", {"tls": {"mode": "off"}}, "scheme: HTTP\n"),
    ("tls.mode", {"tls": {"mode": "off"}}, 'tls = "off"'),
    ("tls.names", {"tls": {"names": ["cache.lan"]}}, '"cache.lan"'),
    ("tls.secretName", {"tls": {"mode": "secret", "secretName": "wild"}}, "secretName: wild"),
    ("tls.certManager.issuerRef.name", {"tls": {"certManager": {"issuerRef": {"name": "lab"}}}}, "name: lab", CERT_MANAGER),
    ("tls.certManager.issuerRef.kind", {"tls": {"certManager": {"issuerRef": {"kind": "ClusterIssuer"}}}},
     "kind: ClusterIssuer", CERT_MANAGER),
    ("tls.certManager.issuerRef.group", {"tls": {"certManager": {"issuerRef": {"group": "awspca"}}}},
     "group: awspca", CERT_MANAGER),
    ("tls.certManager.duration", {"tls": {"certManager": {"duration": "99h"}}}, "duration: 99h", CERT_MANAGER),
    ("tls.certManager.renewBefore", {"tls": {"certManager": {"renewBefore": "9h"}}}, "renewBefore: 9h", CERT_MANAGER),
    ("tls.certManager.publishCa", {"tls": {"certManager": {"publishCa": True}}}, 'ca-config-map = "cairn-ca"', CERT_MANAGER, PUBLIC),
    ("tls.certManager.publishCa", {"tls": {"certManager": {"publishCa": True}}}, "- cairn.default.svc\n", CERT_MANAGER, PUBLIC),
    ("s3Domains", {"s3Domains": ["s3.lan"]}, 's3-domain = ["s3.lan"]'),
    ("s3Domains", {"s3Domains": ["s3.lan"]}, '"*.s3.lan"'),
    ("shutdownLimitSeconds", {"shutdownLimitSeconds": 90}, 'shutdown-limit = "90s"'),
    ("shutdownLimitSeconds", {"shutdownLimitSeconds": 90}, "terminationGracePeriodSeconds: 150"),
    ("logging.format", {"logging": {"format": "text"}}, 'log-format = "text"'),
    ("logging.level", {"logging": {"level": "debug"}}, 'log-level = "debug"'),
    ("config", {"config": {"presign-expires-max": "14d"}}, 'presign-expires-max = "14d"'),
    ("config", {"config": {"request-memory": 134217728}}, "request-memory = 134217728\n"),
    ("config", {"config": {"storage-class": ["REDUCED_REDUNDANCY=1+0"]}}, 'storage-class = ["REDUCED_REDUNDANCY=1+0"]'),
    ("extraEnv", {"extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}]}, "name: RUST_BACKTRACE"),
    ("serviceAccount.create", {"serviceAccount": {"create": False, "name": "given"}}, "serviceAccountName: given"),
    ("serviceAccount.name", {"serviceAccount": {"name": "other"}}, "serviceAccountName: other"),
    ("serviceAccount.annotations", {"serviceAccount": {"annotations": {"a/b": "c"}}}, "a/b: c"),
    ("service.type", {"service": {"type": "NodePort"}}, "type: NodePort"),
    ("service.port", {"service": {"port": 443}}, "port: 443\n      targetPort"),
    ("service.nodePort", {"service": {"nodePort": 30900}}, "nodePort: 30900", BALANCER),
    ("service.annotations", {"service": {"annotations": {"a/b": "c"}}}, "a/b: c"),
    ("service.loadBalancerClass", {"service": {"loadBalancerClass": "vip"}}, "loadBalancerClass: vip", BALANCER),
    ("service.loadBalancerSourceRanges", {"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}, "- 10.0.0.0/8", BALANCER),
    ("service.externalTrafficPolicy", {"service": {"externalTrafficPolicy": "Local"}}, "externalTrafficPolicy: Local", BALANCER),
    ("service.ipFamilyPolicy", {"service": {"ipFamilyPolicy": "SingleStack"}}, "ipFamilyPolicy: SingleStack"),
    ("service.ipFamilyPolicy", {"service": {"ipFamilyPolicy": "PreferDualStack"}}, 's3-listen = ["0.0.0.0:9000","[::]:9000"]'),
    ("service.ipFamilyPolicy", {"service": {"ipFamilyPolicy": "RequireDualStack"}}, 's3-listen = ["0.0.0.0:9000","[::]:9000"]'),
    ("networkPolicy.from", {"networkPolicy": {"from": [{"podSelector": {}}]}}, "from:\n"),
    ("networkPolicy.apiServerPorts", {"networkPolicy": {"apiServerPorts": [7443]}}, "port: 7443"),
    ("ingress.enabled", INGRESS, "kind: Ingress"),
    ("ingress.className", {"ingress": {"className": "nginx"}}, "ingressClassName: nginx", INGRESS),
    ("ingress.annotations", {"ingress": {"annotations": {"a/b": "c"}}}, "a/b: c", INGRESS),
    ("ingress.hosts", {"ingress": {"hosts": ["cache.lan"]}}, 'host: "cache.lan"', INGRESS),
    ("ingress.tlsSecret", {"ingress": {"tlsSecret": "edge"}}, "secretName: edge", INGRESS),
    ("gateway.kind", ROUTE, "kind: TLSRoute"),
    ("gateway.kind", {"gateway": {"kind": "HTTPRoute"}}, "kind: BackendTLSPolicy", ROUTE),
    ("gateway.kind", {"gateway": {"kind": "HTTPRoute"}}, "wellKnownCACertificates: System", ROUTE, CERT_MANAGER, PUBLIC),
    ("gateway.parentRefs", {"gateway": {"parentRefs": [{"name": "inner"}]}}, "- name: inner", ROUTE),
    ("gateway.hostnames", {"gateway": {"hostnames": ["cache.lan"]}}, "- cache.lan", ROUTE),
    ("monitoring.serviceMonitor.enabled", MONITOR, "kind: ServiceMonitor"),
    ("monitoring.serviceMonitor.interval", {"monitoring": {"serviceMonitor": {"interval": "7s"}}}, "interval: 7s", MONITOR),
    ("monitoring.serviceMonitor.labels", {"monitoring": {"serviceMonitor": {"labels": {"a": "b"}}}}, "a: b", MONITOR),
    ("monitoring.rules.enabled", RULES, "kind: PrometheusRule"),
    ("monitoring.rules.labels", {"monitoring": {"rules": {"labels": {"a": "b"}}}}, "    a: b\n", RULES),
    ("monitoring.rules.runbookUrl", {"monitoring": {"rules": {"runbookUrl": "https://x.lan"}}},
     "runbook_url: https://x.lan/CairnDown.md", RULES),
    ("monitoring.dashboard.enabled", DASHBOARD, 'grafana_dashboard: "1"'),
    ("monitoring.dashboard.labels.grafana_dashboard",
     {"monitoring": {"dashboard": {"labels": {"grafana_dashboard": "yes"}}}}, 'grafana_dashboard: "yes"', DASHBOARD),
    ("monitoring.dashboard.annotations", {"monitoring": {"dashboard": {"annotations": {"a/b": "c"}}}}, "a/b: c", DASHBOARD),
    ("podDisruptionBudget.enabled", {"podDisruptionBudget": {"enabled": True}}, "kind: PodDisruptionBudget"),
    ("resources.requests.cpu", {"resources": {"requests": {"cpu": "333m"}}}, "cpu: 333m"),
    ("resources.requests.memory", {"resources": {"requests": {"memory": "333Mi"}}}, "memory: 333Mi"),
    ("resources.limits.memory", {"resources": {"limits": {"memory": "3Gi"}}}, "memory: 3Gi"),
    ("podSecurityContext.runAsUser", {"podSecurityContext": {"runAsUser": 777}}, "runAsUser: 777"),
    ("podSecurityContext.runAsGroup", {"podSecurityContext": {"runAsGroup": 777}}, "runAsGroup: 777"),
    ("podSecurityContext.fsGroup", {"podSecurityContext": {"fsGroup": 777}}, "fsGroup: 777"),
    ("podSecurityContext.seccompProfile.type", {"podSecurityContext": {"seccompProfile": {"type": "Localhost"}}},
     "type: Localhost"),
    ("securityContext.capabilities.drop", {"securityContext": {"capabilities": {"drop": ["NET_RAW"]}}}, "- NET_RAW"),
    ("priorityClassName", {"priorityClassName": "high"}, "priorityClassName: high"),
    ("nodeSelector", {"nodeSelector": {"disk": "ssd"}}, "disk: ssd"),
    ("affinity", {"affinity": {"podAntiAffinity": {}}}, "podAntiAffinity: {}"),
    ("tolerations", {"tolerations": [{"operator": "Exists"}]}, "- operator: Exists"),
    ("topologySpreadConstraints", {"topologySpreadConstraints": [{"maxSkew": 3}]}, "- maxSkew: 3"),
    ("podAnnotations", {"podAnnotations": {"a/b": "c"}}, "a/b: c"),
    ("podLabels", {"podLabels": {"a": "b"}}, "a: b"),
]

for _probe in ("startup", "liveness", "readiness"):
    for _name, _number in (("periodSeconds", 111), ("timeoutSeconds", 33), ("failureThreshold", 222)):
        EFFECTS.append((f"probes.{_probe}.{_name}", {"probes": {_probe: {_name: _number}}}, f"{_name}: {_number}"))

# Values whose default puts something there: with these it must be gone.
REMOVALS = [
    ("networkPolicy.enabled", {"networkPolicy": {"enabled": False}}, "kind: NetworkPolicy"),
    ("networkPolicy.apiServerPorts", {"networkPolicy": {"apiServerPorts": []}}, "port: 6443"),
    ("buckets", {"buckets": [], "keys": []}, "[[bucket]]"),
    ("keys", {"keys": []}, "[[key]]"),
    ("keys", {"keys": []}, "cairn-runner"),
    ("serviceAccount.create", {"serviceAccount": {"create": False, "name": "given"}}, "kind: ServiceAccount\nmetadata"),
    ("rootKey.existingSecret", {"rootKey": {"existingSecret": "mine"}}, "cairn-root"),
    ("tls.mode", {"tls": {"mode": "off"}}, "cairn-ca"),
    ("securityContext.readOnlyRootFilesystem", {"securityContext": {"readOnlyRootFilesystem": False}},
     "readOnlyRootFilesystem: true"),
]

# Values that can only be as they are; the schema refuses every other.
FIXED = [
    ("nodes", {"nodes": 3}),
    ("nodes", {"nodes": 0}),
    ("podSecurityContext.runAsNonRoot", {"podSecurityContext": {"runAsNonRoot": False}}),
    ("podSecurityContext.fsGroupChangePolicy", {"podSecurityContext": {"fsGroupChangePolicy": "Always"}}),
    ("securityContext.allowPrivilegeEscalation", {"securityContext": {"allowPrivilegeEscalation": True}}),
]

# Values that a server would not start with: what the chart says of them, and the same in the server's file.
REFUSED_BY_THE_SERVER = [
    ({"profile": "4+2"}, "profile: 4+2 needs 6 disks, there are 1", 'profile = "4+2"'),
    ({"profile": "17+0", "disks": {"count": 64}}, "profile", 'profile = "17+0"'),
    ({"profile": "4+9", "disks": {"count": 64}}, "profile", 'profile = "4+9"'),
    ({"profile": "0+1"}, "profile", 'profile = "0+1"'),
    (bucket(profile="1+1"), "buckets: gitlab-cache: profile: 1+1 needs 2 disks", '[[bucket]]\nname = "abc"\nprofile = "1+1"'),
    (bucket(profile="1+9"), "profile", '[[bucket]]\nname = "abc"\nprofile = "1+9"'),
    ({"buckets": [{"name": "gitlab-cache"}, {"name": "gitlab-cache", "cache": True}]}, "buckets: gitlab-cache is declared twice",
     '[[bucket]]\nname = "abc"\n[[bucket]]\nname = "abc"\ncache = true'),
    ({"keys": [{"name": "a", "bucket": "gitlab-cache", "secret": "s"}, {"name": "a", "bucket": "gitlab-cache", "secret": "t"}]},
     "keys: a is declared twice", "".join(f'[[key]]\nname = "a"\nbucket = "abc"\nfile = "/{name}"\n' for name in "st")),
    (key(prefix="ü" * 513), "has 1026 bytes", f'[[key]]\nname = "a"\nbucket = "abc"\nfile = "/a"\nprefix = "{"ü" * 513}"'),
    (key(prefix="a\0b"), "prefix", '[[key]]\nname = "a"\nbucket = "abc"\nfile = "/a"\nprefix = "a\\u0000b"'),
    (key(secret="a..b"), "secret", '[[key]]\nname = "a"\nbucket = "abc"\nsecret = "a..b"\n[kubernetes]'),
    ({"config": {"some-number": 12}}, "some-number", "some-number = 12"),
    ({"config": {"presign-expires-max": "14 days"}}, "presign-expires-max", 'presign-expires-max = "14 days"'),
    ({"config": {"presign-expires-max": "0s"}}, "presign-expires-max", 'presign-expires-max = "0s"'),
    ({"config": {"snapshot-every": "daily"}}, "snapshot-every", 'snapshot-every = "daily"'),
    ({"config": {"request-memory": 1024}}, "request-memory", "request-memory = 1024"),
    ({"config": {"storage-class": ["STANDARD=1+0"]}}, "storage-class", 'storage-class = ["STANDARD=1+0"]'),
    ({"config": {"storage-class": ["COLD=5+1"]}}, "storage-class COLD: 5+1 needs 6 disks", 'storage-class = ["COLD=5+1"]'),
    ({"config": {"kubernetes-api": "https://api:1/path"}}, "kubernetes-api", 'kubernetes-api = "https://api:1/path"'),
    ({"tls": {"names": ["a..b"]}}, "names", 'tls-name = ["a..b"]'),
    ({"s3Domains": ["-a.lan"]}, "s3Domains", 's3-domain = ["-a.lan"]'),
]
TAKEN_BY_THE_SERVER = [
    ({"profile": "16+8", "disks": {"count": 24}}, None),
    ({"config": {"presign-expires-max": "14d", "snapshot-every": "0s", "request-memory": "1 gib"}},
     'presign-expires-max = "14d"\nsnapshot-every = "0s"\nrequest-memory = "96 mib"'),
    ({"tls": {"names": ["*.cache.lan", "192.0.2.7", "2001:db8::7"]}}, 'tls-name = ["*.cache.lan", "192.0.2.7", "2001:db8::7"]'),
]

for _name in ("a..b", "192.168.1.20", "xn--a", "sthree-a", "amzn-s3-demo-a", "a-s3alias", "a--ol-s3", "a.mrap", "a--x-s3", "a--table-s3"):
    REFUSED_BY_THE_SERVER.append(({"buckets": [{"name": _name}], "keys": []}, "buckets", f'[[bucket]]\nname = "{_name}"'))
for _name in ("a.b-c", "1.2.3.4.5", "999.1.1.1", "a-xn--b", "mrap", "s3alias"):
    TAKEN_BY_THE_SERVER.append(({"buckets": [{"name": _name}], "keys": []}, f'[[bucket]]\nname = "{_name}"'))
for _quota in ("much", "1.5GiB", "1XiB", "16EiB", "99999999999999999999"):
    REFUSED_BY_THE_SERVER.append((bucket(quota=_quota), "quota", f'[[bucket]]\nname = "abc"\nquota = "{_quota}"'))
for _quota in ("none", "1PiB", "2 pb", "15EiB", "1eb", "7p", "7 E", "12kib", "12  KB", "5g", "3tB", "100 b", "100"):
    TAKEN_BY_THE_SERVER.append((bucket(quota=_quota), f'[[bucket]]\nname = "abc"\nquota = "{_quota}"'))
for _level in ("loud", "info,loud", "cairn_meta=loud", "", "info,"):
    REFUSED_BY_THE_SERVER.append(({"logging": {"level": _level}}, "level", f'log-level = "{_level}"'))
for _level in ("off", "info,cairn_meta=debug", "cairn_s3::uri=trace", "warn,openraft=info,h2=error"):
    TAKEN_BY_THE_SERVER.append(({"logging": {"level": _level}}, f'log-level = "{_level}"'))
