"""What a run costs, as its runner said with its outcome."""

import pytest
from blockyard.block.costs import LARGEST_AMOUNT

from services.execution.charging import cost_of


@pytest.mark.parametrize(
    ("stats", "cost"),
    [
        (b"", 0),
        (b'{"tokens": 7}', 0),
        (b'{"cost": 7, "tokens": {"in": 3}}', 7),
        (b'{"cost": 0}', 0),
        (b'{"cost": %d}' % LARGEST_AMOUNT, LARGEST_AMOUNT),
    ],
)
def test_the_cost_of_a_run_is_what_its_runner_said(stats: bytes, cost: int) -> None:
    assert cost_of(stats) == cost


@pytest.mark.parametrize("said", ["-3", "1e30", "1" + "0" * 30, '"seven"', "null", "[1]", "0.5", "{"])
def test_a_runner_that_says_nonsense_charges_nothing_and_breaks_nothing(said: str) -> None:
    assert cost_of(b'{"cost": ' + said.encode() + b"}") == 0
