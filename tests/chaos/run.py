"""One chaos run from the start of the stack to the verdict."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from blockyard.client import Client
from blockyard.connection import Connection
from blockyard.dev import Stack

from tests.chaos.credits import Giver, read_credits, settled
from tests.chaos.deliveries import Deliveries
from tests.chaos.evidence import explain, log_lines
from tests.chaos.faults import Fault, Injector, Targets, plan_faults
from tests.chaos.histories import (
    event_counts,
    read_children,
    read_histories,
    read_ledger,
    started_twice,
    torn_feeds,
    unended,
)
from tests.chaos.in_memory import InMemory
from tests.chaos.judging import (
    Finding,
    Wrong,
    judge,
    judge_children,
    judge_crashes,
    judge_credits,
    judge_deliveries,
    judge_ends,
    judge_schedules,
    judge_starts,
    judge_subscribers,
)
from tests.chaos.report import Evidence, Report, Told
from tests.chaos.schedules import Schedules
from tests.chaos.shapes import Load, draw_loads
from tests.chaos.subscribers import Seen, Subscribers
from tests.chaos.traffic import CALL_SECONDS, Traffic

RUNNERS = 2
REPLICAS = 2
NOTIFICATIONS = 2
LEASE_SECONDS = 4.0
"""Below the default, so that a freeze past the lease does not take most of the run."""

ROOT = Path(__file__).parents[2]
BLOCKS = ("blocks", "tests.chaos.blocks")
SETTINGS = {
    "BLOCKYARD_LEASE_SECONDS": str(LEASE_SECONDS),
    "BLOCKYARD_HEARTBEAT_SECONDS": "1",
    "BLOCKYARD_RUNNER_SILENCE": "3.5",
    "BLOCKYARD_CREDITS_ENABLED": "true",
    "BLOCKYARD_PACKAGES": '["tests.chaos.blocks"]',
    "BLOCKYARD_EGRESS_ALLOW": "127.0.0.1",
    "BLOCKYARD_WEBHOOK_HTTP": "true",
}

EXECUTIONS_A_DELIVERY = 5
"""So many are started by a client for each that an incoming webhook starts."""
STARTS_A_SECOND = 20
"""Where no faults set the pace."""

START_DEADLINE = 60.0
END_SECONDS = 25.0
END_SECONDS_AN_EXECUTION = 0.2
LOOK_EVERY_SECONDS = 0.5
FOLLOWERS_GRACE_SECONDS = 10.0
SCHEDULES_SECONDS = 90.0
"""Longest time until what is due is started and has ended: a start that failed is tried again within a minute."""
TOLD_SECONDS = 30.0
TOLD_SECONDS_AN_EVENT = 0.02
"""Longest time after the last end until subscribers have been told of everything. Webhooks take longest: a request for
each event, four at a time."""
EVIDENCE_OF_MOST = 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked to do."""

    seed: int
    executions: int
    faults: int


@dataclass(frozen=True, slots=True)
class Sources:
    """What starts executions: clients, incoming webhooks, and the clock."""

    traffic: Traffic
    deliveries: Deliveries
    schedules: Schedules


class WrongExpectation(Exception):
    """The expectations of this run do not fit its graphs, so it could prove nothing."""


async def run_chaos(settings: Settings, home: Path, say: Callable[[str], None]) -> Report:
    """Runs it all on a stack of its own under `home`."""
    random = Random(settings.seed)
    ledger = home / "ledger"
    loads = draw_loads(random, settings.executions, str(ledger))
    targets = Targets(RUNNERS, REPLICAS, NOTIFICATIONS)
    plan = plan_faults(random, settings.faults, targets, lease_seconds=LEASE_SECONDS)
    say(f"chaos: {settings.executions} executions, {len(plan)} faults, seed {settings.seed}")
    await check_expectations(loads, home / "ledger-in-memory")
    began = time.monotonic()
    async with (
        _stack(home, say) as stack,
        _clients(stack) as clients,
        _subscribers(stack, home) as subscribers,
        Giver(stack) as giver,
    ):
        sources = await _sources(settings, stack, clients, random)
        injector = Injector(stack, subscribers, say)
        by_number = {load.number: load for load in loads}
        await _trouble(sources, injector, loads, by_number, plan)
        await giver.stop()
        say("reading what became of them")
        return await _verdict(settings, stack, sources, injector, by_number, ledger, giver.given, began)


