"""The whole stack when what it stands on fails: a disk is full, NATS is away at the start and under load."""

import asyncio
import contextlib
import secrets
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import blockyard
import psycopg
import pytest
from blockyard.client import Client, ExecutionHandle
from blockyard.dev import Stack
from blockyard.dev.health import HealthProbe
from blockyard.errors import CallError, LimitReached, Unavailable
from blockyard.graphs import Graph
from psycopg import sql

from tests import disks
from tests.waiting import until

SHORT_TIMES = {
    "BLOCKYARD_HEARTBEAT_SECONDS": "0.5",
    "BLOCKYARD_RUNNER_SILENCE": "2",
    "BLOCKYARD_LEASE_SECONDS": "3",
}
"""What an outage has to outlast, so that ten seconds do for what a minute is with the defaults."""


def shout() -> Graph:
    graph = Graph("shout")
    upper = graph.add("TextProcessingBlock", "upper", text=graph.input("text"), operation="upper")
    graph.output("result", upper["processed_text"])
    return graph


@contextlib.asynccontextmanager
async def own_stack(
    home: Path, *, replicas: int = 1, settings: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Stack, Client, str]]:
    """A stack of the test's own, a client of it, and the id of a graph."""
    async with (
        Stack(home, runners=1, replicas=replicas, environment=settings) as stack,
        blockyard.connect(home=home) as client,
    ):
        yield stack, client, (await client.graphs.create(shout())).id


async def all_end(started: dict[str, ExecutionHandle]) -> None:
    """Each execution ends with its text in capitals."""
    for text, execution in started.items():
        assert await execution.result(timeout=60) == {"result": [text.upper()]}


