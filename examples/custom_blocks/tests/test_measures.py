"""Every block of the package passes the checks of `blockyard blocks test`."""

import asyncio

import pytest
from blockyard.block import Block
from blockyard.block.checks import run_checks
from blockyard.block.loader import load_blocks

CATALOGUE = load_blocks(["measures"], entry_points=False)


def test_every_block_is_loaded() -> None:
    assert CATALOGUE.errors == []
    assert set(CATALOGUE.by_name) == {"ConvertLengthBlock", "ReadDurationBlock"}


@pytest.mark.parametrize("block", CATALOGUE.blocks.values(), ids=lambda block: block.name)
def test_block_passes_its_checks(block: Block) -> None:
    for result in asyncio.run(run_checks(block)):
        assert result.passed, str(result)
