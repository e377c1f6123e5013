"""What the chaos run expects of its graphs is what an in-memory run of them gives."""

from pathlib import Path
from random import Random

import pytest

from tests.chaos.run import WrongExpectation, check_expectations
from tests.chaos.shapes import SHAPES, Expected, Load, Shape, draw_loads

LOADS = 4 * len(SHAPES)


async def test_expectations_are_what_the_graphs_give_in_memory(tmp_path: Path) -> None:
    loads = draw_loads(Random(1), LOADS, "")
    await check_expectations(loads, tmp_path / "ledger")


async def test_an_expectation_that_does_not_fit_its_graph_stops_the_run(tmp_path: Path) -> None:
    honest = SHAPES[0]
    lying = Shape("lying", honest.build, honest.draw, lambda inputs: Expected({"sum": [0]}))
    with pytest.raises(WrongExpectation, match="lying"):
        await check_expectations([Load(1, lying, {"number": 1, "seconds": 0})], tmp_path / "ledger")


def test_a_seed_gives_the_same_executions_again() -> None:
    first, second = (draw_loads(Random(7), LOADS, "ledger") for _ in range(2))
    assert first == second
    assert first != draw_loads(Random(8), LOADS, "ledger")


def test_every_shape_is_drawn_as_often_as_the_others() -> None:
    names = [load.shape.name for load in draw_loads(Random(1), LOADS, "ledger")]
    assert {names.count(shape.name) for shape in SHAPES} == {4}
