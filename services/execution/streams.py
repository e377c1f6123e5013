"""The streams: their sizes, from the settings, and the way out for one whose disk was full."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from services.common.bus import RESULTS, Bus, BusError, JetStreamRefused, Message, PublishRefused, StreamLimits
from services.execution.config import ExecutionSettings
from services.execution.metrics import METRICS

log = structlog.get_logger()

TRIAL = "TRIAL"
"""A stream that lives for a moment, to find out whether there is room to write."""
TRIAL_SUBJECT = "blockyard.trial"
TRIAL_BYTES = 1 << 20
TRIAL_SECONDS = 2.0
TRIAL_CONFIGURATION = {
    "name": TRIAL,
    "subjects": [TRIAL_SUBJECT],
    "storage": "file",
    "max_bytes": 4 * TRIAL_BYTES,
}


CONSUMER = "partition-"
"""What the names of consumers of RESULTS begin with; partition and epoch follow."""


def consumer_of(partition: int, epoch: int) -> str:
    """The name of the consumer of a partition's results."""
    return f"{CONSUMER}{partition}-{epoch}"


def partition_of(consumer: str) -> int | None:
    """Whose results a consumer takes; None if it is none of ours."""
    partition, _, epoch = consumer.removeprefix(CONSUMER).partition("-")
    return int(partition) if consumer.startswith(CONSUMER) and partition.isdigit() and epoch.isdigit() else None


def limits_of(settings: ExecutionSettings) -> StreamLimits:
    """Each stream has a size of its own, so that none chokes another (rule 25)."""
    return StreamLimits(
        tasks_bytes=settings.tasks_stream_bytes,
        results_bytes=settings.results_stream_bytes,
        events_bytes=settings.events_stream_bytes,
    )


@dataclass(slots=True, eq=False)
class Stores:
    """Makes a stream anew whose store keeps the error of a full disk although there is room again (seen).

    What was in it is known elsewhere: tasks in rows and memory, events in rows. Results are waited for: such a store
    takes nothing in, so once all that is in it is recorded, nothing is lost with it.
    """

    bus: Bus
    interval: float
    """Seconds between two looks. A stream is deleted at its second in a row at the earliest."""
    responsible: Callable[[], bool]
    """Whether it is for this replica to delete streams: two at once would delete what the other has just made."""
    streams_lost: Callable[[], Awaitable[None]]
    created: dict[str, datetime]
    """Of each stream, as far as is known here: another replica may have made it anew."""
    _broken: set[str] = field(default_factory=set)
    """Those that were found broken at the last look."""

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(self.interval)
            try:
                await self.look()
            except BusError as error:
                log.warning("the stores of the streams cannot be looked at", error=str(error))

    async def look(self) -> None:
        """Looks at each stream once."""
        broken: set[str] = set()
        for name in self.created:
            reason = await self.bus.jetstream.kept_error(name)
            if not reason:
                continue
            log.error("NATS cannot write into a stream", stream=name, reason=reason)
            if name in self._broken and await self._may_go(name):
                log.warning("NATS has room again and does not use it: the stream is made anew", stream=name)
                await self.bus.jetstream.delete_stream(name)
            else:
                broken.add(name)
        self._broken = broken
        await self._notice()

    async def _may_go(self, name: str) -> bool:
        if not self.responsible():
            return False
        if reason := await self._no_room():
            log.error("the disk of NATS is full", stream=name, reason=reason)
            return False
        if name == RESULTS and not await self._recorded():
            log.warning("a stream is made anew when the results in it are recorded", stream=name)
            return False
        # Asking took a while.
        return self.responsible()

    async def _no_room(self) -> str:
        """Why a new stream cannot be written; empty when it can."""
        jetstream = self.bus.jetstream
        try:
            await jetstream.ensure_stream(TRIAL_CONFIGURATION)
            trial = Message(TRIAL_SUBJECT, secrets.token_bytes(TRIAL_BYTES))
            (answer,) = await self.bus.publish_all([trial], TRIAL_SECONDS)
        except JetStreamRefused as error:
            return error.description
        finally:
            await jetstream.delete_stream(TRIAL)
        return answer.reason if isinstance(answer, PublishRefused) else ""

    async def _recorded(self) -> bool:
        """Whether owners have taken all that is in RESULTS, and have acknowledged it: it is recorded then."""
        partitions = set()
        for name in await self.bus.jetstream.consumer_names(RESULTS):
            partition = partition_of(name)
            if partition is None:
                continue
            info = await self.bus.consumer_info(RESULTS, name)
            if info is None or info.num_pending or info.num_ack_pending:
                return False
            partitions.add(str(partition))
        # A broken store keeps what was acknowledged too. Partitions that nobody has taken have no consumer.
        subjects = await self.bus.jetstream.subjects(RESULTS, "blockyard.result.>")
        return {subject.rpartition(".")[2] for subject in subjects} <= partitions

    async def _notice(self) -> None:
        """Whoever deleted a stream, what was in it is sent and published again."""
        infos = {name: await self.bus.stream_info(name) for name in self.created}
        for name, info in infos.items():
            if info is not None:
                METRICS.stream_bytes.labels(name).set(info.bytes)
                METRICS.stream_bytes_limit.labels(name).set(info.limit)
        found = {name: info.created for name, info in infos.items() if info is not None}
        if found != self.created:
            await self.streams_lost()
            self.created.update(found)
