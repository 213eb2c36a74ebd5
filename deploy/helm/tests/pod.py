"""Runs the chart's rendered pod as a process: its command, arguments, environment, configuration, probes, user, groups,
capabilities and read-only root, with a folder for each volume. Of the image there are its environment and its volumes,
which the pod inherits.

What a kubelet would do beside it is here too: the ownership of volumes by fsGroup, the service account's files, the
variables with the API server's address, and the grace period. Not applied: the seccomp profile and the limits of
resources (memory is compared afterwards).
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import chart

sys.path.append(str(chart.ROOT / "deploy" / "docker"))
import dockerfile

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
CLIENTS = chart.ROOT / "tests" / "clients"
VOLUME_BYTES = 2 << 30


class Node:
    """A network of its own, in which the API server and the pods live."""

    def __init__(self):
        up = (
            "import fcntl, socket, struct, sys; s = socket.socket(); "
            "fcntl.ioctl(s, 0x8914, struct.pack('16sh', b'lo', 0x41)); print('ready', flush=True); sys.stdin.read()"
        )
        self.holder = subprocess.Popen(["unshare", "--net", sys.executable, "-c", up], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"ready\n", "no network namespace could be made: this needs root"

    def words(self, *words):
        """A command that runs in this network."""
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *map(str, words)]

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)


def own_by_group(folder, group):
    """What the kubelet does with `fsGroup` and `OnRootMismatch`."""
    about = folder.stat()
    if about.st_gid == group and about.st_mode & 0o2770 == 0o2770:
        return
    for path in [folder, *folder.rglob("*")]:
        about = path.lstat()
        os.chown(path, -1, group)
        path.chmod((about.st_mode & 0o7777) | (0o2770 if path.is_dir() else 0o660))


def project(folder, data):
    """Writes a ConfigMap's files as the kubelet does: all change at once, by one link."""
    now = f"..{time.time_ns()}"
    (folder / now).mkdir(parents=True)
    for name, text in data.items():
        (folder / now / name).write_text(text)
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    (folder / "..new").symlink_to(now)
    (folder / "..new").rename(folder / "..data")


class Volumes:
    """Volumes on file systems of their own, whatever this machine's has left: images, mounted by loop devices.

    `block` is a fresh ext4 for each, as of a CSI driver; `local-path` is folders of one, as that provisioner makes them;
    `memory` is one that can grow (an ext4 grows online only where the machine allows it).
    """

    def __init__(self, folder):
        self.folder, self.mounted = pathlib.Path(folder), []

    def new(self, name, kind):
        """An empty volume's folder."""
        if kind == "local-path":
            node = self.folder / "node"
            if node not in self.mounted:
                self._mount(node)
            folder = node / name
            folder.mkdir()
            folder.chmod(0o777)
            return folder
        self._mount(self.folder / name, kind)
        return self.folder / name

    def _mount(self, folder, kind="block"):
        folder.mkdir(parents=True, exist_ok=True)
        self.mounted.append(folder)
        if kind == "memory":
            chart.command("mount", "-t", "tmpfs", "-o", f"size={VOLUME_BYTES},mode=755", "volume", folder)
            return
        image = self._image(folder)
        with image.open("wb") as file:
            file.truncate(VOLUME_BYTES)
        chart.command("mkfs.ext4", "-q", "-m", "0", image)
        chart.command("mount", "-o", "loop", image, folder)

    def _image(self, folder):
        return folder.with_suffix(".img")

    def _unmount(self, folder):
        chart.command("umount", folder)
        self.mounted.remove(folder)
        self._image(folder).unlink(missing_ok=True)

    def remove(self, folder):
        """A claim is deleted, its data with it."""
        self._unmount(folder)
        folder.rmdir()

    def grow(self, folder):
        """Doubles a volume in memory while it is mounted: what a driver's expansion is for whoever uses the volume."""
        chart.command("mount", "-o", f"remount,size={2 * VOLUME_BYTES}", folder)

    def leave_free(self, folder, free_bytes):
        """Makes a volume in memory so small that this much is free."""
        about = os.statvfs(folder)
        used = (about.f_blocks - about.f_bfree) * about.f_frsize
        chart.command("mount", "-o", f"remount,size={used + free_bytes}", folder)

    def close(self):
        for folder in list(self.mounted):
            self._unmount(folder)