# PostgreSQL's disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 24 MB, which `remount` makes larger.

    A larger one takes more executions, and PostgreSQL a second of computing for every twenty: it compresses values.
    """
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", disk], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def live_on(disk: Path, url: str) -> None:
    """Has executions and their turns kept on this disk, and nothing else."""
    shutil.chown(disk, "nobody")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE TABLESPACE small LOCATION {}").format(sql.Literal(str(disk))))
        tables = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
            "WHERE nspname = 'execution' AND relkind = 'r' AND (relname = 'executions' OR relname LIKE 'turns%')"
        ).fetchall()
        assert len(tables) > 2
        for (table,) in tables:
            connection.execute(
                sql.SQL("ALTER TABLE {} SET TABLESPACE small").format(sql.Identifier("execution", table))
            )
        connection.execute("GRANT CREATE ON TABLESPACE small TO PUBLIC")
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_tablespace = 'small'").format(sql.Identifier(connection.info.dbname))
        )


def stored(url: str) -> set[str]:
    """The ids of all executions that there are rows of."""
    with psycopg.connect(url) as connection:
        return {str(row[0]) for row in connection.execute("SELECT execution_id FROM execution.executions")}


async def start_many(client: Client, graph_id: str, accepted: dict[str, ExecutionHandle]) -> None:
    """Starts executions with large inputs until one is refused."""
    for _ in range(1000):
        text = secrets.token_hex(75_000)
        accepted[text] = await client.executions.start(graph_id, {"text": text})


async def test_a_full_disk_refuses_starts_and_loses_nothing_that_was_accepted(tmp_path: Path, small_disk: Path) -> None:
    async with own_stack(tmp_path / "home") as (stack, client, graph_id):
        await asyncio.to_thread(live_on, small_disk, stack.postgres.url)
        accepted: dict[str, ExecutionHandle] = {}
        with pytest.raises(LimitReached) as refused:
            await start_many(client, graph_id, accepted)
        assert refused.value.reason == "STORAGE_FULL"
        assert refused.value.retry_after is not None
        ids = {execution.id for execution in accepted.values()}
        assert len(ids) > 10
        assert await asyncio.to_thread(stored, stack.postgres.url) == ids
        # What is there can still be read.
        assert {execution.id async for execution in client.executions.list()} == ids

        subprocess.run(["mount", "-o", "remount,size=512m", small_disk], check=True)  # noqa: ASYNC221  # a moment
        await all_end(accepted)
        assert await client.run(graph_id, {"text": "again"}, timeout=30) == {"result": ["AGAIN"]}
        assert stack.process("postgres").alive()


# NATS


async def test_a_full_disk_of_nats_holds_executions_up_and_nobody_has_to_restart_it(tmp_path: Path) -> None:
    with disks.small_disk(tmp_path / "home" / "dev" / "nats") as disk:
        async with own_stack(tmp_path / "home", replicas=2, settings=SHORT_TIMES) as (stack, client, graph_id):
            assert await client.run(graph_id, {"text": "before"}, timeout=30) == {"result": ["BEFORE"]}
            disk.fill()
            nats = stack.process("nats").pid
            started = {
                text: await client.executions.start(graph_id, {"text": text})
                for text in (f"accepted while the disk was full, {at}" for at in range(100))
            }
            logs = [stack.process(name).log_file for name in ("execution-1", "execution-2")]
            await until(
                lambda: any("the disk of NATS is full" in log.read_text() for log in logs),
                "the log says what is wrong",
            )
            disk.free()
            await all_end(started)
            assert await client.run(graph_id, {"text": "again"}, timeout=60) == {"result": ["AGAIN"]}
            assert stack.process("nats").pid == nats


async def test_services_that_start_before_nats_wait_for_it_and_what_was_accepted_meanwhile_ends(
    tmp_path: Path,
) -> None:
    async with own_stack(tmp_path, replicas=2, settings=SHORT_TIMES) as (stack, client, graph_id):
        early = ("execution-2", "runner-1")
        for name in early:
            await stack.halt(name)
        await stack.kill("nats")
        for name in early:
            stack.process(name).start()
        started = {
            text: await client.executions.start(graph_id, {"text": text})
            for text in (f"accepted while NATS was away, {at}" for at in range(20))
        }
        for name in early:
            log = stack.process(name).log_file
            await until(lambda: "NATS" in log.read_text(), f"{name} says what it waits for")  # noqa: B023
            assert stack.process(name).alive()
            probe = HealthProbe(stack.services()[name].address)
            assert not await probe.serving()
            await probe.close()
        await stack.revive("nats")
        for name in early:
            await stack.services()[name].until_serving()
        await all_end(started)


async def test_nats_away_for_a_while_under_load_loses_nothing(tmp_path: Path) -> None:
    """The outage is ten seconds long, well above SHORT_TIMES: what a minute is to the defaults."""
    async with own_stack(tmp_path, settings=SHORT_TIMES) as (stack, client, graph_id):
        clock = asyncio.get_running_loop().time
        started: dict[str, ExecutionHandle] = {}
        refused: list[CallError] = []

        async def load(worker: int, until_time: float) -> None:
            """Starts one execution after the other, and asks what each waits for."""
            at = 0
            while clock() < until_time:
                at += 1
                text = f"worker {worker}, at {until_time}, number {at}"
                try:
                    started[text] = await client.executions.start(graph_id, {"text": text})
                    assert (await started[text].explain()).summary
                except CallError as error:
                    refused.append(error)

        async def load_for(seconds: float) -> int:
            before = len(started)
            end = clock() + seconds
            await asyncio.gather(*(load(worker, end) for worker in range(2)))
            return len(started) - before

        assert await load_for(1.0) > 0
        await stack.kill("nats")
        meanwhile = await load_for(10.0)
        await stack.revive("nats")
        assert await load_for(1.0) > 0
        assert meanwhile + len(refused) > 0
        for error in refused:
            assert isinstance(error, Unavailable)
            assert error.reason == "UNAVAILABLE"
        await all_end(started)
        assert await client.run(graph_id, {"text": "again"}, timeout=30) == {"result": ["AGAIN"]}
