"""All SQL about presets."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from services.common.user_limits import one_at_a_time
from services.graph.records import NewPreset, PresetContent, PresetRow

_COLUMNS = "preset_id, graph_id, user_id, graph_version, name, description, credentials, create_time, update_time"


@dataclass(frozen=True, slots=True, eq=False)
class PresetRepository:
    """Every question names the user: a preset of somebody else's is not there."""

    pool: "asyncpg.Pool[asyncpg.Record]"

    async def insert(self, new: NewPreset, most: int) -> bool:
        """Stores a preset; False if the user's request id has made one before, if they have as many as `most`, or if
        the graph is gone."""
        async with self.pool.acquire() as connection, connection.transaction():
            await one_at_a_time(connection, "presets", new.user_id)
            done = await connection.execute(
                """
                INSERT INTO presets (preset_id, graph_id, user_id, graph_version, name, description, inputs,
                                     credentials, request_id, request_hash)
                SELECT $1, graph_id, user_id, $4, $5, $6, $7, $8::jsonb, $9, $10 FROM graphs
                WHERE graph_id = $2 AND user_id = $3 AND (SELECT count(*) FROM presets WHERE user_id = $3) < $11
                FOR KEY SHARE
                ON CONFLICT (user_id, request_id) WHERE request_id IS NOT NULL DO NOTHING
                """,
                new.preset_id,
                new.graph_id,
                new.user_id,
                new.content.graph_version,
                new.content.name,
                new.content.description,
                new.content.inputs,
                json.dumps(dict(new.content.credentials)),
                new.request_id,
                new.request_hash,
                most,
            )
        return done == "INSERT 0 1"

    async def count(self, user_id: str) -> int:
        """How many presets a user has."""
        number: int = await self.pool.fetchval("SELECT count(*) FROM presets WHERE user_id = $1", user_id)
        return number

    async def made_by_request(self, user_id: str, request_id: str) -> tuple[UUID, bytes] | None:
        """The preset that a request made, and the hash of that request."""
        row = await self.pool.fetchrow(
            "SELECT preset_id, request_hash FROM presets WHERE user_id = $1 AND request_id = $2", user_id, request_id
        )
        return (row["preset_id"], row["request_hash"]) if row else None

    async def get(self, user_id: str, preset_id: UUID) -> PresetRow | None:
        """A preset with its inputs."""
        row = await self.pool.fetchrow(
            f"SELECT {_COLUMNS}, inputs FROM presets WHERE preset_id = $1 AND user_id = $2", preset_id, user_id
        )
        return _preset(row) if row else None

    async def page(
        self, user_id: str, graph_id: UUID | None, before: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[PresetRow]:
        """A user's presets, or those of a graph, newest first, without inputs."""
        moment, preset_id = before or (None, None)
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS}, '{{}}'::bytea AS inputs FROM presets
            WHERE user_id = $1 AND ($2::uuid IS NULL OR graph_id = $2)
              AND ($3::timestamptz IS NULL OR (create_time, preset_id) < ($3, $4))
            ORDER BY create_time DESC, preset_id DESC LIMIT $5
            """,
            user_id,
            graph_id,
            moment,
            preset_id,
            limit,
        )
        return [_preset(row) for row in rows]

    async def replace(self, row: PresetRow, content: PresetContent) -> bool:
        """Gives a preset other content; False if it is no longer as it was read."""
        done = await self.pool.execute(
            """
            UPDATE presets SET graph_version = $4, name = $5, description = $6, inputs = $7, credentials = $8::jsonb,
                               update_time = greatest(clock_timestamp(), update_time + interval '1 microsecond')
            WHERE preset_id = $1 AND user_id = $2 AND update_time = $3
            """,
            row.preset_id,
            row.user_id,
            row.update_time,
            content.graph_version,
            content.name,
            content.description,
            content.inputs,
            json.dumps(dict(content.credentials)),
        )
        return done == "UPDATE 1"

    async def delete(self, user_id: str, preset_id: UUID) -> bool:
        """Deletes a preset; False if there is none such."""
        done = await self.pool.execute("DELETE FROM presets WHERE preset_id = $1 AND user_id = $2", preset_id, user_id)
        return done == "DELETE 1"

    async def naming_credential(self, user_id: str, credential_id: UUID, limit: int) -> Sequence[PresetRow]:
        """A user's presets that name a credential, the newest first, without inputs."""
        rows = await self.pool.fetch(
            f"""
            SELECT {_COLUMNS}, '{{}}'::bytea AS inputs FROM presets
            WHERE user_id = $1 AND EXISTS (SELECT FROM jsonb_each_text(credentials) AS given WHERE given.value = $2)
            ORDER BY create_time DESC, preset_id DESC LIMIT $3
            """,
            user_id,
            str(credential_id),
            limit,
        )
        return [_preset(row) for row in rows]


def _preset(row: asyncpg.Record) -> PresetRow:
    content = PresetContent(
        row["graph_version"], row["name"], row["description"], row["inputs"], json.loads(row["credentials"])
    )
    return PresetRow(row["preset_id"], row["graph_id"], row["user_id"], content, row["create_time"], row["update_time"])
