"""What the chart makes of the examples is what somebody has read."""

import json
import subprocess

import pytest

from tests.charts.golden import FOLDER, NAMES, written
from tests.charts.matrix import MATRIX
from tests.charts.rendering import CHART, helm


@pytest.mark.parametrize("name", NAMES)
def test_an_example_makes_what_it_made(name: str) -> None:
    there, made = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), written(name)
    # Compared by the line: pytest would take minutes to say where two long texts differ.
    differing = [pair for pair in zip(there.splitlines(), made.splitlines(), strict=False) if len(set(pair)) > 1]
    assert differing[:5] == [], "read what has changed, and run: ./task chart"
    assert len(there) == len(made)


@pytest.mark.parametrize("name", NAMES)
def test_helm_has_nothing_to_say_against_it(name: str) -> None:
    lint = [str(helm()), "lint", "--strict", str(CHART), "--values", "-"]
    done = subprocess.run(lint, input=json.dumps(MATRIX[name]), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
