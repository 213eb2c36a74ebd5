"""The rendered pod as a process: a runner's cache flow over TLS, crashes, upgrades and reinstalls lose nothing.

Against a stand-in for the API server; with KUBE=1 test_cluster.py does the same with a real one.
"""

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import tempfile
import time
import tomllib

import yaml

import chart
import effects
import test_chart
import test_manifests
import test_monitoring
from api import StandIn
from cases import refused
from pod import VOLUME_BYTES, Node, Pod, Volumes, bytes_of, dockerfile

OBJECTS = chart.HERE / "objects.py"
BUCKET, KEY_SECRET = "gitlab-cache", "cairn-runner"


class Place:
    """A node with an API server, and what is needed to start pods on it."""

    def __init__(self, folder, make_api):
        self.folder = pathlib.Path(folder)
        # The pod's user reaches its volumes from here.
        self.folder.chmod(0o755)
        self.node, self.volumes = Node(), Volumes(self.folder / "volumes")
        (self.folder / "api").mkdir()
        self.api = make_api(self.node, self.folder / "api")
        self.pod = None

    def run(self, values, volume_kind="block"):
        """Installs or upgrades the release and starts its pod."""
        self.pod = Pod(self.api.install(values), self.folder, self.node, self.api, self.volumes, volume_kind)
        return self.pod.start()

    def close(self):
        try:
            if self.pod:
                self.pod.close()
            self.api.close()
            self.node.close()
        finally:
            self.volumes.close()


@contextlib.contextmanager
def place(make_api=StandIn):
    """A place in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="cairn-pod-") as folder:
        there = Place(folder, make_api)
        try:
            yield there
        finally:
            there.close()


def wait_for(what, seconds=60):
    """What is made within a while; the server writes to the API server beside serving."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = what()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError(f"nothing came within {seconds} s")


def key_of(there, secret=KEY_SECRET):
    try:
        found = wait_for(lambda: there.api.secret(secret))
    except AssertionError as error:
        raise AssertionError(f"the Secret {secret} was not written:\n{there.pod.last_lines()}") from error
    assert set(found) == {"accesskey", "secretkey"} and all(found.values()), set(found)
    return found


def check(there, key):
    """Every acknowledged object is there, byte for byte."""
    return int(there.pod.client(key, OBJECTS, "check", BUCKET, there.folder / "acknowledged"))


def load_until_killed(there, key, seed, seconds):
    """Writes objects and kills the server in the midst of it."""
    log = there.folder / "acknowledged"
    writer = there.pod.client(key, OBJECTS, "put", BUCKET, log, 60, seed, wait=False)
    before = len(log.read_text().splitlines()) if log.exists() else 0
    wait_for(lambda: log.exists() and len(log.read_text().splitlines()) >= before + 5)
    time.sleep(seconds)
    there.pod.kill()
    said, complaint = writer.communicate(timeout=90)
    assert writer.returncode == 0 and "the server is gone" in said, said + complaint


def install_and_use(there):
    """First start with no values at all: all that the chart promises is there. Answers the runner's key."""
    pod = there.run({})
    key = key_of(there)
    root = key_of(there, "cairn-root")
    assert root["accesskey"] != key["accesskey"]
    ca = wait_for(lambda: there.api.config_map("cairn-ca"))["ca.crt"]
    assert ca.startswith("-----BEGIN CERTIFICATE-----"), ca
    pod.runner(key, BUCKET)
    for secret in (key["secretkey"], root["secretkey"]):
        assert secret not in pod.log.read_text(), "a secret is in the log"
    return key


def live_through_crashes(there, key):
    """kill -9 under load, again and again."""
    for seed in range(3):
        load_until_killed(there, key, seed, 0.3 * seed)
        there.run({})
        assert key_of(there) == key
        check(there, key)


def live_through_an_upgrade(there, key):
    """Other settings: the pod is stopped in its grace period and started from the new manifests."""
    (before,) = {found.stat().st_ino for found in [there.pod.claim("meta")]}
    code = there.pod.stop()
    assert code == 0, f"ended with {code}:\n{there.pod.last_lines()}"
    there.run({"logging": {"level": "debug"}, "shutdownLimitSeconds": 10, "tls": {"names": ["cache.lan"]}})
    assert there.pod.claim("meta").stat().st_ino == before
    assert key_of(there) == key, "an upgrade changed the key"
    check(there, key)
    there.pod.client(key, OBJECTS, "put", BUCKET, there.folder / "acknowledged", 1, 10)
    check(there, key)


