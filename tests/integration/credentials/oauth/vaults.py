"""Replicas of the vault's inside, on one database; each has its own pool, keys in memory, and HTTP client."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
from blockyard.dev.postgres import PostgresServer
from blockyard.event.v1.notice_pb2 import Notice

from services.common import database
from services.credentials.config import CredentialsSettings
from services.credentials.keyring import DataKeys, Keyring
from services.credentials.keys.folder import FolderKeys
from services.credentials.oauth.wiring import OAuth, open_oauth
from services.credentials.records import CredentialRecord, CredentialType, NewCredential, Opened
from services.credentials.repository.credentials import CredentialRepository
from services.credentials.repository.keys import KeyRepository
from services.credentials.vault import Vault
from tests.signing import SETTINGS
from tests.stack.postgres import as_role, migrated_database


@dataclass(eq=False)
class Replica:
    """One vault."""

    vault: Vault
    oauth: OAuth
    pool: "asyncpg.Pool[asyncpg.Record]" = field(repr=False)

    async def connected(self, user_id: str = "anna", *, seconds: float | None = 3600, **parts: str) -> CredentialRecord:
        """A credential with tokens as they are given, which expire in so many seconds."""
        tokens = {"access_token": "access-1", "refresh_token": "refresh-1", "token_type": "Bearer", **parts}
        expire_time = None if seconds is None else await self.time(seconds)
        new = NewCredential(
            user_id=user_id,
            provider="openid",
            type=CredentialType.OAUTH2,
            title="Connected",
            parts={name: value for name, value in tokens.items() if value},
            scopes=["openid", "read"],
            expire_time=expire_time,
        )
        return await self.vault.create(new)

    async def time(self, ahead: float = 0.0) -> datetime:
        """PostgreSQL's clock, and so many seconds."""
        moment: datetime = await self.pool.fetchval("SELECT clock_timestamp() + make_interval(secs => $1)", ahead)
        return moment

    async def age(self, credential_id: UUID, seconds: float) -> None:
        """So much time passes for the access token of a credential."""
        await self.pool.execute(
            "UPDATE credentials SET expire_time = expire_time - make_interval(secs => $2) WHERE credential_id = $1",
            credential_id,
            seconds,
        )

    async def reopened(self, opened: Opened | CredentialRecord) -> Opened:
        record = opened.record if isinstance(opened, Opened) else opened
        return await self.vault.open(record.user_id, record.credential_id)

    async def notices(self, user_id: str) -> list[Notice]:
        rows = await self.pool.fetch("SELECT notice FROM notices WHERE user_id = $1 ORDER BY notice_id", user_id)
        return [Notice.FromString(row["notice"]) for row in rows]


@dataclass(eq=False)
class Vaults:
    """A database with the vault's schema, and a folder with its keys."""

    database_url: str
    folder: Path
    kept: AsyncExitStack = field(default_factory=AsyncExitStack)
    replicas: dict[str, Replica] = field(default_factory=dict)

    async def shared(self, definition: dict[str, Any], clients: str, number: int = 0, **settings: Any) -> Replica:
        """The replica of that number and these settings, which tests share: to make one takes longer than most do."""
        known = json.dumps([definition, clients, number, settings])
        if known not in self.replicas:
            opening = self.replica(definition, clients, **settings)
            self.replicas[known] = await self.kept.enter_async_context(opening)
        return self.replicas[known]

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        """The vaults' connections break, and they get no new ones."""
        name = urlsplit(self.database_url).path.removeprefix("/")
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND usename = 'credentials'",
                name,
            )
            yield
        finally:
            await connection.execute(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
            await connection.close()

    @asynccontextmanager
    async def replica(self, definition: dict[str, Any], clients: str, **settings: Any) -> AsyncIterator[Replica]:
        """Any: settings of any type."""
        files = Path(tempfile.mkdtemp(dir=self.folder))
        # JSON is YAML.
        (files / f"{definition['name']}.yaml").write_text(json.dumps(definition))
        values: dict[str, Any] = {
            **SETTINGS,
            "vault_keys_url": (self.folder / "keys").as_uri(),
            "database_url": as_role(self.database_url, "credentials"),
            "provider_files": files,
            "oauth_clients": clients,
            "oauth_redirect_uris": "http://127.0.0.1/callback https://app.example.com/callback",
            "provider_timeout_seconds": 5,
            "refresh_pause_seconds": 0.2,
            **settings,
        }
        url = values["database_url"]
        async with database.connect(url, "credentials", pool_size=10) as pool:
            keyring = Keyring(FolderKeys(self.folder / "keys"), KeyRepository(pool), DataKeys(100, 60))
            await keyring.begin()
            configured = CredentialsSettings(**values)
            most = configured.credentials_of_user
            vault = Vault(CredentialRepository(pool), keyring, b"a key for hashes of requests", most)
            async with open_oauth(configured, vault, pool) as oauth:
                yield Replica(vault, oauth, pool)


@contextmanager
def vaults(postgres: PostgresServer, runner: asyncio.Runner) -> Iterator[Vaults]:
    """On a fresh database."""
    with (
        migrated_database(postgres.url, "credentials") as url,
        tempfile.TemporaryDirectory(prefix="blockyard-vault-") as name,
    ):
        folder = Path(name)
        (folder / "keys").mkdir(mode=0o700)
        opened = Vaults(url, folder)
        try:
            yield opened
        finally:
            runner.run(opened.kept.aclose())
