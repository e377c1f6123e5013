"""The chart's pods run, as processes that speak TLS with each other, and a graph runs on them."""

import base64
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.charts.pods import Cluster
from tests.charts.rendering import RELEASE, render
from tests.stack.certificates import Authority
from tests.stack.postgres import running_postgres
from tests.waiting import until

PARTS = ("graph", "execution", "credentials", "account", "notification", "edge", "nats", "runner")
SMALL: dict[str, Any] = {
    "defaults": {"replicas": 1},
    "execution": {"replicas": 2},
    "nats": {"storage": {"size": "1Gi"}},
    "internalTls": {"enabled": True, "existingSecrets": {part: f"{part}-tls" for part in PARTS}},
}


@asynccontextmanager
async def cluster(folder: Path, values: dict[str, Any]) -> AsyncIterator[Cluster]:
    """All pods of the chart with these values, ready, on a PostgreSQL of their own."""
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
        objects.append(secret("migration", {"migration-url": postgres.url.encode()}))
        objects.extend(certificates(folder))
        network = f"127.{100 + os.getpid() % 150}"
        built = Cluster(folder, network, objects)
        try:
            await built.start()
            yield built
        finally:
            await built.stop()


def secret(name: str, data: Mapping[str, bytes]) -> dict[str, Any]:
    """A Secret that an operator has made."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": encoded}


def certificates(folder: Path) -> list[dict[str, Any]]:
    """A Secret for each part, whose certificate is good for that part's Service alone."""
    authority = Authority(folder / "authority")
    made = []
    for part in PARTS:
        pair = authority.sign(part, [f"{RELEASE}-blockyard-{part}"])
        data = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.file}
        made.append(secret(f"{part}-tls", {key: path.read_bytes() for key, path in data.items()}))
    return made


async def test_a_graph_runs_on_the_pods_of_the_chart(tmp_path: Path) -> None:
    async with cluster(tmp_path, SMALL) as built:
        (test,) = built.hooks
        trial = built.plan(test)
        await built.run(trial)
        (process,) = trial.containers.values()
        await until(lambda: not process.alive(), "the trial ends", 60)
        assert process.exit_code == 0, built.log(trial)
