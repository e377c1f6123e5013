"""The chart's pods run as processes that speak TLS with each other; a graph runs on them, and a doctor is content."""

from pathlib import Path
from typing import Any

from tests.charts.clusters import cluster, secret
from tests.charts.pods import Cluster
from tests.charts.rendering import RELEASE
from tests.stack.certificates import Authority
from tests.waiting import until

PARTS = ("graph", "execution", "credentials", "account", "notification", "edge", "nats", "runner")
SMALL: dict[str, Any] = {
    "defaults": {"replicas": 1},
    "execution": {"replicas": 2},
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


async def test_a_graph_runs_on_the_pods_of_the_chart_and_its_doctor_finds_them_well(tmp_path: Path) -> None:
    async with cluster(tmp_path, SMALL, certificates(tmp_path)) as built:
        (test,) = built.hooks
        await ends_well(built, test)
        (doctor,) = built.of_kind("CronJob")
        await ends_well(built, {**doctor["spec"]["jobTemplate"], "metadata": doctor["metadata"]})


async def ends_well(built: Cluster, owner: Any) -> None:
    """Makes a pod of this owner, whose containers all end, each with 0."""
    pod = built.plan(owner)
    await built.run(pod)
    processes = pod.containers.values()
    await until(lambda: not any(process.alive() for process in processes), f"{pod.name} ends", 60)
    assert {process.exit_code for process in processes} == {0}, built.log(pod)
