"""A runner as a process of its own, whose code runs in Jobs of a cluster."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from blockyard.sandbox.cluster.sandbox import opened
from blockyard.sandbox.cluster.settings import ClusterSettings

from blocks.code.execution import CodeExecutionBlock
from tests.cluster.server import Cluster
from tests.integration.runner.house import House
from tests.integration.sandbox.attempts import namespaces_work, processes_with
from tests.waiting import until

pytestmark = pytest.mark.skipif(not namespaces_work(), reason="containers here are made of namespaces")

POD = "runner-1"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner) -> Iterator[Cluster]:
    cluster = Cluster()
    runner.run(cluster.start())
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig(tmp_path)))
    monkeypatch.setenv("HOSTNAME", POD)
    try:
        yield cluster
    finally:
        runner.run(cluster.stop())


async def test_code_ends_with_the_runner_that_is_killed_and_the_next_one_removes_its_jobs(
    cluster: Cluster, broken_house: House
) -> None:
    settings: dict[str, Any] = {"sandbox": "kubernetes", "sandbox_image": "i", "sandbox_namespace": cluster.namespace}
    runner = await broken_house.add_runner(packages='["blocks.code"]', sandbox_warm=1, **settings)
    block, marker = CodeExecutionBlock(), f"marker-{uuid.uuid4().hex}"
    ended = await broken_house.owner.run(block, code="6 * 7")
    assert ended.on("response") == ["42"]
    await broken_house.owner.send(
        broken_house.owner.task(block, code=f"exec -a {marker} sleep 1000", language="bash"),
    )
    await until(lambda: processes_with(marker), "the program runs")

    supervisor = psutil.Process(runner.process.pid)
    for process in (supervisor, *supervisor.children(recursive=True)):
        # They end with each other.
        with suppress(psutil.NoSuchProcess):
            process.kill()

    await until(lambda: not processes_with(marker), "the program is gone", 10)
    assert cluster.jobs
    async with opened(ClusterSettings(image="i", namespace=cluster.namespace, runner=POD), 4):
        await until(lambda: not cluster.jobs, "the Jobs are removed")
