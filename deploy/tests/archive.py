"""Reads an image's archive as whoever loads it does, and unpacks its files.

    archive.py ARCHIVE FOLDER     fails with what is wrong
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import sys
import tarfile
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "deploy" / "docker"))
import dockerfile  # noqa: E402

# A dev build, packed, has some 17 MiB; what would not fit was put into the image by mistake.
BYTES_MAX = 24 << 20
MACHINES = {"amd64": 62, "arm64": 183}

archive, folder = sys.argv[1], pathlib.Path(sys.argv[2])
with tarfile.open(archive) as tar:
    members = tar.getmembers()
    files = {member.name: tar.extractfile(member).read() for member in members}
assert len(files) == len(members), "a name is there twice"
assert all((member.mtime, member.uid, member.gid) == (0, 0, 0) for member in members), "the archive knows its builder"
used = {"oci-layout", "index.json", "manifest.json"}


def blob(described, kind):
    """What a descriptor names, verified."""
    assert described["mediaType"] == f"application/vnd.oci.image.{kind}", described
    algorithm, digest = described["digest"].split(":")
    name = f"blobs/{algorithm}/{digest}"
    content = files[name]
    assert (len(content), hashlib.sha256(content).hexdigest()) == (described["size"], digest), f"{name} is another file"
    used.add(name)
    return content


assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
(entry,) = json.loads(files["index.json"])["manifests"]
manifest = json.loads(blob(entry, "manifest.v1+json"))
config = json.loads(blob(manifest["config"], "config.v1+json"))
layers = [gzip.decompress(blob(layer, "layer.v1.tar+gzip")) for layer in manifest["layers"]]
assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers], "other layers"
assert entry["platform"] == {name: config[name] for name in ("os", "architecture", "variant") if name in config}
assert set(files) == used, f"nobody asks for {set(files) - used}"
# Docker's words say the same.
(own,) = json.loads(files["manifest.json"])
assert [own["Config"], *own["Layers"]] == [f"blobs/sha256/{part['digest'][7:]}" for part in (manifest["config"], *manifest["layers"])]

version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
assert own["RepoTags"] == [f"cairn:{version}"]
assert entry["annotations"]["io.containerd.image.name"] == f"docker.io/library/cairn:{version}"
# What the chart's pod asks for where nobody sets `image`.
chart = (ROOT / "deploy/helm/cairn/Chart.yaml").read_text()
assert f'appVersion: "{version}"' in chart, "the chart asks for another version of the image"

has = config["config"]
assert {name: value for name, value in has.items() if name != "Labels"} == dockerfile.configuration()
# Inherited variables go before every configuration file: those of the chart's pod as well.
assert set(dockerfile.environment()) == {"PATH", "CAIRN_DATA"}, f"inherited by every pod: {has['Env']}"
assert has["User"] == "65532:65532" and has["Volumes"] == {"/data": {}} and has["ExposedPorts"] == {"9000/tcp": {}}
assert has["Healthcheck"]["Interval"] == 10 * 10**9 and has["StopSignal"] == "SIGTERM"

for layer in layers:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        for member in tar.getmembers():
            owner = 65532 if member.name == "data" else 0
            assert (member.uid, member.gid, member.mtime) == (owner, owner, 0), f"{member.name}: {member.get_info()}"
            assert member.isdir() or member.isreg(), f"{member.name} is neither file nor folder"
        tar.extractall(folder, filter="fully_trusted")
binary = folder / "usr/bin/cairn"
machine = int.from_bytes(binary.read_bytes()[18:20], "little")
assert machine == MACHINES[config["architecture"]], f"the binary is for machine {machine}"
assert os.access(binary, os.X_OK) and (folder / "tmp").stat().st_mode & 0o7777 == 0o1777
size = os.stat(archive).st_size
print(f"image: {os.path.basename(archive)}, {size >> 20} MiB of at most {BYTES_MAX >> 20}")
assert size <= BYTES_MAX, f"{size} bytes"
