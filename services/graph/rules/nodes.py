"""The rules of a node: its block can be placed, its constants fit the block's pins, and nothing required is missing."""

import math
from collections.abc import Collection, Generator, Iterator, Mapping
from itertools import islice
from typing import Any

from blockyard.block.dynamic_pins import base_pin, fold, is_dynamic, parse
from blockyard.graph.v1.block_pb2 import BlockType
from blockyard.graph.v1.graph_pb2 import Node, OnError
from blockyard.values import encode

from services.common.errors import Violation
from services.graph.blocks import BlockDefinition
from services.graph.children import wanted_child
from services.graph.layout import Layout, PlacedNode
from services.graph.rules import values
from services.graph.rules.credentials import credentials_violations
from services.graph.rules.policies import retry_violations, seconds_violation

LONGEST_NAME = 200
LONGEST_TIMEOUT_SECONDS = 7 * 24 * 3600.0
MOST_CLASHES = 10
MOST_PROBLEMS = 10
"""Of one constant; whoever sends a table of a thousand wrong rows has seen enough after ten."""


def node_violations(layout: Layout, node: PlacedNode) -> Iterator[Violation]:
    """What is wrong with the node itself."""
    yield from _settings(node.message, node.path)
    block = node.block
    if block is None:
        return
    if block.barred:
        yield Violation(f"{node.path}.block_id", f"{block.name} cannot be placed now: {block.barred}")
    linked = {link.message.sink_pin for link in layout.into(node)}
    constants = yield from _fold_constants(node, block)
    yield from credentials_violations(layout, node, block, constants)
    yield from _value_violations(node, block, constants, linked)
    # A note never runs, so nothing is missing there.
    if not node.is_a(BlockType.BLOCK_TYPE_NOTE):
        bases = {base_pin(pin) for pin in linked}
        yield from _missing(node, block, constants, bases)
        if node.is_a(BlockType.BLOCK_TYPE_AGENT):
            yield from graph_violations(node, constants, bases)


def _settings(message: Node, path: str) -> Iterator[Violation]:
    if message.HasField("retry"):
        yield from retry_violations(message.retry, f"{path}.retry")
    if message.HasField("timeout"):
        yield from seconds_violation(message.timeout, f"{path}.timeout", 0.001, LONGEST_TIMEOUT_SECONDS)
    if message.on_error not in OnError.values():
        yield Violation(f"{path}.on_error", f"expected one of {', '.join(OnError.keys())}, got {message.on_error}")
    position = message.metadata.position
    if not (math.isfinite(position.x) and math.isfinite(position.y)):
        yield Violation(f"{path}.metadata.position", "expected finite numbers")
    if len(message.metadata.customized_name) > LONGEST_NAME:
        yield Violation(f"{path}.metadata.customized_name", f"is longer than {LONGEST_NAME} characters")


def _fold_constants(node: PlacedNode, block: BlockDefinition) -> Generator[Violation, None, dict[str, Any]]:
    """Gives violations, and returns the constants by base pin, those of pins for credentials excepted."""
    known: dict[str, Any] = {}
    for pin, value in node.constants.items():
        if base_pin(pin) in block.credentials:
            # These are looked at apart, so that nothing of them is shown.
            continue
        path = f"{node.path}.inputs.{pin[:100]}"
        if base_pin(pin) not in node.inputs:
            yield Violation(path, unknown_pin(node, "input", pin))
        elif problem := selector_problem(pin):
            yield Violation(path, problem)
        else:
            known[pin] = value
    for _ in range(MOST_CLASHES):
        try:
            return fold(known)
        except ValueError as error:
            # The message begins with the pin that does not fit the others; without it the rest is tried again.
            clashing = max((pin for pin in known if str(error).startswith(f"{pin}: ")), key=len)
            yield Violation(f"{node.path}.inputs.{clashing[:100]}", str(error).removeprefix(f"{clashing}: "))
            del known[clashing]
    return {pin: value for pin, value in known.items() if not is_dynamic(pin)}


def selector_problem(pin: str) -> str:
    """What is wrong with the part of a pin that is named; empty if nothing."""
    try:
        parse(pin)
    except ValueError as error:
        return str(error).removeprefix(f"{pin}: ")
    return ""


def _value_violations(
    node: PlacedNode, block: BlockDefinition, constants: dict[str, Any], linked: Collection[str]
) -> Iterator[Violation]:
    partly = {base_pin(pin) for pin in linked if is_dynamic(pin)}
    for pin, value in constants.items():
        if value is None or pin in linked:
            continue
        if pin not in block.inputs:
            # An input of the graph that the node runs: its own nodes convert and check it.
            continue
        try:
            encode(value)
        except ValueError as error:
            # A reference to the blob store is made by a runner, for a value of its own execution.
            yield Violation(f"{node.path}.inputs.{pin}", str(error))
            continue
        if pin in partly:
            # Links fill in the rest, so only its kind can be told.
            if not isinstance(value, dict | list):
                yield Violation(
                    f"{node.path}.inputs.{pin}", "links go into parts of it, so expected a list or an object"
                )
            continue
        problems = values.problems(block.validator(pin), value, block.is_secret(pin))
        for place, problem in islice(problems, MOST_PROBLEMS):
            yield Violation(f"{node.path}.inputs.{pin}{place}", problem)


def _missing(
    node: PlacedNode, block: BlockDefinition, constants: dict[str, Any], linked: Collection[str]
) -> Iterator[Violation]:
    # A credential may come with the start.
    for pin in sorted(block.required - block.credentials.keys()):
        if pin in linked or constants.get(pin) is not None:
            continue
        if pin in constants and block.validator(pin).is_valid(None):
            continue
        yield Violation(f"{node.path}.inputs.{pin}", "is required: give it a constant, or link a pin to it")


def graph_violations(node: PlacedNode, constants: Mapping[str, Any], linked: Collection[str]) -> Iterator[Violation]:
    """What is wrong with a node that runs a graph: `constants` and `linked` are by base pin."""
    for pin in ("graph_id", "graph_version"):
        if pin in linked:
            yield Violation(f"{node.path}.inputs.{pin}", "must be a constant: the node's pins are those of that graph")
            return
    wanted = wanted_child(constants)
    if node.child is None:
        if wanted is not None:
            version = f" at version {wanted[1]}" if wanted[1] else ""
            yield Violation(f"{node.path}.inputs.graph_id", f"you have no graph {wanted[0][:100]!r}{version}")
        elif constants.get("graph_id") == "":
            yield Violation(f"{node.path}.inputs.graph_id", "must not be empty: it is the id of the graph to run")
        return
    given = constants.get("inputs")
    inside = given if isinstance(given, Mapping) and "inputs" not in linked else {}
    for name in sorted(node.child.required):
        if name not in linked and constants.get(name) is None and inside.get(name) is None:
            yield Violation(
                f"{node.path}.inputs.inputs.{name[:100]}",
                f"is required by the graph {node.child.name[:100]!r}: give it a constant, or link a pin to it",
            )


def unknown_pin(node: PlacedNode, side: str, pin: str) -> str:
    """That the node has no such pin, and which ones it has."""
    known = ", ".join(sorted(node.inputs if side == "input" else node.outputs)) or "none"
    runs = f" that runs {node.child.name[:100]!r}" if node.child else ""
    name = node.block.name if node.block else "the node"
    return f"{name}{runs} has no {side} pin {base_pin(pin)[:100]!r}; it has: {known[:250]}"
