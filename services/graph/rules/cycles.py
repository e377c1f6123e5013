"""The rules of cycles: what goes round must come to an end."""

from collections import deque
from collections.abc import Iterator, Set

from blockyard.graph.v1.block_pb2 import BlockType

from services.common.errors import Violation
from services.graph.layout import Layout, PlacedNode
from services.graph.rules.fan_outs import gathered_fan_outs

MOST_SHOWN = 6
"""Nodes of a cycle that a message names."""


def cycle_violations(layout: Layout) -> Iterator[Violation]:
    """Cycles that no execution could ever leave, or could go round only once."""
    yield from _cycles_of_outputs(layout)
    yield from _collects_of_themselves(layout)


def _cycles_of_outputs(layout: Layout) -> Iterator[Violation]:
    others = {node.index for node in layout.nodes if not node.is_a(BlockType.BLOCK_TYPE_OUTPUT)}
    told: set[int] = set()
    for node in layout.nodes:
        cycle = [] if node.index in told | others else _way_round(layout, node, others)
        if cycle:
            told.update(one.index for one in cycle)
            yield Violation(
                node.path, f"lies on a cycle of outputs alone, {_shown(cycle)}: a value would go round it without end"
            )


def _collects_of_themselves(layout: Layout) -> Iterator[Violation]:
    collects = [node for node in layout.nodes if node.is_a(BlockType.BLOCK_TYPE_COLLECT)]
    round_about = [node for node in collects if _way_round(layout, node, set())]
    # Whose fan-outs they are takes a search for each Collect, and matters on cycles alone.
    gathered = gathered_fan_outs(layout) if round_about else {}
    for node in round_about:
        of = gathered[node.index]
        cycle = _way_round(layout, node, {of.index} if of else set())
        if cycle:
            what = f"the fan-out of {of.id!r}, which does not lie on that cycle" if of else "the whole execution"
            yield Violation(
                node.path,
                f"lies on a cycle of its items, {_shown(cycle)}: it gathers {what}, so it would wait for what it "
                "gives itself",
            )


def _way_round(layout: Layout, start: PlacedNode, closed: Set[int]) -> list[PlacedNode]:
    """A shortest cycle through the node that leads through none of the closed ones; empty if there is none."""
    before: dict[int, PlacedNode] = {}
    waiting = deque([start])
    while waiting:
        at = waiting.popleft()
        for link in layout.out_of(at):
            if link.sink is start:
                return _traced(before, start, at)
            if link.sink.index not in before and link.sink.index not in closed:
                before[link.sink.index] = at
                waiting.append(link.sink)
    return []


def _traced(before: dict[int, PlacedNode], start: PlacedNode, last: PlacedNode) -> list[PlacedNode]:
    way = [last]
    while way[-1] is not start:
        way.append(before[way[-1].index])
    return way[::-1]


def _shown(cycle: list[PlacedNode]) -> str:
    names = [repr(node.id[:100]) for node in [*cycle, cycle[0]]]
    if len(names) > MOST_SHOWN:
        names = [*names[: MOST_SHOWN - 2], "...", *names[-2:]]
    return " -> ".join(names)
