"""The chart's pods run as processes that speak TLS with each other: a doctor finds them well, and graphs run on them
while pods are replaced.
"""

import asyncio
from pathlib import Path
from typing import Any

import blockyard
import httpx2

from services.common.identity import user_token
from tests.charts.clusters import cluster, secret
from tests.charts.pods import Cluster
from tests.charts.rendering import RELEASE
from tests.rollout.evidence import repeated
from tests.rollout.load import PROBE_SECONDS, chain
from tests.stack.certificates import Authority
from tests.waiting import until

PARTS = ("graph", "execution", "credentials", "account", "notification", "edge", "nats", "runner")
SMALL: dict[str, Any] = {
    "execution": {"replicas": 2},
    "defaults": {"replicas": 1, "env": {"BLOCKYARD_DRAIN_SECONDS": 1}},
    "edge": {"settings": {"drain_seconds": 1}},
    "nats": {"storage": {"size": "1Gi"}},
    "internalTls": {"enabled": True, "existingSecrets": {part: f"{part}-tls" for part in PARTS}},
}


def certificates(folder: Path) -> list[dict[str, Any]]:
    """A Secret for each part, whose certificate is good for that part's Service alone."""
    authority = Authority(folder / "authority")
    made = []
    for part in PARTS:
        pair = authority.sign(part, [f"{RELEASE}-blockyard-{part}"])
        data = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.file}
        made.append(secret(f"{part}-tls", {key: path.read_bytes() for key, path in data.items()}))
    return made


async def test_a_graph_runs_on_the_pods_of_the_chart_whose_doctor_finds_them_well(tmp_path: Path) -> None:
    async with cluster(tmp_path, SMALL, certificates(tmp_path)) as built:
        (test,) = built.hooks
        await ends_well(built, test)
        (doctor,) = built.of_kind("CronJob")
        await ends_well(built, {**doctor["spec"]["jobTemplate"], "metadata": doctor["metadata"]})
        await replace_pods_under_load(built)


async def ends_well(built: Cluster, owner: Any) -> None:
    """Makes a pod of this owner, whose containers all end, each with 0."""
    pod = built.plan(owner)
    await built.run(pod)
    processes = pod.containers.values()
    await until(lambda: not any(process.alive() for process in processes), f"{pod.name} ends", 60)
    assert {process.exit_code for process in processes} == {0}, built.log(pod)


async def replace_pods_under_load(built: Cluster) -> None:
    """Executions go on, each node of them once, and each call is answered, while a pod of each kind is replaced."""
    token = user_token(built.secret(f"{RELEASE}-blockyard-tokens")["jwt-secret"], "user", "user", 600)
    edge = built.address_of(f"{RELEASE}-blockyard-edge")
    headers = {"authorization": f"Bearer {token}"}
    async with (
        blockyard.connect(edge, token) as client,
        httpx2.AsyncClient(base_url=f"http://{edge}", headers=headers, timeout=30) as rest,
    ):
        graph = await client.graphs.create(chain())
        ended = asyncio.Event()

        async def run() -> None:
            while not ended.is_set():
                assert await client.run(graph, {"value": 1}, 60) == {"value": [1]}

        async def call() -> None:
            while not ended.is_set():
                assert (await rest.get("/api/graphs")).status_code == 200
                await asyncio.sleep(PROBE_SECONDS)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(run())
            tasks.create_task(call())
            for component in ("execution", "runner-default", "edge"):
                pod = built.pods[f"{RELEASE}-blockyard-{component}-0"]
                assert await built.replace(pod, hurry=True) == []
            ended.set()
    assert await repeated(built.database_url) == []
