"""What subscribers cost, and how soon they hear: from the commit of a node's outcome to each kind of subscriber.

Subscribers are processes of their own on the same machine. The moment of a commit is PostgreSQL's own, so both clocks
are one. Beside them a plain subscription on NATS: nothing can be told sooner.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from tests.bench.audience import NATS
from tests.bench.completions import NotCompleted
from tests.bench.figures import Spread, percentile, significant
from tests.bench.laboratory import Laboratory, laboratory
from tests.bench.loads import chain
from tests.bench.report import Bound, Row, Section
from tests.bench.usage import difference, processor_seconds
from tests.chaos.histories import event_counts
from tests.chaos.subscriber import WEBHOOK

KINDS = (NATS, "grpc", "websocket", "sse")
ALONE = ("jetstream", WEBHOOK)
"""Measured with one subscriber: a durable one is a program with a consumer, of which an account has few."""
CROWD = 500
WEBHOOKS = 50
"""As many as a user may have."""
CASES = (
    *((kind, 1) for kind in (*KINDS, *ALONE)),
    (WEBHOOK, WEBHOOKS),
    *((kind, CROWD) for kind in KINDS),
)
EXECUTIONS = {1: 150, WEBHOOKS: 25, CROWD: 25}
"""By the number of subscribers."""
SETTINGS = {"BLOCKYARD_WEBHOOK_HTTP": "true"}
QUICK = 5
"""So many times fewer, when it is to be quick."""
PAUSE_SECONDS = 0.02
HEARD_SECONDS = 60.0
GRPC_REQUIRED = Bound(5.0, 5.0, at_most=True)

AUDIENCE = 100
"""Subscribers over gRPC while throughput is measured."""
CHAINS = 200
LENGTH = 10
NODES = CHAINS * LENGTH
ROUNDS = 7
QUICK_ROUNDS = 3

ROOT = Path(__file__).parents[3]
OUTCOMES = """
SELECT t.execution_id::text, t.last_event, extract(epoch FROM pg_xact_commit_timestamp(t.xmin))::float8
FROM execution.turns t JOIN execution.node_executions n ON n.execution_id = t.execution_id AND n.last_turn = t.turn
WHERE t.execution_id::text = ANY($1) AND octet_length(t.events) > 0
"""
"""Turns with outcomes: the last event of each, and when it was committed."""


@dataclass(slots=True, eq=False)
class Audience:
    """A process of subscribers."""

    process: Process
    what: str
    heard: list[tuple[str, int, float]] = field(default_factory=list)

    async def until_heard(self, lengths: Mapping[str, int]) -> float:
        """When, in seconds since 1970, all had heard all events of executions that have so many of them.

        Raises NotCompleted unless they do within a minute.
        """
        assert self.process.stdin is not None, "it was asked for"
        assert self.process.stdout is not None, "it was asked for"
        self.process.stdin.write(json.dumps(lengths).encode() + b"\n")
        try:
            async with asyncio.timeout(HEARD_SECONDS):
                if answer := await self.process.stdout.readline():
                    return float(answer)
        except TimeoutError:
            pass
        raise NotCompleted(
            f"{self.what} have not heard all of {sum(lengths.values())} events after {HEARD_SECONDS:g} seconds, or died"
        )

    async def end(self) -> None:
        """Gathers what was heard."""
        assert self.process.stdin is not None, "it was asked for"
        self.process.stdin.close()
        output, _ = await asyncio.wait_for(self.process.communicate(), HEARD_SECONDS)
        self.heard = [(one[0], one[1], one[2]) for one in json.loads(output)]


async def measure_events(home: Path, quick: bool, say: Callable[[str], None]) -> Section:
    """Latencies by kind and number of subscribers, and throughput with and without an audience."""
    commits = {"track_commit_timestamp": "on"}
    async with laboratory(home, quick, say, SETTINGS, postgres_settings=commits, notifications=1) as here:
        await here.warm_up()
        latencies = {
            (kind, count): await _latencies(here, kind, count, EXECUTIONS[count] // (QUICK if quick else 1))
            for kind, count in CASES
        }
        throughput = await _throughput(here, QUICK_ROUNDS if quick else ROUNDS)
    rows = [*_latency_rows(latencies), *throughput.rows]
    values = {
        f"{kind}_{count}": {
            "p50_ms": significant(percentile(samples, 50)),
            "p99_ms": significant(percentile(samples, 99)),
            "samples": len(samples),
        }
        for (kind, count), samples in latencies.items()
    }
    return Section({"event_latency": values, "event_cost": throughput.values}, rows, [NOTE, throughput.note])


NOTE = (
    "Events: milliseconds from the commit of an outcome until a subscriber has it, all on this machine; with 500\n"
    "subscribers each event is told 500 times. Its parts alone are plain subscriptions on NATS, as many. Webhooks get\n"
    "a request for each event, and the next execution is started when all have theirs."
)


async def _latencies(here: Laboratory, kind: str, count: int, executions: int) -> list[float]:
    """Milliseconds from commits to each subscriber's ear."""
    load = chain(1)
    graph_id = await here.graph(load.graph)
    async with _audience(here, kind, count) as audience:
        ids = []
        for _ in range(executions):
            execution = await here.client.executions.start(graph_id, load.inputs)
            ids.append(execution.id)
            ended = await execution.wait()
            await asyncio.sleep(PAUSE_SECONDS)
            if kind == WEBHOOK:  # a request for each event takes longer than an execution: they would queue
                await audience.until_heard({execution.id: ended.last_event_sequence})
        counts = await event_counts(here.stack.postgres.url)
        await audience.until_heard({execution_id: counts[execution_id] for execution_id in ids})
    connection = await asyncpg.connect(here.stack.postgres.url)
    try:
        committed = {(row[0], row[1]): row[2] for row in await connection.fetch(OUTCOMES, ids)}
    finally:
        await connection.close()
    samples = [
        1e3 * (moment - committed[execution_id, sequence])
        for execution_id, sequence, moment in audience.heard
        if (execution_id, sequence) in committed
    ]
    if len(samples) != count * len(committed):
        raise NotCompleted(f"{count} subscribers over {kind} heard {len(samples)} of {count * len(committed)} outcomes")
    return samples


