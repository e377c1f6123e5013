"""What is kept to be started: the templates of schedules and triggers."""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg


@dataclass(frozen=True, slots=True)
class KeptTemplate:
    """A template and what keeps it: one of both ids is empty."""

    schedule_id: str
    trigger_id: str
    template: bytes
    """A message blockyard.execution.v1.StartTemplate."""
    is_secret: bool
    """Whether the text is the id of the credential that holds the trigger's secret."""


class TemplateRepository:
    """Questions about both kinds."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def holding(self, user_id: str, text: str, limit: int) -> Sequence[KeptTemplate]:
        """A user's templates in which a text stands, wherever that may be, and those of triggers whose secret it is."""
        rows = await self._pool.fetch(
            """
            SELECT schedule_id::text AS schedule_id, '' AS trigger_id, template, false AS is_secret FROM schedules
            WHERE user_id = $1 AND position(convert_to($2, 'UTF8') IN template) > 0
            UNION ALL
            SELECT '', trigger_id, template, secret_credential_id = $2 FROM triggers
            WHERE user_id = $1 AND (position(convert_to($2, 'UTF8') IN template) > 0 OR secret_credential_id = $2)
            LIMIT $3
            """,
            user_id,
            text,
            limit,
        )
        return [KeptTemplate(**row) for row in rows]
