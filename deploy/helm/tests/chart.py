"""The chart and what `helm` makes of it."""

import functools
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import yaml

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CHART = HERE.parent / "cairn"
TOOLS = pathlib.Path(os.environ["DEPLOY_TOOLS"])
HELM = TOOLS / "bin" / "helm"
RELEASE, NAMESPACE = "cairn", "default"
# What helm renders for where no cluster is asked.
KUBERNETES = "v1.36.0"


def command(*words, given=None):
    """Runs a program; its output, or its complaint as a RuntimeError."""
    done = subprocess.run([str(word) for word in words], input=given, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"{words[0]} {words[1]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


@functools.cache
def _template(values, release, namespace, kube_version):
    words = [HELM, "template", release, CHART, "--namespace", namespace, "--values", "-", "--kube-version", kube_version]
    return command(*words, given=values)


def template(values=None, release=RELEASE, namespace=NAMESPACE, kube_version=KUBERNETES):
    """The rendered manifests as text."""
    return _template(json.dumps(values or {}), release, namespace, kube_version)


def manifests(values=None, **kwargs):
    """The rendered manifests as objects."""
    return [found for found in yaml.safe_load_all(template(values, **kwargs)) if found]


@functools.cache
def _notes(values, release, namespace):
    with tempfile.TemporaryDirectory() as folder:
        copy = pathlib.Path(folder) / "cairn"
        shutil.copytree(CHART, copy)
        notes = copy / "templates" / "NOTES.txt"
        wrapped = '{{- define "notes" -}}\n' + notes.read_text() + '{{- end }}\n{{ dict "kind" "Notes" "notes" (include "notes" .) | toJson }}\n'
        notes.rename(copy / "templates" / "notes.yaml").write_text(wrapped)
        words = [HELM, "template", release, copy, "--namespace", namespace, "--values", "-", "--kube-version", KUBERNETES]
        (found,) = yaml.safe_load_all(command(*words, "--show-only", "templates/notes.yaml", given=values))
        return found["notes"]


def notes(values=None, release=RELEASE, namespace=NAMESPACE):
    """What `helm install` prints. It asks a cluster first, so the notes are rendered as a manifest, in a copy of the chart."""
    return _notes(json.dumps(values or {}), release, namespace)


def one(objects, kind, name=None):
    """The only object of a kind (and name)."""
    found = [item for item in objects if item["kind"] == kind and name in (None, item["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} objects {kind} {name or ''}"
    return found[0]


def default_values():
    """What values.yaml says."""
    return yaml.safe_load((CHART / "values.yaml").read_text())


def value_sets():
    """Sets of values by name: `default` and those of the folder `values`."""
    sets = {"default": {}}
    for path in sorted((HERE / "values").glob("*.yaml")):
        sets[path.stem] = yaml.safe_load(path.read_text())
    return sets
