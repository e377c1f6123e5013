"""Executions that wait for the blob store: what comes for them, and what is sent of them meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest

from services.common.blobs import BlobStore
from services.execution.background import Background
from services.execution.dispatch import Dispatcher
from services.execution.engine import Reported, RunLost, Ticked
from services.execution.engine.facts import Finish
from services.execution.keeping import MOST_HELD, Keepings, Step
from services.execution.large_values import LIMIT, LargeValues
from services.execution.live import Arrival, Inbox, Live
from tests.stack.object_store import BUCKET_URL, ObjectStore, object_store
from tests.unit.execution.test_dispatch import limits, live, queue, runners
from tests.waiting import until


@dataclass(eq=False)
class Kept:
    """One execution of ten nodes that waits for a blob store which does not answer; two of its nodes run."""

    store: ObjectStore
    keepings: Keepings
    dispatcher: Dispatcher
    inbox: Inbox
    live: Live

    def holds(self, *arrivals: Arrival) -> bool:
        return [self.keepings.hold(arrival) for arrival in arrivals].count(False) == 0


@asynccontextmanager
async def one_that_waits(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    async with object_store() as store:
        for name, value in store.environment.items():
            monkeypatch.setenv(name, value)
        store.answers.clear()
        inbox, background = Inbox(), Background()
        dispatcher = Dispatcher(limits(), runners(slots=1), "me")
        keepings = Keepings(LargeValues(BlobStore(BUCKET_URL)), dispatcher, inbox, background)
        execution = live("anna", 10)
        effects = queue(dispatcher, execution)
        dispatcher.take(0.0)
        effects.events[0] = msgspec.structs.replace(effects.events[0], value=b'"' + b"x" * LIMIT + b'"')
        keepings.add(Step(execution, [], effects, 0, 0, [Arrival(execution.key, Ticked())]))
        await until(lambda: store.asked, "the value is on its way")
        try:
            yield Kept(store, keepings, dispatcher, inbox, execution)
        finally:
            background.cancel()


def ended(execution: Live, number: int) -> Arrival:
    return Arrival(execution.key, Reported(number, 1, 1, (), Finish(failed=False, outputs=0)))


async def test_what_comes_meanwhile_is_taken_in_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_that_waits(monkeypatch) as kept:
        stop = Arrival(kept.live.key, RunLost(1, 1, "for example"), command=1)
        assert kept.holds(ended(kept.live, 1), stop)
        assert not kept.keepings.ready
        kept.store.answers.set()
        await until(lambda: kept.keepings.ready, "the value is kept")
        (keeping,) = kept.keepings.take()
        assert keeping.error is None
        assert all(len(event.value) < LIMIT for event in keeping.step.effects.events)
        assert kept.live.key not in kept.keepings
        assert [kept.inbox.take().fact for _ in range(len(kept.inbox))] == [ended(kept.live, 1).fact, stop.fact]


async def test_what_is_held_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_that_waits(monkeypatch) as kept:
        stop = Arrival(kept.live.key, RunLost(1, 1, "for example"), command=1)
        # The sweep reads the same command each second, and timers are looked at after the commit.
        assert kept.holds(*[stop] * 1000, *[Arrival(kept.live.key, Ticked())] * 1000)
        assert kept.holds(*[ended(kept.live, 1)] * (MOST_HELD - 1))
        assert not kept.holds(ended(kept.live, 1))


async def test_nothing_is_sent_of_it_and_what_has_ended_takes_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_that_waits(monkeypatch) as kept:
        assert kept.dispatcher.room("default") == 0
        running = [number for _, number in kept.dispatcher.in_flight]
        assert kept.holds(*[ended(kept.live, number) for number in running], ended(kept.live, running[0]))
        assert kept.dispatcher.room("default") == len(running) == 2
        other = live("bert", 1)
        queue(kept.dispatcher, other)
        sent = [sent for message in kept.dispatcher.take(1.0) for sent in message.sent]
        assert [one.live for one in sent] == [other]
        kept.store.answers.set()
        await until(lambda: kept.keepings.ready, "the value is kept")
        kept.keepings.take()
        sent = [sent for message in kept.dispatcher.take(2.0) for sent in message.sent]
        assert [one.live for one in sent] == [kept.live]


async def test_what_leaves_memory_gives_all_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_that_waits(monkeypatch) as kept:
        result = ended(kept.live, 1)
        assert kept.holds(result)
        kept.live.gone = True
        back = kept.keepings.give_up(kept.live)
        assert [arrival.fact for arrival in back] == [Ticked(), result.fact]
        assert not kept.dispatcher.in_flight
        assert kept.live.key not in kept.keepings
        kept.store.answers.set()
        await asyncio.sleep(0)
        assert not kept.keepings.ready
        assert kept.keepings.give_up(kept.live) == ()
