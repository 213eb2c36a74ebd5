"""First program of a pod's namespaces: makes its root as a container runtime does, and holds it until stdin closes.

    pod_init.py SPEC     JSON: {"folder", "hostname", "hosts", "mounts": [[source, target, read_only], …]}

The root is this machine's, as the lower layer of an overlay, with mount points added; then it is read-only.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys

spec = json.loads(sys.argv[1])
folder = pathlib.Path(spec["folder"])
root, layers = folder / "root", folder / "layers"


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def within(target):
    """The target in the new root; a link there, as /var/run is one, leads to a place in it and not in this machine's."""
    point = root
    for part in pathlib.PurePosixPath(target).parts[1:]:
        point /= part
        if point.is_symlink():
            to = pathlib.PurePosixPath(os.readlink(point))
            point = within(to) if to.is_absolute() else within(f"/{(point.parent / to).relative_to(root)}")
    return point


def place(source, target):
    """A mount point of the source's kind."""
    point = within(target)
    if pathlib.Path(source).is_dir():
        point.mkdir(parents=True, exist_ok=True)
    else:
        point.parent.mkdir(parents=True, exist_ok=True)
        point.touch()
    return point


socket.sethostname(spec["hostname"])
mount("--bind", spec["hosts"], "/etc/hosts")
root.mkdir(exist_ok=True)
layers.mkdir(exist_ok=True)
mount("-t", "tmpfs", "layers", layers)
(layers / "upper").mkdir()
(layers / "work").mkdir()
mount("-t", "overlay", "root", "-o", f"lowerdir=/,upperdir={layers}/upper,workdir={layers}/work", root)
for system in ("/proc", "/dev", "/sys"):
    mount("--rbind", system, root / system[1:])
for source, target, _ in spec["mounts"]:
    mount("--bind", source, place(source, target))
for _, target, read_only in spec["mounts"]:
    if read_only:
        mount("-o", "remount,bind,ro", within(target))
mount("-o", "remount,ro", root)
print("ready", flush=True)
sys.stdin.buffer.read()
os._exit(0)
