"""The chart and what `helm` makes of it."""

import functools
import json
import os
import pathlib
import subprocess

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
