"""What the chart makes of the example values, as files: `python -m tests.charts.golden` writes them anew.

They are there to be read in the diff of a change to the chart. What differs at each rendering is masked.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from tests.charts.matrix import EXAMPLE_NAMES, MATRIX
from tests.charts.rendering import render

Json = Any  # what stands in manifests
FOLDER = Path(__file__).parent / "golden"
NAMES = ["defaults", *EXAMPLE_NAMES]
WIDTH = 160
MASK = "made at the first installation"
_OF_SECRETS = re.compile(r"checksum/(tokens|postgresql|passwords)")
"""Annotations that change with generated secrets."""
_OF_SCHEMA = re.compile(r"(-migrate)-[0-9a-f]{8}-[0-9a-f]{5}\b")
"""The name of the Job that migrates changes with each migration."""


class _Dumper(yaml.CSafeDumper):
    """Writes what is there twice twice."""

    def ignore_aliases(self, data: Json) -> bool:
        """All of it."""
        return True


def written(name: str) -> str:
    """All objects of an example, each after the other in Helm's order."""
    objects = render(MATRIX[name], "--namespace", "blockyard", release="blockyard")
    masked = [_masked(one) for one in objects]
    text: str = yaml.dump_all(masked, Dumper=_Dumper, default_flow_style=None, width=WIDTH, sort_keys=False)
    return _OF_SCHEMA.sub(r"\1-schema-pod", text)


def _masked(one: Json) -> Json:
    if isinstance(one, dict):
        if one.get("kind") == "Secret":
            return {**one, "data": dict.fromkeys(one["data"], MASK)}
        return {key: MASK if _OF_SECRETS.fullmatch(str(key)) else _masked(value) for key, value in one.items()}
    return [_masked(each) for each in one] if isinstance(one, list) else one


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for each in NAMES:
        (FOLDER / f"{each}.yaml").write_text(written(each), encoding="utf-8")