def live_through_a_reinstall(there, key):
    """Uninstalled and installed again over kept volumes; the second time the Secret is gone too."""
    ca = there.api.config_map("cairn-ca")
    for secret_is_gone in (False, True):
        assert there.pod.stop() == 0
        there.api.uninstall()
        if secret_is_gone:
            there.api.delete_secret(KEY_SECRET)
        there.run({})
        assert key_of(there) == key, f"a reinstall changed the key (its Secret gone: {secret_is_gone})"
        assert there.api.config_map("cairn-ca") == ca
        check(there, key)


def take_up_declared(there, key):
    """A bucket and a key more: the running server takes them up, and the pod stays."""
    more = {
        "buckets": [{"name": BUCKET, "cache": True, "quota": "40GiB"}, {"name": "backups"}],
        "keys": [{"name": "runner", "bucket": BUCKET}, {"name": "laptop", "bucket": "backups", "prefix": "laptop/"}],
    }
    process = there.pod.process
    there.pod.update(there.api.install(more))
    laptop = key_of(there, "cairn-laptop")
    assert there.pod.process is process and process.poll() is None
    assert laptop["accesskey"] != key["accesskey"] and key_of(there) == key
    there.pod.client(laptop, chart.HERE / "scope.py", "backups", "laptop/")
    check(there, key)


def test_the_pod_serves_a_runner_and_loses_nothing():
    with place() as there:
        key = install_and_use(there)
        live_through_crashes(there, key)
        live_through_an_upgrade(there, key)
        live_through_a_reinstall(there, key)
        take_up_declared(there, key)
        print(f"   (against {there.api.name}; {check(there, key)} acknowledged objects found again)")


