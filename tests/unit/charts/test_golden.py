"""What the chart makes of the examples is what somebody has read."""

import pytest

from tests.charts.golden import FOLDER, NAMES, written


@pytest.mark.parametrize("name", NAMES)
def test_an_example_makes_what_it_made(name: str) -> None:
    there, made = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), written(name)
    # Compared by the line: pytest would take minutes to say where two long texts differ.
    differing = [pair for pair in zip(there.splitlines(), made.splitlines(), strict=False) if len(set(pair)) > 1]
    assert differing[:5] == [], "read what has changed, and run: python -m tests.charts.golden"
    assert len(there) == len(made)
