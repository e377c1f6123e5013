"""The chart's pods run, as processes, and a graph runs on them."""

import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.charts.pods import Cluster
from tests.charts.rendering import render
from tests.stack.postgres import running_postgres
from tests.waiting import until

SMALL: dict[str, Any] = {
    "defaults": {"replicas": 1},
    "execution": {"replicas": 2},
    "nats": {"storage": {"size": "1Gi"}},
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
        url = base64.b64encode(postgres.url.encode()).decode()
        objects.append({"kind": "Secret", "metadata": {"name": "migration"}, "data": {"migration-url": url}})
        network = f"127.{100 + os.getpid() % 150}"
        built = Cluster(folder, network, objects)
        try:
            await built.start()
            yield built
        finally:
            await built.stop()


async def test_a_graph_runs_on_the_pods_of_the_chart(tmp_path: Path) -> None:
    async with cluster(tmp_path, SMALL) as built:
        (test,) = built.hooks
        trial = built.plan(test)
        await built.run(trial)
        (process,) = trial.containers.values()
        await until(lambda: not process.alive(), "the trial ends", 60)
        assert process.exit_code == 0, built.log(trial)
