"""Queries that read as much as memory should hold at once, however large the values are."""

from collections.abc import Sequence

import asyncpg

BYTES_READ = 8 << 20
"""Of values that one query reads, unless the first alone has more: there may be thousands, of a MiB each."""


def within(columns: str, order: str, source: str) -> str:
    """A query for the first rows of a source, as many as have fewer bytes in their `value` than its last parameter."""
    return f"""
SELECT * FROM (
    SELECT page.*, sum(octet_length(value)) OVER (ORDER BY {order}) - octet_length(value) AS before
    FROM (SELECT {columns} FROM {source}) AS page
) AS page WHERE before < ${source.count("$") + 1} ORDER BY {order}
"""


def is_last(rows: Sequence[asyncpg.Record], limit: int) -> bool:
    """True if nothing follows these rows of such a query, with this limit of rows and BYTES_READ."""
    return len(rows) < limit and sum(len(row["value"]) for row in rows) < BYTES_READ
