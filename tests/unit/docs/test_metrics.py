"""The table of metrics in docs/operating.md is what is exported."""

import re
from pathlib import Path

from tests.metrics import Exported, exported

OPERATING = (Path(__file__).parents[3] / "docs" / "operating.md").read_text()
FEW = {"method", "code", "of", "state", "category", "status", "outcome", "pool", "stream", "provider", "reason", "way"}
"""Labels with as many values as there are methods, blocks or pools, and not as there are users or executions."""
FEW |= {"block"}


def documented() -> dict[str, Exported]:
    table = OPERATING.partition("| metric | type | labels | at | meaning |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    return {
        name.strip("`"): Exported(name.strip("`"), kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels, *_ in rows
    }


def test_every_metric_stands_in_the_table_with_its_type_and_labels() -> None:
    assert documented().keys() == exported().keys()
    assert documented() == exported()


def test_no_label_has_a_value_for_each_user_or_execution() -> None:
    assert {label for metric in exported().values() for label in metric.labels} <= FEW