async def check_expectations(loads: Sequence[Load], ledger: Path) -> None:
    """Raises if an in-memory run of a load's graph gives anything else than what is expected of it."""
    memory = InMemory(BLOCKS)
    for load in loads:
        inputs = {**load.inputs, **({"ledger": str(ledger)} if "ledger" in load.inputs else {})}
        found = await memory.run(load.shape.build(), inputs)
        if found != load.expected:
            raise WrongExpectation(f"{load.shape.name} with {load.inputs}: in memory {found}, expected {load.expected}")


def _stack(home: Path, say: Callable[[str], None]) -> Stack:
    return Stack(
        home,
        runners=RUNNERS,
        replicas=REPLICAS,
        notifications=NOTIFICATIONS,
        edge=True,
        environment=_environment(home),
        report=say,
    )


@asynccontextmanager
async def _subscribers(stack: Stack, home: Path) -> AsyncIterator[Subscribers]:
    """Subscribed in every way before anything is started."""
    subscribers = Subscribers(stack, home / "subscribers")
    try:
        await subscribers.start()
        yield subscribers
    finally:
        await subscribers.stop()


def _environment(home: Path) -> dict[str, str]:
    spill = home / "spill"
    spill.mkdir()
    # Services run in a folder of their own, and are to find the package of misbehaving blocks.
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**SETTINGS, "BLOCKYARD_SPILL_FOLDER": str(spill), "PYTHONPATH": os.pathsep.join(path)}


@asynccontextmanager
async def _clients(stack: Stack) -> AsyncIterator[list[Client]]:
    """A client for each replica."""
    async with AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(
                Client(Connection(stack.graph_address, address, stack.token), CALL_SECONDS)
            )
            for address in stack.execution_addresses
        ]


async def _sources(settings: Settings, stack: Stack, clients: Sequence[Client], random: Random) -> Sources:
    """All that they need is stored before the first fault."""
    run_id, url = f"chaos-{settings.seed}-{os.getpid()}", stack.postgres.url
    traffic = Traffic(clients, run_id, random)
    await traffic.create_graphs()
    count = settings.executions // EXECUTIONS_A_DELIVERY
    deliveries = Deliveries(stack.edge.url, url, clients[0], run_id, random, count)
    await deliveries.create_trigger()
    schedules = Schedules(url, clients[0])
    await schedules.create()
    return Sources(traffic, deliveries, schedules)


async def _trouble(
    sources: Sources, injector: Injector, loads: Sequence[Load], by_number: Mapping[int, Load], plan: Sequence[Fault]
) -> None:
    """Executions are started while faults strike; then all run again, and everything may end until a deadline."""
    traffic, deliveries = sources.traffic, sources.deliveries
    followers = asyncio.create_task(traffic.follow_some(), name="followers")
    decider = asyncio.create_task(traffic.decide(by_number), name="decider")
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(deliveries.post(sum(fault.pause + fault.seconds for fault in plan), START_DEADLINE))
            for number, fault in enumerate(plan):
                # Starts fall into the pause before a fault and into the fault, so that it meets executions of all ages.
                wave = traffic.start_wave(loads[number :: len(plan)], fault.pause + fault.seconds, START_DEADLINE)
                group.create_task(wave)
                await injector.strike(fault)
            if not plan:
                await traffic.start_wave(loads, len(loads) / STARTS_A_SECOND, START_DEADLINE)
        execution_ids = [*traffic.accepted.values(), *deliveries.execution_ids()]
        await _until_ended(execution_ids, injector, END_SECONDS + END_SECONDS_AN_EXECUTION * len(loads))
        if traffic.followers:  # the ends are there: let the subscribers see them
            await asyncio.wait(traffic.followers, timeout=FOLLOWERS_GRACE_SECONDS)
        await sources.schedules.end(SCHEDULES_SECONDS)
    finally:
        for task in (followers, decider):
            task.cancel()
        await asyncio.wait((followers, decider))
    for task in (followers, decider):
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


