"""All SQL about users."""

from collections.abc import Collection, Mapping, Sequence

import asyncpg
from blockyard.account.v1.account_pb2 import AuditEntry

from services.account.records import NewUser, User
from services.account.repository.audit import insert_entries
from services.account.repository.numbers import is_active, number_of_role, number_of_state, role_of
from services.common.permissions import Role

_COLUMNS = """
    user_id, name, email, role, role_set, time_zone, state, low_balance, create_time, update_time, last_seen_time
"""
CHANGEABLE = ("name", "email", "time_zone", "low_balance")


class UserRepository:
    """What changes a user is audited in its transaction."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]") -> None:
        self._pool = pool

    async def get(self, user_id: str) -> User | None:
        """A user."""
        row = await self._pool.fetchrow(f"SELECT {_COLUMNS} FROM users WHERE user_id = $1", user_id)
        return _user(row) if row else None

    async def of_ids(self, user_ids: Sequence[str]) -> Sequence[User]:
        """Those of these users who are known."""
        rows = await self._pool.fetch(f"SELECT {_COLUMNS} FROM users WHERE user_id = ANY($1::text[])", list(user_ids))
        return [_user(row) for row in rows]

    async def page(self, query: str, after: str, limit: int) -> Sequence[User]:
        """Users by id, those whose id, name or e-mail address holds a text."""
        rows = await self._pool.fetch(
            f"""
            SELECT {_COLUMNS} FROM users
            WHERE user_id COLLATE "C" > $2
              AND ($1 = '' OR position(
                  lower($1 COLLATE pg_c_utf8) IN lower((user_id || ' ' || name || ' ' || email) COLLATE pg_c_utf8)) > 0)
            ORDER BY user_id COLLATE "C" LIMIT $3
            """,
            query,
            after,
            limit,
        )
        return [_user(row) for row in rows]

    async def insert(self, new: NewUser, entry: AuditEntry) -> User | None:
        """Makes a user; None if there is one."""
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(
                f"""
                INSERT INTO users (user_id, name, email, role, role_set, time_zone) VALUES ($1, $2, $3, $4, $5, $6)
                ON CONFLICT DO NOTHING RETURNING {_COLUMNS}
                """,
                new.user_id,
                new.name,
                new.email,
                number_of_role(new.role),
                new.role_set,
                new.time_zone,
            )
            if row is not None:
                await insert_entries(connection, entry)
        return _user(row) if row else None

    async def meet(self, new: NewUser) -> User:
        """The user whom a token names. They are made at their first call; role, name and address follow the token.

        Whatever an administrator or the user has set stays: the role if it was set, the rest if it is not empty.
        """
        user = await self.get(new.user_id)
        if user is None or _differs(user, new):
            row = await self._pool.fetchrow(
                f"""
                INSERT INTO users AS known (user_id, name, email, role) VALUES ($1, $2, $3, $4)
                ON CONFLICT (user_id) DO UPDATE SET
                    role = CASE WHEN known.role_set THEN known.role ELSE excluded.role END,
                    name = CASE WHEN known.name = '' THEN excluded.name ELSE known.name END,
                    email = CASE WHEN known.email = '' THEN excluded.email ELSE known.email END,
                    update_time = now()
                RETURNING {_COLUMNS}
                """,
                new.user_id,
                new.name,
                new.email,
                number_of_role(new.role),
            )
            assert row is not None, "the statement inserts or updates"
            return _user(row)
        return user

    async def update(self, user_id: str, changes: Mapping[str, str | int], entry: AuditEntry) -> User | None:
        """Sets columns of CHANGEABLE; None if there is no such user."""
        names = [name for name in CHANGEABLE if name in changes]
        assignments = ", ".join(f"{name} = ${number}" for number, name in enumerate(names, 2))
        return await self._change(
            f"UPDATE users SET {assignments}, update_time = now() WHERE user_id = $1 RETURNING {_COLUMNS}",
            [user_id, *(changes[name] for name in names)],
            entry,
        )

    async def set_access(self, user_id: str, role: Role | None, active: bool | None, entry: AuditEntry) -> User | None:
        """Sets role and state, as far as they are given; None if there is no such user."""
        return await self._change(
            f"""
            UPDATE users SET role = coalesce($2, role), role_set = role_set OR $2 IS NOT NULL,
                             state = coalesce($3, state), update_time = now()
            WHERE user_id = $1 RETURNING {_COLUMNS}
            """,
            [
                user_id,
                number_of_role(role) if role is not None else None,
                number_of_state(active) if active is not None else None,
            ],
            entry,
        )

    async def note_seen(self, user_ids: Collection[str]) -> None:
        """Notes, to the minute, that users call now."""
        await self._pool.execute(
            """
            UPDATE users SET last_seen_time = date_trunc('minute', now())
            WHERE user_id = ANY($1::text[]) AND last_seen_time IS DISTINCT FROM date_trunc('minute', now())
            """,
            sorted(user_ids),
        )

    async def _change(self, statement: str, values: Sequence[object], entry: AuditEntry) -> User | None:
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(statement, *values)
            if row is not None:
                await insert_entries(connection, entry)
        return _user(row) if row else None


def _differs(user: User, new: NewUser) -> bool:
    return bool(
        (not user.role_set and user.role is not new.role)
        or (new.name and not user.name)
        or (new.email and not user.email)
    )


def _user(row: asyncpg.Record) -> User:
    columns = dict(row)
    state = columns.pop("state")
    return User(**{**columns, "role": role_of(columns["role"]), "active": is_active(state)})
