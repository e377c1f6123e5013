"""NATS's disk gets full, and has room again: nobody has to restart anything (rules 5, 23 to 25)."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from blockyard.dev.nats import start_nats
from blockyard.dev.postgres import PostgresServer

from services.common.bus import EVENTS, RESULTS, TASKS, Ack, Bus, Delivery, Message, PushConsumer, connect
from services.execution.streams import Stores
from tests.disks import SmallDisk, small_disk
from tests.integration.execution.house import House, house
from tests.integration.execution.protocol_runner import running
from tests.integration.execution.test_guarantees import echo, one_node
from tests.integration.execution.test_telling import stored
from tests.metrics import value
from tests.waiting import until


@asynccontextmanager
async def house_on_a_small_disk(postgres: PostgresServer, **settings: Any) -> AsyncIterator[tuple[House, SmallDisk]]:
    """As `house`; NATS has a disk of its own."""
    async with house(postgres, **settings) as built:
        await built.nats.stop()
        with small_disk(built.nats.data_dir) as disk:
            await built.nats.start()
            await until(lambda: built.bus.connected, "NATS is there")
            yield built, disk
            # Before their NATS loses its disk for good.
            for replica in built.replicas:
                await replica.close()
            built.replicas.clear()


async def broken(built: House, *streams: str) -> bool:
    """Whether all of these streams keep the error of the full disk."""
    return all([await built.bus.jetstream.kept_error(stream) for stream in streams])


async def well(built: House) -> bool:
    for stream in (TASKS, RESULTS, EVENTS):
        if await built.bus.stream_info(stream) is None or await built.bus.jetstream.kept_error(stream):
            return False
    return True


@pytest.mark.parametrize("replicas", [1, 2])
async def test_executions_go_on_by_themselves_when_the_disk_of_nats_has_room_again(
    postgres: PostgresServer, replicas: int
) -> None:
    async with house_on_a_small_disk(postgres) as (built, disk):
        one_node(built)
        for _ in range(replicas):
            await built.add_replica()
        async with running(built.bus, {"work": echo}) as runner:
            client = built.client()
            await client.events((await client.start()).id)
            disk.fill()
            started = [await client.start() for _ in range(50)]
            await until(lambda: broken(built, TASKS), "NATS cannot store tasks")
            disk.free()
            for execution in started:
                events = await client.events(execution.id)
                assert await client.results(execution.id) == {"out": [1]}
                assert [event.sequence for event in events] == list(range(1, len(events) + 1))
            await until(lambda: well(built), "all streams are written again")
            await until(lambda: not runner.kept, "all results are recorded")
            # Published, every turn of it: in order, and maybe twice.
            last = await client.start()
            told = [event.sequence for event in await client.events(last.id)]

            async def published() -> bool:
                return await stored(built, last.id) == told

            await until(published, "events are published again")


class Broken:
    """A NATS whose RESULTS keeps the error of its full disk, and what looks after it."""

    def __init__(self, bus: Bus, disk: SmallDisk, created: dict[str, datetime]) -> None:
        self.bus = bus
        self.disk = disk
        self.first = created[RESULTS]
        self.told = 0
        self.mine = True
        self.stores = Stores(bus, 1.0, lambda: self.mine, self._lost, dict(created))

    async def _lost(self) -> None:
        self.told += 1

    async def made_anew(self, looks: int) -> bool:
        """Whether RESULTS is another stream after so many looks."""
        for _ in range(looks):
            await self.stores.look()
            assert value("blockyard_stream_bytes_limit", stream=TASKS) > 0
        info = await self.bus.stream_info(RESULTS)
        if info is None:
            return True
        return info.created != self.first


@asynccontextmanager
async def results_broken(folder: Path, *subjects: str) -> AsyncIterator[Broken]:
    """RESULTS has a message of each of these subjects, and takes no more."""
    with small_disk(folder) as disk:
        server = await start_nats(disk.folder / "nats")
        try:
            async with connect(server.url, "test") as bus:
                infos = await bus.ensure_streams()
                for answer in await bus.publish_all([Message(subject, b"x") for subject in subjects]):
                    assert isinstance(answer, Ack)
                yield Broken(bus, disk, {name: info.created for name, info in infos.items()})
        finally:
            await server.kill()


async def breaks(broken: Broken) -> None:
    broken.disk.fill()
    await broken.bus.publish_all([Message("blockyard.result.0", b"x" * 9000)], timeout=0.5)
    assert await broken.bus.jetstream.kept_error(RESULTS)


async def test_a_stream_is_not_deleted_while_the_disk_is_full_nor_at_first_sight(tmp_path: Path) -> None:
    async with results_broken(tmp_path / "disk") as broken:
        await breaks(broken)
        assert not await broken.made_anew(looks=4)
        broken.disk.free()
        # Well in between: the error that comes next is a new one.
        await broken.bus.jetstream.delete_stream(RESULTS)
        anew = await broken.bus.ensure_streams()
        broken.first = anew[RESULTS].created
        assert not await broken.made_anew(looks=1)
        assert broken.told == 1
        await breaks(broken)
        broken.disk.free()
        assert not await broken.made_anew(looks=1)
        assert await broken.made_anew(looks=1)
        assert broken.told == 2
        assert await broken.bus.stream_info("TRIAL") is None


async def test_results_that_are_not_recorded_are_not_deleted_with_their_stream(tmp_path: Path) -> None:
    async with results_broken(tmp_path / "disk", "blockyard.result.0", "blockyard.result.1") as broken:
        taken: list[Delivery] = []

        def consumer(partition: int) -> AbstractAsyncContextManager[PushConsumer]:
            name, subject = f"partition-{partition}-1", f"blockyard.result.{partition}"
            return broken.bus.push_consumer(RESULTS, name, subject, taken.append, on_lost=lambda why: None)

        async with consumer(0) as first:
            await until(lambda: len(taken) == 1, "the first partition has its result")
            first.ack_all(taken)
            await breaks(broken)
            broken.disk.free()
            assert not await broken.made_anew(looks=3), "nobody has taken the other partition"
            async with consumer(1) as second:
                await until(lambda: len(taken) == 2, "the other partition has its result")
                assert not await broken.made_anew(looks=3), "its result is not acknowledged"
                second.ack(taken[1])
                await broken.bus.flush()
                assert await broken.made_anew(looks=1)


async def test_only_the_replica_that_holds_the_first_partition_deletes_and_the_others_notice(tmp_path: Path) -> None:
    async with results_broken(tmp_path / "disk") as broken:
        broken.mine = False
        await breaks(broken)
        broken.disk.free()
        assert not await broken.made_anew(looks=3)
        assert broken.told == 0
        await broken.bus.jetstream.delete_stream(RESULTS)
        await broken.bus.ensure_streams()
        assert await broken.made_anew(looks=3)
        assert broken.told == 1
