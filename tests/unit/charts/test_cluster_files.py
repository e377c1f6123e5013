"""The files of k8s/ that are applied by hand."""

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests.charts.rendering import ROOT

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
