"""The function check: the block's own test cases, of which there are at least two."""

from blockyard.block.block import Block
from blockyard.block.checks.results import Finding
from blockyard.block.testing import cases_of, difference, expected_items, mocked, outputs_of

LEAST_CASES = 2


async def check_function(block: Block) -> Finding:
    """Runs all cases one after the other, and compares what they give with `test_output`, in order."""
    cases = cases_of(block)
    complaints = []
    if len(cases) < LEAST_CASES:
        complaints.append(f"test_input has {len(cases)} case{'s' * (len(cases) != 1)}; give it at least {LEAST_CASES}")
    if cases:
        with mocked(block):
            outputs = [item for case in cases for item in await outputs_of(block, case)]
        if what := difference(expected_items(block), outputs):
            complaints.append(what)
    return Finding(tuple(complaints), remark=f"{len(cases)} cases")