@asynccontextmanager
async def _audience(here: Laboratory, kind: str, count: int) -> AsyncIterator[Audience]:
    """So many subscribers; what they have heard is known behind the block."""
    stack = here.stack
    what = f"{count} subscribers over {kind}"
    home = str(stack.folder.path.parent)
    grpc_address = stack.notification_addresses[0]
    addresses = {NATS: stack.nats.url, "grpc": grpc_address, WEBHOOK: grpc_address, "jetstream": home}
    environment = {
        **os.environ,
        "AUDIENCE_ADDRESS": addresses.get(kind, stack.web_addresses[0]),
        "AUDIENCE_TOKEN": stack.token,
    }
    program = [sys.executable, "-m", "tests.bench.audience", kind, str(count)]
    process = await asyncio.create_subprocess_exec(*program, stdin=PIPE, stdout=PIPE, cwd=ROOT, env=environment)
    try:
        assert process.stdout is not None, "it was asked for"
        ready = await asyncio.wait_for(process.stdout.readline(), HEARD_SECONDS * 2)
        if ready != b"ready\n":
            raise NotCompleted(f"{what} do not come to be subscribed")
        audience = Audience(process, what)
        yield audience
        await audience.end()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@dataclass(frozen=True, slots=True)
class Throughput:
    """Chains with an audience and without."""

    rows: Sequence[Row]
    values: Mapping[str, object]
    note: str


@dataclass(slots=True, eq=False)
class Rounds:
    """What rounds of the same chains came to."""

    rates: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    used: dict[str, float] = field(default_factory=dict)

    async def run(self, here: Laboratory, audience: Audience | None = None) -> None:
        """One more. Processor time counts until the audience has heard all: telling is part of what is measured."""
        url = here.stack.postgres.url
        known = await event_counts(url)
        before = processor_seconds(here.stack)
        self.rates.append(NODES / await here.time_chains(CHAINS, LENGTH))
        ended = time.time()
        if audience is not None:
            counts = await event_counts(url)
            lengths = {execution_id: count for execution_id, count in counts.items() if execution_id not in known}
            self.lags.append(max(0.0, await audience.until_heard(lengths) - ended))
        for name, seconds in difference(before, processor_seconds(here.stack)).items():
            self.used[name] = self.used.get(name, 0.0) + seconds

    def per_node(self) -> dict[str, float]:
        """Microseconds of processor time a node, by process."""
        return {name: significant(1e6 * seconds / NODES / len(self.rates)) for name, seconds in self.used.items()}


async def _throughput(here: Laboratory, rounds: int) -> Throughput:
    without, heard = Rounds(), Rounds()
    for _ in range(rounds):
        await without.run(here)
        async with _audience(here, "grpc", AUDIENCE) as audience:
            await heard.run(here, audience)
    figure, limit, lag = Spread.of(heard.rates), Spread.of(without.rates), Spread.of(heard.lags)
    ratio = figure.median / limit.median
    per_node = {"without": without.per_node(), "with": heard.per_node()}
    values = {
        "node_executions_per_s": significant(figure.median),
        "without_per_s": significant(limit.median),
        "ratio": significant(ratio),
        "subscribers": AUDIENCE,
        "lag_s": lag.to_json(),
        "processor_us_per_node": per_node,
    }
    rows = [
        Row(f"chains, {AUDIENCE} subscribers", "nodes/s", figure, limit, ratio),
        Row(f"until {AUDIENCE} have heard all of it", "s", lag),
    ]
    return Throughput(rows, values, _table(per_node))


def _latency_rows(latencies: Mapping[tuple[str, int], Sequence[float]]) -> list[Row]:
    rows = []
    for (kind, count), samples in latencies.items():
        plain = latencies.get((NATS, count))
        if kind == NATS:
            continue
        for percent in (50, 99):
            own = percentile(samples, percent)
            raw = None if plain is None else _point(percentile(plain, percent), plain)
            required = GRPC_REQUIRED if (kind, count, percent) == ("grpc", 1, 50) else None
            row = f"event over {kind}, {count}, p{percent}"
            ratio = None if raw is None else raw.median / own
            rows.append(Row(row, "ms", _point(own, samples), raw, ratio, required))
    return rows


def _point(value: float, samples: Sequence[float]) -> Spread:
    return Spread(value, min(samples), max(samples), len(samples))


def _table(per_node: Mapping[str, Mapping[str, float]]) -> str:
    names = sorted(per_node["with"], key=lambda name: -per_node["with"][name])
    lines = [f"  {name:14} {per_node['without'][name]:8.0f} {per_node['with'][name]:8.0f}" for name in names]
    head = (
        f"Processor time of the same chains, µs a node, without subscribers and with {AUDIENCE} over gRPC that hear\n"
        "all of it, until they have heard it (their own time not counted, though it is spent on the same processors):"
    )
    return "\n".join([head, *lines])
