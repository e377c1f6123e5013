"""The rules of a link: its two pins are there, and both of its nodes take part in a run."""

from collections.abc import Collection, Iterator

from blockyard.block.dynamic_pins import base_pin
from blockyard.graph.v1.block_pb2 import BlockType

from services.common.errors import Violation
from services.graph.layout import Layout, PlacedLink, PlacedNode
from services.graph.rules.nodes import selector_problem, unknown_pin


def link_violations(layout: Layout) -> Iterator[Violation]:
    """What is wrong with links whose nodes are there."""
    seen: dict[tuple[int, str, int, str], PlacedLink] = {}
    for link in layout.links:
        message = link.message
        yield from _end_violations(link.source, "output", f"{link.path}.source_pin", message.source_pin)
        yield from _end_violations(link.sink, "input", f"{link.path}.sink_pin", message.sink_pin)
        for end, node in (("source", link.source), ("sink", link.sink)):
            if node.is_a(BlockType.BLOCK_TYPE_NOTE):
                yield Violation(f"{link.path}.{end}_node_id", f"node {node.id!r} is a note, which never runs")
        key = (link.source.index, message.source_pin, link.sink.index, message.sink_pin)
        if key in seen:
            yield Violation(link.path, f"is the same as {seen[key].path}")
        seen.setdefault(key, link)


def _end_violations(node: PlacedNode, side: str, path: str, pin: str) -> Iterator[Violation]:
    if node.block is None:
        return
    pins: Collection[str] = node.block.inputs if side == "input" else node.block.outputs
    if base_pin(pin) not in pins:
        yield Violation(path, unknown_pin(node.block, side, pin, pins) if pin else "is required")
    elif problem := selector_problem(pin):
        yield Violation(path, problem)
