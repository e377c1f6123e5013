"""What users want to be told by mail, and how their addresses took it."""

from collections.abc import Mapping, Sequence
from datetime import datetime

import asyncpg

from services.notification.mail.kinds import DEFAULTS, DIGEST_DAY, DIGEST_HOUR, Frequency, MailKind, Round
from services.notification.mail.records import MailState, Preferences
from services.notification.repository.followers import Connection

_KNOWN_KINDS = {int(kind) for kind in MailKind}
_OFF = Frequency.OFF


class PreferenceRepository:
    """The tables `mail_users` and `mail_frequencies`. Who has no row has the defaults."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def get(self, user_id: str) -> Preferences:
        """A user's."""
        return (await self.of_users((user_id,)))[user_id]

    async def of_users(self, user_ids: Sequence[str]) -> dict[str, Preferences]:
        """Those of each of these users."""
        rows = await self._pool.fetch(
            """
            SELECT user_id, digest_hour, digest_day, refused_address, refusals, refusal
            FROM mail_users WHERE user_id = ANY($1::text[])
            """,
            list(user_ids),
        )
        columns = {row["user_id"]: dict(list(row.items())[1:]) for row in rows}
        async with self._pool.acquire() as connection:
            frequencies = await self.frequencies(connection, user_ids)
        return {one: Preferences(frequencies=frequencies[one], **columns.get(one, {})) for one in user_ids}

    async def frequencies(
        self, connection: Connection, user_ids: Sequence[str]
    ) -> dict[str, Mapping[MailKind, Frequency]]:
        """How often each of these users is told of each kind."""
        rows = await connection.fetch(
            "SELECT user_id, kind, frequency FROM mail_frequencies WHERE user_id = ANY($1::text[])", list(user_ids)
        )
        found: dict[str, Mapping[MailKind, Frequency]] = dict.fromkeys(user_ids, DEFAULTS)
        for row in rows:
            if row["kind"] in _KNOWN_KINDS:
                own = {MailKind(row["kind"]): Frequency(row["frequency"])}
                found[row["user_id"]] = {**found[row["user_id"]], **own}
        return found

    async def update(
        self,
        user_id: str,
        frequencies: Mapping[MailKind, Frequency],
        digest_hour: int | None,
        digest_day: int | None,
        now: datetime,
    ) -> None:
        """Sets what is given. What waits of kinds that are off now is not sent, and digests are planned anew."""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                """
                INSERT INTO mail_users AS u (user_id, digest_hour, digest_day)
                VALUES ($1, coalesce($2::smallint, $4::smallint), coalesce($3::smallint, $5::smallint))
                ON CONFLICT (user_id) DO UPDATE SET
                    digest_hour = coalesce($2::smallint, u.digest_hour),
                    digest_day = coalesce($3::smallint, u.digest_day),
                    refused_address = '', refusals = 0, refusal = '', update_time = now()
                """,
                user_id,
                digest_hour,
                digest_day,
                DIGEST_HOUR,
                DIGEST_DAY,
            )
            await self._set(connection, user_id, frequencies, now)
            await connection.execute(
                "UPDATE mail_rounds SET due_time = NULL WHERE user_id = $1 AND round <> $2", user_id, Round.HOURLY
            )

    async def switch_off(self, user_id: str, kinds: Sequence[MailKind], now: datetime) -> None:
        """Sets kinds off; what waits of them is not sent."""
        async with self._pool.acquire() as connection, connection.transaction():
            await self._set(connection, user_id, dict.fromkeys(kinds, _OFF), now)

    async def _set(
        self, connection: Connection, user_id: str, frequencies: Mapping[MailKind, Frequency], now: datetime
    ) -> None:
        kinds = sorted(frequencies)
        # First the rounds, as whoever gathers does: two that wait for each other would both fail.
        await connection.execute("SELECT FROM mail_rounds WHERE user_id = $1 ORDER BY round FOR UPDATE", user_id)
        await connection.execute(
            """
            INSERT INTO mail_frequencies (user_id, kind, frequency)
            SELECT $1, kind, frequency FROM unnest($2::smallint[], $3::smallint[]) AS new (kind, frequency)
            ON CONFLICT (user_id, kind) DO UPDATE SET frequency = excluded.frequency
            """,
            user_id,
            kinds,
            [frequencies[kind] for kind in kinds],
        )
        off = [kind for kind in kinds if frequencies[kind] is _OFF]
        await connection.execute(
            """
            UPDATE mails SET state = $3, end_time = $4, due_time = NULL, reason = 'unsubscribed', details = '{}'
            WHERE user_id = $1 AND kind = ANY($2::smallint[]) AND due_time IS NOT NULL
            """,
            user_id,
            off,
            MailState.UNWANTED,
            now,
        )
        await connection.execute(
            "DELETE FROM mail_gathered WHERE user_id = $1 AND kind = ANY($2::smallint[])", user_id, off
        )

    async def note_refusal(self, user_id: str, address: str, reason: str) -> None:
        """A mail to the user's address was refused for good."""
        await self._pool.execute(
            """
            INSERT INTO mail_users AS u (user_id, digest_hour, digest_day, refused_address, refusals, refusal)
            VALUES ($1, $4, $5, $2, 1, $3)
            ON CONFLICT (user_id) DO UPDATE SET
                refusals = CASE WHEN u.refused_address = $2 THEN u.refusals + 1 ELSE 1 END,
                refused_address = $2, refusal = $3, update_time = now()
            """,
            user_id,
            address,
            reason,
            DIGEST_HOUR,
            DIGEST_DAY,
        )

    async def note_acceptance(self, user_id: str) -> None:
        """A mail to the user's address was taken."""
        await self._pool.execute(
            """
            UPDATE mail_users SET refused_address = '', refusals = 0, refusal = '', update_time = now()
            WHERE user_id = $1 AND refusals > 0
            """,
            user_id,
        )
