"""`python -m tests.rollout`: a rolling restart of every pod of the chart under load.

The pods are processes of this machine (tests/charts/pods.py), restarted one after the other as their controllers do:
the successor of a Deployment's pod is ready first, hooks and signals come as from the kubelet, and Services lead
elsewhere meanwhile; their names are cached as in a cluster. With `--together` all of them roll at once, as
`helm upgrade` does with a new image. Ends with 1 if anything failed, was repeated or had to be killed.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import blockyard
import httpx2

from services.common.identity import user_token
from tests.charts.clusters import cluster
from tests.charts.names import CACHED_SECONDS
from tests.charts.pods import Cluster, Pod
from tests.charts.rendering import RELEASE, Json
from tests.rollout.evidence import Gap, gaps, repeated
from tests.rollout.load import REQUESTS, Load, counting, run_until
from tests.stack.scratch import keep_files_in_memory

CALM_SECONDS = 15.0
"""Under load before the first restart: what gaps are without any."""
EGRESS = {"env": {"BLOCKYARD_EGRESS_ALLOW": "127.0.0.1"}}
VALUES: Json = {"nats": {"storage": {"size": "1Gi"}}, "runnerPools": [{"name": "default", **EGRESS}]}
TOKEN_SECONDS = 7_200


@dataclass(frozen=True, slots=True)
class Restart:
    """When a pod was replaced, in seconds since 1970, and which of its containers did not end by themselves."""

    pod: str
    began: float
    ended: float
    killed: Sequence[str]


async def roll(built: Cluster, load: Load, *, together: bool, only: str) -> tuple[list[Restart], float]:
    """Restarts all pods under load; returns the restarts, and when the first began."""
    token = user_token(built.secret(f"{RELEASE}-blockyard-tokens")["jwt-secret"], "rollout", "user", TOKEN_SECONDS)
    edge = built.address_of(f"{RELEASE}-blockyard-edge")
    ended = asyncio.Event()
    restarts: list[Restart] = []
    async with (
        counting(load) as url,
        blockyard.connect(edge, token) as client,
        httpx2.AsyncClient(base_url=f"http://{edge}", headers={"authorization": f"Bearer {token}"}, timeout=30) as rest,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(run_until(ended, client, rest, url, load))
        try:
            await asyncio.sleep(CALM_SECONDS)
            first = time.time()
            async with asyncio.TaskGroup() as rolling:
                for pods in _pods_to_restart(built, only):
                    task = rolling.create_task(_restart(built, pods, restarts))
                    if not together:
                        await task
            await asyncio.sleep(CALM_SECONDS)
        finally:
            ended.set()
    return restarts, first


def _pods_to_restart(built: Cluster, only: str) -> list[list[Pod]]:
    """By their owners; of one part alone if it is named."""
    owners: dict[str, list[Pod]] = {}
    for pod in built.pods.values():
        if pod.owner["kind"] in ("Deployment", "StatefulSet") and only in pod.owner["metadata"]["name"]:
            owners.setdefault(pod.owner["metadata"]["name"], []).append(pod)
    return list(owners.values())


async def _restart(built: Cluster, pods: Sequence[Pod], restarts: list[Restart]) -> None:
    for pod in pods:
        began = time.time()
        killed = await built.replace(pod)
        restarts.append(Restart(pod.name, began, time.time(), killed))
        print(f"{pod.name}: {restarts[-1].ended - began:.0f} s", flush=True)


def longest(found: Sequence[Gap], began: float, ended: float) -> int:
    """Milliseconds of the longest gap that reaches into a time."""
    return max(
        (gap.milliseconds for gap in found if gap.ended_ms > began * 1000 and gap.began_ms < ended * 1000), default=0
    )


def say(restarts: Sequence[Restart], first: float, load: Load, found: Sequence[Gap], again: Sequence[str]) -> bool:
    """Prints what was seen; True if all was well."""
    calm = [gap.milliseconds for gap in found if gap.ended_ms < first * 1000]
    print(f"\nbefore: {len(calm)} gaps, median {statistics.median(calm):.0f} ms, longest {max(calm)} ms")
    print("pod                                      longest gap of an execution (ms)")
    for restart in restarts:
        print(f"{restart.pod:40} {longest(found, restart.began, restart.ended):6}")
    wrong = [url for url in load.requested if load.hits[url] != REQUESTS]
    killed = [f"{restart.pod}: {', '.join(restart.killed)}" for restart in restarts if restart.killed]
    print(
        f"{len(load.chains)} chains of no-ops, {len(load.requested)} executions that made {load.hits.total()} requests"
    )
    print(f"{load.probes} calls over REST, the slowest {load.slowest_probe:.2f} s")
    findings = {
        "executions failed": load.failures,
        "node executions tried again": again,
        "requests were not made just once": wrong,
        "containers killed after their grace": killed,
        "calls over REST failed": [
            f"{moment - first:.1f} s after the first restart: {what}" for moment, what in load.probe_failures
        ],
    }
    for what, which in findings.items():
        print(f"{len(which)} {what}")
        for one in which[:10]:
            print(f"  {one}")
    return not any(findings.values())


async def run(folder: Path, *, together: bool, only: str) -> bool:
    """True if nothing failed."""
    load = Load()
    async with cluster(folder, VALUES, names_cached_seconds=CACHED_SECONDS) as built:
        restarts, first = await roll(built, load, together=together, only=only)
        found = await gaps(built.database_url, load.chains)
        return say(restarts, first, load, found, await repeated(built.database_url))


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(
        prog="./task rollout --", description="Restarts every pod of the chart under load."
    )
    parser.add_argument("--only", metavar="PART", default="", help="pods of this part, such as execution")
    parser.add_argument("--keep", action="store_true", help="keep the logs also if all is well")
    parser.add_argument("--together", action="store_true", help="all at once, each part one pod after the other")
    options = parser.parse_args()
    keep_files_in_memory()
    folder = Path(tempfile.mkdtemp(prefix="blockyard-rollout-"))
    folder.chmod(0o755)
    well = False
    try:
        well = asyncio.run(run(folder, together=options.together, only=options.only))
    finally:
        if well and not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"Logs are in {folder}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
