"""Asynchronous generators that nobody has closed: what they hold is let go later, and what fails then is not seen."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def left_open() -> Iterator[list[str]]:
    """The names of those that the loop has to close, since whoever iterated over them has gone."""
    of_loop = sys.get_asyncgen_hooks().finalizer
    assert of_loop is not None, "the loop runs"
    names: list[str] = []

    def close(generator: Any) -> None:  # Any: their names are not declared
        names.append(generator.__qualname__)
        of_loop(generator)

    sys.set_asyncgen_hooks(finalizer=close)
    try:
        yield names
    finally:
        sys.set_asyncgen_hooks(finalizer=of_loop)
