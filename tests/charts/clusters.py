"""The chart's pods on a PostgreSQL of their own, for tests and for the rollout."""

import base64
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tests.charts.pods import Cluster
from tests.charts.rendering import Json, render
from tests.stack.postgres import running_postgres


@asynccontextmanager
async def cluster(
    folder: Path, values: Mapping[str, Json], others: Sequence[Json] = (), *, names_cached_seconds: float = 0
) -> AsyncIterator[Cluster]:
    """All pods of the chart with these values, ready. `others` are objects that an operator has made before."""
    async with running_postgres() as postgres:
        parts = urlsplit(postgres.url)
        external = {
            "host": parts.hostname,
            "port": parts.port,
            "database": parts.path.strip("/"),
            "sslMode": "disable",
            "migrationSecret": "migration",
        }
        objects = render({**values, "postgresql": {"enabled": False, "external": external}})
        objects += [secret("migration", {"migration-url": postgres.url.encode()}), *others]
        built = Cluster(folder, f"127.{100 + os.getpid() % 150}", objects, postgres.url, names_cached_seconds)
        try:
            await built.start()
            yield built
        finally:
            await built.stop()


def secret(name: str, data: Mapping[str, bytes]) -> Json:
    """A Secret that an operator has made."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": encoded}
