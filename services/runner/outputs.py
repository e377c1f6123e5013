"""What a block yields, as it travels: encoded, counted on its pin, and with the linked parts of it beside it."""

from collections.abc import Iterable, Iterator
from typing import Any

from blockyard.block import BlockOutputError
from blockyard.block.dynamic_pins import MISSING, base_pin, select
from blockyard.values import encode

Encoded = tuple[str, int, bytes]
"""Pin or selector, index on the pin, and the value as JSON."""


class Yielded:
    """Counts the values of one run by pin."""

    __slots__ = ("_counts", "_selectors")

    def __init__(self, selectors: Iterable[str] = ()) -> None:
        self._counts: dict[str, int] = {}
        self._selectors: dict[str, list[str]] = {}
        for selector in selectors:
            self._selectors.setdefault(base_pin(selector), []).append(selector)

    def encode(self, pin: str, value: Any) -> Iterator[Encoded]:
        """The value on its pin, and on the selectors whose part of it is there. All carry the pin's index."""
        index = self._counts.get(pin, 0)
        self._counts[pin] = index + 1
        yield pin, index, _encode(pin, value)
        if self._selectors:
            for selector in self._selectors.get(pin, ()):
                part = select(selector, value)
                if part is not MISSING:
                    yield selector, index, _encode(selector, part)


def _encode(pin: str, value: Any) -> bytes:
    try:
        return encode(value)
    except (ValueError, RecursionError) as error:
        raise BlockOutputError(f"outputs.{pin}: {error}") from error