class Pod:
    """Pod 0 of the StatefulSet. Volumes outlive it; `volume_kind` is how missing ones are made."""

    def __init__(self, objects, folder, node, api, volumes, volume_kind="block"):
        self.objects, self.folder, self.node, self.api = objects, pathlib.Path(folder), node, api
        self.stateful = chart.one(objects, "StatefulSet")
        self.spec = self.stateful["spec"]["template"]["spec"]
        (self.container,) = self.spec["containers"]
        self.name = self.stateful["metadata"]["name"] + "-0"
        self.service = self.stateful["metadata"]["name"]
        self.volumes, self.volume_kind = volumes, volume_kind
        self.log = self.folder / "server.log"
        self.process = self.sandbox = None

    def claim(self, name):
        """The folder of a claim."""
        where = self.folder / "volumes"
        return (where / "node" if self.volume_kind == "local-path" else where) / f"{name}-{self.name}"

    def _volumes(self):
        group = self.spec["securityContext"].get("fsGroup")
        for claim in self.stateful["spec"]["volumeClaimTemplates"]:
            folder = self.claim(claim["metadata"]["name"])
            if not folder.exists():
                self.volumes.new(folder.name, self.volume_kind)
            # A hostPath, which local-path uses, gets no fsGroup.
            if group and self.volume_kind != "local-path":
                own_by_group(folder, group)
            yield claim["metadata"]["name"], folder
        for volume in self.spec["volumes"]:
            folder = self.folder / "projected" / volume["name"]
            project(folder, self._content(volume))
            yield volume["name"], folder

    def _content(self, volume):
        if "configMap" in volume:
            return chart.one(self.objects, "ConfigMap", volume["configMap"]["name"])["data"]
        content = self.api.secret(volume["secret"]["secretName"])
        return {} if content is None and volume["secret"].get("optional") else content

    def update(self, objects):
        """New manifests whose pod is the same: the kubelet changes the mounted files alone."""
        assert chart.one(objects, "StatefulSet")["spec"]["template"] == self.stateful["spec"]["template"]
        self.objects = objects
        for volume in self.spec["volumes"]:
            project(self.folder / "projected" / volume["name"], self._content(volume))

    def _mounts(self):
        volumes = dict(self._volumes())
        for mount in self.container["volumeMounts"]:
            source = volumes[mount["name"]] / mount.get("subPath", "")
            yield [str(source), mount["mountPath"], mount.get("readOnly", False)]
        if self.spec.get("automountServiceAccountToken"):
            account = self.folder / "account"
            account.mkdir(exist_ok=True)
            for name, text in self.api.account(self.spec["serviceAccountName"]).items():
                (account / name).write_text(text)
            yield [str(account), ACCOUNT, True]
        for volume in dockerfile.configuration()["Volumes"]:
            yield [str(self.image_volume(volume)), volume, False]
        yield [str(self._binary()), dockerfile.configuration()["Entrypoint"][0], True]

    def image_volume(self, name):
        """What a container runtime makes for a VOLUME of the image: a folder that belongs to the image's user and goes with
        the pod."""
        folder = self.folder / "image-volumes" / name.strip("/")
        if not folder.exists():
            folder.mkdir(parents=True)
            os.chown(folder, *map(int, dockerfile.configuration()["User"].split(":")))
        return folder

    def _binary(self):
        """A copy: folders above the build's may be closed to the pod's user."""
        copy = self.folder / "cairn"
        if not copy.exists():
            shutil.copy(os.environ["CAIRN"], copy)
            copy.chmod(0o755)
        return copy

    def _environment(self):
        # First, so that what the pod says goes before it.
        yield from dockerfile.environment().items()
        yield "HOSTNAME", self.name
        for name, value in self.api.address().items():
            yield name, value
        assert self.spec["enableServiceLinks"] is False, "variables of all services would have to be made"
        for variable in self.container.get("env", []):
            if "value" in variable:
                yield variable["name"], variable["value"]
            else:
                of = variable["valueFrom"]["secretKeyRef"]
                yield variable["name"], self.api.secret(of["name"])[of["key"]]

    def _inside(self, *words):
        """A command in the pod's namespaces, root, user and environment, with a container's few rights."""
        context = self.container["securityContext"]
        assert context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}
        environment = [f"{name}={value}" for name, value in self._environment()]
        return ["nsenter", f"--target={self.sandbox.pid}", "--mount", "--net", "--uts", "--", "chroot", str(self.folder / "root"),
                *self._rights(), "env", "-i", *environment, *words]

    def _rights(self):
        """What makes a command one of the pod's user, with a container's few rights."""
        context = self.spec["securityContext"]
        return ["setpriv", f"--reuid={context['runAsUser']}", f"--regid={context['runAsGroup']}", f"--groups={context['fsGroup']}",
                "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs", "--pdeathsig=KILL"]

    def _open(self):
        """Makes the pod's namespaces and its root."""
        hosts = self.folder / "hosts"
        namespace = self.api.namespace
        names = [f"{self.service}{end}" for end in ("", f".{namespace}", f".{namespace}.svc", f".{namespace}.svc.cluster.local")]
        hosts.write_text(f"127.0.0.1 localhost {self.name}\n127.0.0.1 {' '.join(names)}\n")
        spec = {"folder": str(self.folder), "hostname": self.name, "hosts": str(hosts), "mounts": list(self._mounts())}
        init = ["unshare", "--mount", "--uts", "--propagation", "private", sys.executable, chart.HERE / "pod_init.py", json.dumps(spec)]
        self.sandbox = subprocess.Popen(self.node.words(*init), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.sandbox.stdout.readline() == b"ready\n", "the pod's namespaces could not be made: this needs root"

    def start(self):
        """Starts the container and waits as the kubelet does: startup, then live and ready."""
        self._open()
        return self.start_container()

    def run(self):
        """Runs a container that ends by itself; its output."""
        self._open()
        try:
            return self.exec(*self.container["command"], *self.container.get("args", []))
        finally:
            self._close()

    def start_container(self):
        """Starts the container in the pod that is there, as the kubelet does after a crash."""
        with self.log.open("a") as log:
            words = self._inside(*self.container["command"], *self.container["args"])
            self.process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/")
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            self.wait_for(kind)
        return self

    def probe(self, kind, host="127.0.0.1"):
        """One probe's status."""
        probe = self.container[kind]
        (port,) = [port for port in self.container["ports"] if port["name"] == probe["httpGet"]["port"]]
        url = f"{probe['httpGet']['scheme'].lower()}://{host}:{port['containerPort']}{probe['httpGet']['path']}"
        words = self.node.words(sys.executable, chart.HERE / "probe.py", url, probe["timeoutSeconds"])
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    def wait_for(self, kind):
        probe = self.container[kind]
        until, status = time.monotonic() + probe["periodSeconds"] * probe["failureThreshold"], ""
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"the container ended with {self.process.returncode}:\n{self.last_lines()}")
            status = self.probe(kind)
            if status == "200":
                return
            time.sleep(0.2)
        raise RuntimeError(f"{kind}: {status}\n{self.last_lines()}")

    def last_lines(self):
        return "\n".join(self.log.read_text().splitlines()[-12:])

    def kill_container(self):
        """kill -9 of the server; the pod stays."""
        self.process.kill()
        self.process.wait()

    def kill(self):
        """kill -9, and the pod goes: its node lost patience."""
        self.kill_container()
        self._close()

    def stop(self):
        """SIGTERM, the grace period, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(self.spec["terminationGracePeriodSeconds"])
        self._close()
        return code

    def _close(self):
        self.sandbox.stdin.close()
        self.sandbox.wait(10)
        self.sandbox = None

    def close(self):
        """Whatever still runs ends, and what a container left that ended by itself; for the end of a test."""
        if self.process and self.process.poll() is None:
            self.kill()
        elif self.sandbox:
            self._close()

    def exec(self, *words):
        """`kubectl exec`."""
        return chart.command(*self._inside(*words))

    def beside(self, *words):
        """A command of a debugging container: another root, the server's processes, the pod's user and no more rights. Where
        it says process 1, as it is in the server's namespace of processes, it is the server's number here."""
        return chart.command(*self._rights(), *(word.replace("/proc/1/", f"/proc/{self.process.pid}/") for word in words))

    def status_of_process(self):
        """The lines of /proc/PID/status."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)

    def environment_of_process(self):
        """The variables that the server was started with."""
        entries = pathlib.Path(f"/proc/{self.process.pid}/environ").read_text().split("\0")
        return dict(entry.split("=", 1) for entry in entries if entry)

    def client(self, key, program, *words, wait=True):
        """A client program beside the pod, with a key and the CA as the chart's users get them."""
        ca = self.folder / "client-ca.crt"
        ca.write_text(self.api.config_map(f"{self.service}-ca")["ca.crt"])
        environment = os.environ | {
            "ENDPOINT": f"https://{self.service}.{self.api.namespace}.svc:9000", "CA": str(ca),
            "ACCESS_KEY": key["accesskey"], "SECRET_KEY": key["secretkey"], "PYTHONPATH": str(CLIENTS),
        }
        inside = ["nsenter", f"--target={self.sandbox.pid}", "--mount", "--net", "--", sys.executable, str(program), *map(str, words)]
        if not wait:
            pipe = subprocess.PIPE
            return subprocess.Popen(inside, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        done = subprocess.run(inside, env=environment, capture_output=True, text=True, timeout=300)
        if done.returncode != 0:
            raise RuntimeError(f"{program} {words}: {done.stderr}\n{self.last_lines()}")
        return done.stdout.strip()

    def runner(self, key, bucket):
        """The runner's flow. It asks for crashes of the server: the container is killed and started again."""
        flow = self.client(key, CLIENTS / "runner.py", bucket, wait=False)
        orders, said = {"server: kill": self.kill_container, "server: start": self.start_container}, []
        for line in map(str.strip, flow.stdout):
            if line not in orders:
                said.append(line)
                continue
            begun = time.monotonic()
            orders[line]()
            flow.stdin.write(f"{round(1000 * (time.monotonic() - begun))}\n")
            flow.stdin.flush()
        if flow.wait(60) != 0 or not any("runner flow passed" in line for line in said):
            raise RuntimeError(f"the runner's flow: {said} {flow.stderr.read()}\n{self.last_lines()}")

    def metrics(self):
        """The page of the server's metrics."""
        (port,) = [port["containerPort"] for port in self.container["ports"]]
        read = ("import ssl, sys, urllib.request; "
                f"print(urllib.request.urlopen('https://127.0.0.1:{port}/-/metrics', context=ssl._create_unverified_context()).read().decode())")
        return chart.command(*self.node.words(sys.executable, "-c", read))


def bytes_of(quantity):
    """A quantity of memory in bytes."""
    number, unit = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity).groups()
    return int(number) << {"Ki": 10, "Mi": 20, "Gi": 30}[unit]