def test_the_pod_has_the_rights_that_the_chart_gives_it_and_needs_no_more():
    with place() as there:
        pod = there.run({})
        key_of(there)
        about = pod.status_of_process()
        assert about["Uid"].split() == ["65532"] * 4 and about["Gid"].split() == ["65532"] * 4, about["Uid"]
        assert all(int(about[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")) and about["NoNewPrivs"] == "1"
        try:
            pod.exec("sh", "-c", "touch /tmp/file")
        except RuntimeError as error:
            assert "Read-only file system" in str(error)
        else:
            raise AssertionError("the root file system can be written")
        assert BUCKET in pod.exec("cairn", "bucket", "list")
        assert "ready" in pod.exec("cairn", "healthcheck")
        status = json.loads(pod.exec("cairn", "status", "--json"))
        assert len(status["disks"]) == 1, status
        for folder in (pod.claim("meta"), pod.claim("disk-0")):
            owners = {path.lstat().st_uid for path in folder.rglob("*") if path.name != "lost+found"}
            assert owners == {65532}, owners


def test_nothing_lands_in_the_volumes_of_the_image():
    """They go with the pod, and nobody looks there: above all not for a root key."""
    with place() as there:
        pod = there.run({})
        key_of(there, "cairn-root")
        volumes = [pod.image_volume(name) for name in dockerfile.configuration()["Volumes"]]
        assert volumes and not [path for volume in volumes for path in volume.rglob("*")], volumes
        assert set(dockerfile.environment()) <= set(pod.environment_of_process()), "the pod inherits nothing: no slip would show"


def test_both_families_are_served_where_the_service_has_both():
    with place() as there:
        pod = there.run({"service": {"ipFamilyPolicy": "PreferDualStack"}})
        key_of(there)
        assert [pod.probe("readinessProbe", host) for host in ("127.0.0.1", "[::1]")] == ["200", "200"]
        assert "ready" in pod.exec("cairn", "healthcheck")


def test_memory_and_metrics_after_the_runners_flow():
    with place() as there:
        pod = there.run({})
        key = key_of(there)
        pod.runner(key, BUCKET)
        used = int(pod.status_of_process()["VmHWM"].split()[0]) << 10
        limit = bytes_of(pod.container["resources"]["limits"]["memory"])
        print(f"   (at most {used >> 20} MiB of {limit >> 20})")
        assert used < limit, f"{used >> 20} MiB"
        page = pod.metrics()
        there_is = set(re.findall(r"^([a-z0-9_]+)[{ ]", page, re.MULTILINE))
        missing = test_monitoring.metric_names() - there_is - test_monitoring.FOREIGN
        assert not missing, f"alerts or dashboard name what the server does not have: {missing}"


def test_it_starts_on_local_path_and_stays_ready():
    """A folder of mode 777 that belongs to root, and no fsGroup."""
    with place() as there:
        there.run({}, "local-path")
        key = key_of(there)
        load_until_killed(there, key, 7, 0.2)
        there.run({}, "local-path")
        check(there, key)


def recovery_containers():
    """The containers of the README's pod, in their order, each as the only one of a StatefulSet that has the pod's volumes."""
    pod = test_manifests.recovery_pod()
    claims = [{"metadata": {"name": volume["name"]}} for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    volumes = [volume for volume in pod["spec"]["volumes"] if "persistentVolumeClaim" not in volume]
    for container in pod["spec"]["initContainers"] + pod["spec"]["containers"]:
        spec = pod["spec"] | {"containers": [container], "volumes": volumes}
        yield {"kind": "StatefulSet", "metadata": {"name": "cairn"}, "spec": {"volumeClaimTemplates": claims, "template": {"spec": spec}}}


def test_lost_metadata_comes_back_as_the_readme_says():
    """With the README's own commands and its pod."""
    with place() as there:
        pod = there.run({})
        key = key_of(there)
        pod.client(key, OBJECTS, "put", BUCKET, there.folder / "acknowledged", 2)
        pod.exec("cairn", "snapshot", "create")
        (copy,) = re.findall(r"kubectl exec cairn-0 -c keeper -- (.*) >secret\.key\n", test_chart.README.read_text())
        kept = pod.beside(*copy.split())
        said = int(re.search(r"`secret\.key` has (\d+) bytes", test_chart.README.read_text())[1])
        assert len(kept.encode()) == said, kept
        authority = there.api.config_map("cairn-ca")
        assert pod.stop() == 0
        there.volumes.remove(pod.claim("meta"))
        refused(lambda: there.run({}), "holds the disk of a cluster, but its metadata is not in /var/lib/cairn/meta")
        there.pod.close()

        configuration = [item for item in there.pod.objects if item["kind"] == "ConfigMap"]
        key_file, recover = (Pod(configuration + [stateful], there.folder, there.node, there.api, there.volumes)
                             for stateful in recovery_containers())
        refused(recover.run, "the key file /var/lib/cairn/meta/keys/secret.key is gone")
        there.api.put_secret("cairn-recover", {"secret.key": kept})
        key_file.run()
        assert "recovered the metadata as it was at" in recover.run()
        there.run({})
        wait_for(lambda: there.api.config_map("cairn-ca") != authority)
        assert key_of(there) == key
        print(f"   ({check(there, key)} objects came back)")

        # The volume is there and its metadata is not: the runbook has another command for the pod's first container.
        assert there.pod.stop() == 0
        for voter in there.pod.claim("meta").glob("voter-*"):
            shutil.rmtree(voter)
        refused(lambda: there.run({}), "the metadata in /var/lib/cairn/meta/voter-2 is gone")
        there.pod.close()
        page = (test_monitoring.RUNBOOKS / "CairnDown.md").read_text()
        key_file.container["command"] = yaml.safe_load(re.search(r"`command: (\[.*\])`", page)[1])
        key_file.run()
        recover.run()
        there.run({})
        check(there, key)


def test_two_of_six_disks_may_go():
    six = {"disks": {"count": 6, "size": "2Gi"}}
    with place() as there:
        pod = there.run(six)
        key = key_of(there)
        pod.client(key, OBJECTS, "put", BUCKET, there.folder / "acknowledged", 4)
        assert pod.stop() == 0
        for number in (1, 4):
            there.volumes.remove(pod.claim(f"disk-{number}"))
        there.run(six)
        check(there, key)
        wait_for(lambda: re.search(r"^cairn_missing_shards 0$", there.pod.metrics(), re.MULTILINE), 120)
        disks = json.loads(there.pod.exec("cairn", "status", "--json"))["disks"]
        assert len(disks) == 6, disks


def test_a_grown_volume_is_noticed_without_a_restart():
    with place() as there:
        pod = there.run({}, "memory")
        key_of(there)

        def total():
            return int(float(re.search(r"^cairn_disk_total_bytes\{[^}]*\} (\S+)$", pod.metrics(), re.MULTILINE)[1]))

        before = total()
        assert VOLUME_BYTES * 0.9 < before <= VOLUME_BYTES, before
        there.volumes.grow(pod.claim("disk-0"))
        wait_for(lambda: total() > 1.9 * before, 30)


def test_a_grown_volume_of_the_metadata_is_noticed_without_a_restart():
    """It has no room for anything new; then it grows."""
    with place() as there:
        pod = there.run({}, "memory")
        key_of(there)

        def new_bucket():
            new_bucket.number += 1
            try:
                pod.exec("cairn", "bucket", "create", f"bucket-{new_bucket.number}")
            except RuntimeError as error:
                return str(error)
            return "taken"

        new_bucket.number = 0
        assert new_bucket() == "taken"
        there.volumes.leave_free(pod.claim("meta"), 64 << 20)
        wait_for(lambda: "make room there or enlarge it" in new_bucket(), 30)
        there.volumes.grow(pod.claim("meta"))
        wait_for(lambda: new_bucket() == "taken", 30)


def test_a_root_key_of_ones_own_is_taken():
    with place() as there:
        given = {"accesskey": "operator", "secretkey": "correct-horse-battery"}
        there.api.put_secret("mine", given)
        there.run({"rootKey": {"existingSecret": "mine"}})
        key_of(there)
        there.pod.client(given, OBJECTS, "put", BUCKET, there.folder / "acknowledged", 1)
        assert check(there, given)
        assert there.api.secret("cairn-root") is None


def issue(folder):
    """A certificate that is its own CA, and its key, as a Secret of type kubernetes.io/tls has them."""
    certificate, private = folder / "own.crt", folder / "own.key"
    names = "DNS:cairn.default.svc,DNS:localhost"
    chart.command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                  "-keyout", private, "-out", certificate, "-subj", "/CN=own", "-addext", f"subjectAltName={names}")
    return {"tls.crt": certificate.read_text(), "tls.key": private.read_text()}


def test_the_ca_beside_cert_managers_certificate_is_published_and_so_is_a_renewed_one():
    with place() as there:
        def renew():
            pair = issue(there.folder)
            there.api.put_secret("cairn-tls", pair | {"ca.crt": pair["tls.crt"]})
            return {"ca.crt": pair["tls.crt"]}

        published, first = (lambda: there.api.config_map("cairn-ca")), renew()
        pod = there.run({"tls": {"mode": "certManager", "certManager": {"issuerRef": {"name": "homelab"}}}})
        key = key_of(there)
        wait_for(lambda: published() == first)
        # The client trusts what the ConfigMap says.
        pod.client(key, OBJECTS, "put", BUCKET, there.folder / "acknowledged", 1)
        assert check(there, key)
        second = renew()
        pod.update(pod.objects)
        # It looks every ten minutes, and when it is asked to.
        pod.process.send_signal(signal.SIGHUP)
        wait_for(lambda: published() == second)
        assert first != second


def test_a_certificate_from_a_secret_is_served():
    with place() as there:
        pair = issue(there.folder)
        there.api.put_secret("own", pair)
        there.run({"tls": {"mode": "secret", "secretName": "own"}})
        there.api.put_config_map("cairn-ca", {"ca.crt": pair["tls.crt"]})
        key = key_of(there)
        there.pod.client(key, OBJECTS, "put", BUCKET, there.folder / "acknowledged", 1)
        assert check(there, key)


def says_of(folder, text):
    """What `cairn server --check` says of a configuration."""
    path = pathlib.Path(folder) / "cairn.toml"
    path.write_text(text)
    return chart.command(os.environ["CAIRN"], "server", "--config", path, "--check")


def test_chart_and_server_refuse_the_same():
    """What the chart refuses of these (test_chart.py), the server refuses too; what the chart takes, it takes."""
    with tempfile.TemporaryDirectory() as folder:
        least = f'meta = "{folder}/meta"\ndisk = ["{folder}/disk-0"]\ns3-listen = ["127.0.0.1:0"]\n'
        assert "valid" in says_of(folder, least)
        for _, _, text in effects.REFUSED_BY_THE_SERVER:
            tomllib.loads(least + text)
            refused(lambda: says_of(folder, least + text))
        for _, text in effects.TAKEN_BY_THE_SERVER:
            assert text is None or "valid" in says_of(folder, least + text), text


def test_each_configuration_is_one_the_server_takes():
    """`cairn server --check` on the configuration of every set of values, and of every effect that a value is tested by."""
    sets = list(chart.value_sets().items())
    sets += [(f"{path}: {values}", test_chart.merged(*base, values)) for path, values, _, *base in effects.EFFECTS]
    with tempfile.TemporaryDirectory() as folder:
        for name, values in sets:
            objects = [item for item in chart.manifests(values) if item["kind"] == "ConfigMap" and "cairn.toml" in item["data"]]
            text = objects[0]["data"]["cairn.toml"].replace("/var/lib/cairn", folder)
            text = text.replace("0.0.0.0:9000", "127.0.0.1:0").replace("[::]:9000", "[::1]:0")
            # The certificate's files are another test's.
            text = re.sub(r'^tls = "/etc.*$', 'tls = "off"', text, flags=re.MULTILINE)
            text = re.sub(r"^ca-config-map.*$", "", text, flags=re.MULTILINE) if 'tls = "off"' in text else text
            said = says_of(folder, text)
            assert "valid" in said, f"{name}: {said}"
