"""Keeps the start of a service's process cheap. The standard library alone is used here.

Between `begin` and `end`, the imports, nothing looks for garbage, since next to none is made; and structlog does not
find what it would only import to paint stack traces with, local variables and all.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

PAINTING = "rich"


def begin() -> None:
    """The imports begin."""
    gc.disable()
    # With None in its place, whoever imports it is told that it is not there.
    sys.modules.setdefault(PAINTING, None)  # type: ignore[arg-type]  # documented, and not in the stubs


def end() -> None:
    """The imports are over: what they have made stays, and is not looked at again in search of garbage."""
    if sys.modules.get(PAINTING, sys) is None:
        del sys.modules[PAINTING]
    gc.freeze()
    gc.enable()


@contextmanager
def without_collections() -> Iterator[None]:
    """Much is made here that stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without(package: str) -> Iterator[None]:
    """Import what would import this package, if it were there, for something that is not used here.

    One that was imported already stays; and who imports it later gets it.
    """
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # as above
    try:
        yield
    finally:
        del sys.modules[package]
