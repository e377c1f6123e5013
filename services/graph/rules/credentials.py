"""The rules of pins for credentials: they hold references to the vault, never a secret, and no link leads into one.

Nothing of a value is ever repeated in a message: what somebody wrote there may be the secret itself.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from blockyard.block.dynamic_pins import base_pin, is_dynamic
from blockyard.block.references import ADVICE, reference_problems
from blockyard.block.requirements import CredentialsRequirement

from services.common.errors import Violation
from services.graph.blocks import BlockDefinition
from services.graph.credentials import with_defaults
from services.graph.layout import Layout, PlacedNode


def credentials_violations(
    layout: Layout, node: PlacedNode, block: BlockDefinition, constants: Mapping[str, Any]
) -> Iterator[Violation]:
    """What is wrong with the node's credentials. `constants` are those of its other pins, by base pin."""
    if not block.credentials:
        return
    for link in layout.into(node):
        if link.base_sink_pin in block.credentials:
            yield Violation(
                f"{link.path}.sink_pin",
                f"{link.base_sink_pin} takes a credential, which no link can carry: name one in the node's inputs, or "
                "give it at the start",
            )
    known = with_defaults(block, constants, (link.base_sink_pin for link in layout.into(node)))
    for pin, value in node.constants.items():
        base = base_pin(pin)
        if base not in block.credentials:
            continue
        # What follows in a dynamic pin's name is the caller's text too.
        path = f"{node.path}.inputs.{base}"
        if is_dynamic(pin):
            yield Violation(path, f"takes a reference as a whole, not in parts: {ADVICE}")
        elif value is not None:
            found = [*reference_problems(value)] or [*_misfits(value, block.credentials[base], known)]
            for place, problem in found:
                yield Violation(f"{path}{place}", problem)


def _misfits(
    value: Mapping[str, Any], wanted: CredentialsRequirement, known: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    picked = wanted.picked_value(known)
    providers = wanted.providers_for(picked)
    if value["provider"] not in providers:
        because = f", since {wanted.discriminator} is {picked!r}" if providers != wanted.providers else ""
        yield ".provider", f"expected {_either(providers)}{because}"
    # A pin that names no types takes all.
    if wanted.types and value["type"] not in wanted.types:
        yield ".type", f"expected {_either(wanted.types)}"


def _either(names: Iterable[str]) -> str:
    return " or ".join(names)
