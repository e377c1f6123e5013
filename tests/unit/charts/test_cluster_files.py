"""The files of k8s/: those that are applied by hand, and the examples of values."""

import math
import re
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from kubernetes.utils.quantity import parse_quantity

from tests.charts.golden import NAMES
from tests.charts.matrix import MATRIX
from tests.charts.rendering import CHART, ROOT, pod_spec, render

Json = Any  # what stands in manifests
FOLDER = ROOT / "k8s"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.parent != FOLDER / "values")
OTHERS = ("kind.x-k8s.io/v1alpha4", "postgresql.cnpg.io/v1")
"""Of objects that Kubernetes itself does not know."""


def objects(path: Path) -> list[Json]:
    return list(yaml.load_all(path.read_text(), yaml.CSafeLoader))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_kubernetes_knows_every_field(path: Path) -> None:
    for one in objects(path):
        if one["apiVersion"] not in OTHERS:
            for version in ("1.30", "1.37"):
                kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("name", ["small-production", "large-production"])
def test_examples_name_what_the_files_make(name: str) -> None:
    made = {(one["kind"], one["metadata"]["name"]) for path in FILES for one in objects(path) if "metadata" in one}
    sandbox = yaml.load((FOLDER / "values" / f"{name}.yaml").read_text(), yaml.CSafeLoader)["sandbox"]

    assert ("Namespace", sandbox["namespace"]) in made
    assert ("RuntimeClass", sandbox.get("runtimeClassName", "gvisor")) in made


@pytest.mark.parametrize("name", NAMES)
def test_what_examples_request_stands_in_the_readme(name: str) -> None:
    requests = {"cpu": [0.0, 0.0], "memory": [0.0, 0.0]}
    for one in render(MATRIX[name]):
        if one["kind"] in ("Deployment", "StatefulSet"):
            replicas = one["spec"].get("replicas", 1)
            rolling = one["spec"].get("strategy", {}).get("rollingUpdate", {})
            # Of a Deployment that does not say, Kubernetes lets a quarter more start, rounded up.
            more = rolling.get("maxSurge", math.ceil(replicas / 4)) if one["kind"] == "Deployment" else 0
            for container in pod_spec(one)["containers"]:
                for resource, sums in requests.items():
                    asked = container["resources"]["requests"][resource]
                    each = float(parse_quantity(asked))  # type: ignore[no-untyped-call]  # the package has no types
                    sums[0] += replicas * each
                    sums[1] += (replicas + more) * each
    columns = [f"{cores:.1f}, {memory / 2**30:.1f} GiB" for cores, memory in zip(*requests.values(), strict=True)]

    of = "none" if name == "defaults" else re.escape(f"[{name}.yaml](../../k8s/values/{name}.yaml)")
    row = re.search(rf"^\| {of} \| [^|]* \| ([^|]*) \| ([^|]*) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert row is not None
    assert list(row.groups()) == columns