async def _until_ended(execution_ids: Sequence[str], injector: Injector, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        await injector.revive_the_dead()
        if not await unended(injector.stack.postgres.url, execution_ids):
            return
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def _verdict(
    settings: Settings,
    stack: Stack,
    sources: Sources,
    injector: Injector,
    by_number: Mapping[int, Load],
    ledger: Path,
    given: int,
    began: float,
) -> Report:
    url = stack.postgres.url
    traffic, deliveries, schedules = sources.traffic, sources.deliveries, sources.schedules
    client = traffic.clients[0]
    histories = await read_histories(url, client, by_number, traffic.accepted, traffic.followed)
    findings = judge(histories, await started_twice(url), read_ledger(ledger), traffic.decisions)
    findings += judge_children(await read_children(url))
    of_deliveries = await deliveries.started()
    numbers = {execution_id: await deliveries.number_of(execution_id) for execution_id in of_deliveries}
    findings += judge_deliveries(deliveries.count, deliveries.named, numbers)
    findings += judge_ends("by a webhook", of_deliveries)
    firings, of_schedules = await schedules.became()
    findings += judge_schedules(schedules, firings, of_schedules)
    findings += judge_ends("by the clock", of_schedules)
    await settled(url)
    credits = await read_credits(url, given)
    findings += judge_credits(credits)
    lengths = await event_counts(url)
    patience = TOLD_SECONDS + TOLD_SECONDS_AN_EVENT * sum(lengths.values())
    await injector.subscribers.until_complete(lengths, patience)
    told = await asyncio.to_thread(injector.subscribers.seen)
    findings += judge_subscribers(told, lengths)
    await injector.revive_the_dead()
    findings += judge_crashes(injector.crashes)
    findings += judge_starts(injector.subscribers.starts, injector.subscribers.kills)
    findings += [Finding(Wrong.GAP, "", "", what) for what in await torn_feeds(url)]
    return Report(
        seed=settings.seed,
        executions=settings.executions,
        accepted=len(traffic.accepted),
        under_way=[sum(history.alive_at(one.moment) for history in histories) for one in injector.struck],
        ended=sum(history.ended for history in histories),
        node_executions=sum(len(history.row.numbers) for history in histories if history.row is not None),
        events=sum(len(history.events) for history in histories),
        seconds=time.monotonic() - began,
        struck=injector.struck,
        crashes=injector.crashes,
        answers=traffic.answers + deliveries.answers,
        deliveries=deliveries.count,
        firings=len(firings),
        decisions=traffic.decisions.total(),
        charges=len(credits.charged),
        told={kind: _told(seen, injector.subscribers.starts[kind]) for kind, seen in told.items()},
        findings=findings,
        evidence=await _evidence(stack, client, findings),
    )


def _told(seen: Mapping[str, Seen], starts: int) -> Told:
    return Told(
        executions=len(seen),
        events=sum(len(one.sequences) for one in seen.values()),
        repeated=sum(one.repeated for one in seen.values()),
        starts=starts,
    )


async def _evidence(stack: Stack, client: Client, findings: Sequence[Finding]) -> dict[str, Evidence]:
    evidence: dict[str, Evidence] = {}
    for finding in findings:
        execution_id = finding.execution_id
        if execution_id in evidence or len(evidence) >= EVIDENCE_OF_MOST:
            continue
        explanation = await explain(client, execution_id) if finding.wrong is Wrong.STUCK else ""
        evidence[execution_id] = Evidence(explanation, await log_lines(stack.folder.logs, execution_id))
    return evidence
