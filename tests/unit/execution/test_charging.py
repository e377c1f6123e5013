"""What a run costs, as its runner said with its outcome."""

import pytest
from blockyard.block.costs import LARGEST_AMOUNT

from services.execution.charging import HOUR, Due, cost_of, together


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


def test_charges_of_a_block_in_an_execution_that_cost_as_much_are_told_as_one() -> None:
    charges = [
        Due(execution, "anna", "graph", block, amount, second, number)
        for number, (execution, block, amount, second) in enumerate(
            [
                (b"e", "x", 3, HOUR - 1),
                (b"e", "y", 3, HOUR - 1),
                (b"e", "x", 3, 1),
                (b"f", "x", 3, 1),
                (b"e", "x", 4, 1),
                (b"e", "x", 3, HOUR),
                (b"e", "x", 3, 2),
            ]
        )
    ]
    told = [
        (charge.execution_id, charge.block_id, charge.amount, [charge.node_execution, *charge.further_node_executions])
        for charge in together(charges)
    ]
    assert told == [
        (b"e", "x", 3, [0, 2, 6]),
        (b"e", "y", 3, [1]),
        (b"f", "x", 3, [3]),
        (b"e", "x", 4, [4]),
        (b"e", "x", 3, [5]),
    ]
