"""What commands that list things share: how many at most."""

from collections.abc import AsyncIterator
from typing import TypeVar

import click

T = TypeVar("T")

MOST_PER_PAGE = 1_000

limit_option = click.option("--limit", default=50, show_default=True, type=click.IntRange(1), help="How many at most.")


async def first(source: AsyncIterator[T], limit: int) -> list[T]:
    """The first items of an async iterator."""
    found: list[T] = []
    async for item in source:
        if len(found) >= limit:
            break
        found.append(item)
    return found


def page_size(limit: int) -> int:
    """How many to ask for at once."""
    return min(limit, MOST_PER_PAGE)
