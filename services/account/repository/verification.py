"""Compares what the ledger says in several places: entries, balances, charges and spending must tell the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg

LONGEST_SECONDS = 600
"""The whole ledger is read."""
EXAMPLES = 100
"""Discrepancies of a kind that are named."""

CHECKS: Mapping[str, str] = {
    "the entries of a transfer do not add up to 0": """
        SELECT t.transfer_id::text AS subject, '0 of 2 entries' AS expected,
               coalesce(sum(e.amount), 0) || ' of ' || count(e.account) || ' entries' AS found
        FROM transfers t LEFT JOIN entries e ON e.transfer_id = t.transfer_id
        GROUP BY t.transfer_id HAVING coalesce(sum(e.amount), 0) <> 0 OR count(e.account) <> 2
    """,
    "an entry has no transfer": """
        SELECT e.account AS subject, e.transfer_id::text AS expected, 'none' AS found
        FROM entries e LEFT JOIN transfers t ON t.transfer_id = e.transfer_id WHERE t.transfer_id IS NULL
    """,
    "an entry says another amount than its transfer": """
        SELECT t.transfer_id::text AS subject, t.amount::text AS expected, coalesce(e.amount::text, 'none') AS found
        FROM transfers t LEFT JOIN entries e ON e.transfer_id = t.transfer_id AND e.account = 'user:' || t.user_id
        WHERE e.amount IS DISTINCT FROM t.amount
    """,
    "a balance is not the sum of its entries": """
        SELECT coalesce('user:' || b.user_id, e.account) AS subject, coalesce(e.amount, 0)::text AS expected,
               coalesce(b.balance, 0)::text AS found
        FROM balances b FULL JOIN (
            SELECT account, sum(amount) AS amount FROM entries WHERE account LIKE 'user:%' GROUP BY account
        ) AS e ON e.account = 'user:' || b.user_id
        WHERE coalesce(b.balance, 0) <> coalesce(e.amount, 0)
    """,
    "what was spent is not the sum of the charges": """
        SELECT coalesce(b.user_id, t.user_id) AS subject, coalesce(t.amount, 0)::text AS expected,
               coalesce(b.spent, 0)::text AS found
        FROM balances b FULL JOIN (
            SELECT user_id, -sum(amount) AS amount FROM transfers WHERE kind = 2 GROUP BY user_id
        ) AS t ON t.user_id = b.user_id
        WHERE coalesce(b.spent, 0) <> coalesce(t.amount, 0)
    """,
    "the spending by block is not what was spent": """
        SELECT coalesce(b.user_id, s.user_id) AS subject, coalesce(b.spent, 0)::text AS expected,
               coalesce(s.amount, 0)::text AS found
        FROM balances b FULL JOIN (
            SELECT user_id, sum(amount) AS amount FROM spending GROUP BY user_id
        ) AS s ON s.user_id = b.user_id
        WHERE coalesce(b.spent, 0) <> coalesce(s.amount, 0)
    """,
    "the spending by block is not of as many node executions as transfers": """
        SELECT coalesce(t.user_id, s.user_id) AS subject, coalesce(t.charges, 0)::text AS expected,
               coalesce(s.charges, 0)::text AS found
        FROM (SELECT user_id, sum(charges) AS charges FROM transfers WHERE kind = 2 GROUP BY user_id) AS t
        FULL JOIN (SELECT user_id, sum(charges) AS charges FROM spending GROUP BY user_id) AS s
            ON s.user_id = t.user_id
        WHERE coalesce(t.charges, 0) <> coalesce(s.charges, 0)
    """,
    "the transfers of an execution are not for as many node executions as are charged": """
        SELECT coalesce(t.execution_id, c.execution_id)::text AS subject, coalesce(t.charges, 0)::text AS expected,
               coalesce(c.charges, 0)::text AS found
        FROM (
            SELECT execution_id, sum(charges) AS charges FROM transfers WHERE kind = 2 AND execution_id >= $1
            GROUP BY execution_id
        ) AS t
        FULL JOIN (
            SELECT execution_id, sum(bit_count(node_executions)) AS charges FROM charges WHERE execution_id >= $1
            GROUP BY execution_id
        ) AS c ON c.execution_id = t.execution_id
        WHERE coalesce(t.charges, 0) <> coalesce(c.charges, 0)
    """,
}


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """Two places that should tell the same."""

    what: str
    subject: str
    expected: str
    found: str


async def verify(pool: "asyncpg.Pool[asyncpg.Record]", first_kept: UUID) -> list[Discrepancy]:
    """All that does not fit, at one moment. Charges of executions before `first_kept` may have been dropped."""
    found: list[Discrepancy] = []
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(f"SET LOCAL statement_timeout = {LONGEST_SECONDS * 1000}")
        for what, statement in CHECKS.items():
            arguments = [first_kept] if "$1" in statement else []
            rows = await connection.fetch(
                f"{statement} ORDER BY 1 LIMIT {EXAMPLES}", *arguments, timeout=LONGEST_SECONDS
            )
            found += [Discrepancy(what, row["subject"], row["expected"], row["found"]) for row in rows]
    return found
