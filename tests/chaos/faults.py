"""What is done to the stack, planned from the seed: kill -9, SIGSTOP past the lease, SIGTERM, and once no JetStream any
more.

Members of the stack are struck by their names in it, one after the other, and brought back. One that dies without
having been struck is noted and started again, as an orchestrator would.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from random import Random

from blockyard.dev import DevelopmentStackError, Stack
from blockyard.dev.process import ChildProcess

from tests.chaos.subscribers import Subscribers


class FaultKind(Enum):
    """What a fault does."""

    KILL_RUNNER = "kill -9 of a runner"
    KILL_REPLICA = "kill -9 of an execution replica"
    KILL_GRAPH = "kill -9 of the graph service"
    KILL_VAULT = "kill -9 of the vault"
    KILL_ACCOUNT = "kill -9 of the account service"
    KILL_NOTIFICATION = "kill -9 of a notification replica"
    KILL_EDGE = "kill -9 of the edge"
    KILL_SUBSCRIBERS = "kill -9 of each subscriber, back one after the other"
    KILL_NATS = "kill -9 of nats-server"
    KILL_POSTGRES = "kill -9 of PostgreSQL"
    STOP_RUNNER = "SIGTERM of a runner"
    STOP_REPLICA = "SIGTERM of an execution replica"
    FREEZE_RUNNER = "SIGSTOP of a runner past the lease"
    FREEZE_REPLICA = "SIGSTOP of an execution replica past the lease"
    WIPE_JETSTREAM = "kill -9 of nats-server and deletion of the JetStream directory"


FREEZES = (FaultKind.FREEZE_RUNNER, FaultKind.FREEZE_REPLICA)
STOPS = (FaultKind.STOP_RUNNER, FaultKind.STOP_REPLICA)
SHORTEST_PAUSE, LONGEST_PAUSE = 0.2, 1.8
LONGEST_DOWN = 2.0
SUBSCRIBERS = "subscribers"
"""The target that is all of them."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as planned: after a pause the target is down or frozen for so many seconds."""

    kind: FaultKind
    target: str
    pause: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it happened, in seconds since the run began."""

    fault: Fault
    moment: datetime
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Crash:
    """A member that died without being struck."""

    member: str
    at: float
    exit_code: int | None
    last_lines: str


@dataclass(frozen=True, slots=True)
class Targets:
    """What can be struck."""

    runners: int
    replicas: int
    notifications: int


def plan_faults(random: Random, count: int, targets: Targets, *, lease_seconds: float) -> list[Fault]:
    """So many faults: each kind once, in any order, and then any of them; JetStream is deleted once only."""
    kinds = list(FaultKind)
    random.shuffle(kinds)
    repeated = [kind for kind in FaultKind if kind is not FaultKind.WIPE_JETSTREAM]
    kinds += [random.choice(repeated) for _ in range(count - len(kinds))]
    return [_draw(random, kind, targets, lease_seconds) for kind in kinds[:count]]


def _draw(random: Random, kind: FaultKind, there: Targets, lease_seconds: float) -> Fault:
    runners, replicas = there.runners, there.replicas
    targets = {
        FaultKind.KILL_RUNNER: f"runner-{random.randint(1, runners)}",
        FaultKind.FREEZE_RUNNER: f"runner-{random.randint(1, runners)}",
        FaultKind.STOP_RUNNER: f"runner-{random.randint(1, runners)}",
        FaultKind.KILL_REPLICA: f"execution-{random.randint(1, replicas)}",
        FaultKind.FREEZE_REPLICA: f"execution-{random.randint(1, replicas)}",
        FaultKind.STOP_REPLICA: f"execution-{random.randint(1, replicas)}",
        FaultKind.KILL_GRAPH: "graph",
        FaultKind.KILL_VAULT: "credentials-1",
        FaultKind.KILL_ACCOUNT: "account",
        FaultKind.KILL_NOTIFICATION: f"notification-{random.randint(1, there.notifications)}",
        FaultKind.KILL_EDGE: "edge",
        FaultKind.KILL_SUBSCRIBERS: SUBSCRIBERS,
        FaultKind.KILL_NATS: "nats",
        FaultKind.WIPE_JETSTREAM: "nats",
        FaultKind.KILL_POSTGRES: "postgres",
    }
    pause = random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE)
    frozen = random.uniform(1.2, 1.8) * lease_seconds
    down = random.uniform(0.0, LONGEST_DOWN)
    return Fault(kind, targets[kind], pause, frozen if kind in FREEZES else down)


@dataclass(slots=True, eq=False)
class Injector:
    """Carries a plan out on a stack, and keeps the stack alive otherwise."""

    stack: Stack
    subscribers: Subscribers
    say: Callable[[str], None]
    began: float = field(default_factory=time.monotonic)
    struck: list[Struck] = field(default_factory=list)
    crashes: list[Crash] = field(default_factory=list)

    async def strike(self, fault: Fault) -> None:
        """Waits for the fault's pause and carries it out; its target runs again when this returns."""
        await asyncio.sleep(fault.pause)
        await self.revive_the_dead()
        began, moment = self._now(), datetime.now(UTC)
        self.say(f"{began:6.1f} s  {fault.kind.value}: {fault.target}, {fault.seconds:.1f} s")
        await self._carry_out(fault)
        self.struck.append(Struck(fault, moment, began, self._now()))

    async def revive_the_dead(self) -> None:
        """Starts again whoever has died; notes it, for nobody struck them."""
        for name in self.stack.names():
            process = self.stack.process(name)
            if not process.alive():
                self._note(process)
                await self._revive(name)
        for name in self.subscribers.names():
            process = self.subscribers.process(name)
            if not process.alive():
                self._note(process)
                self.subscribers.revive(name)

    async def _carry_out(self, fault: Fault) -> None:
        if fault.kind in FREEZES:
            self.stack.freeze(fault.target)
            try:
                await asyncio.sleep(fault.seconds)
            finally:
                self.stack.thaw(fault.target)
            return
        if fault.kind is FaultKind.KILL_SUBSCRIBERS:
            names = self.subscribers.names()
            for name in names:
                await self.subscribers.kill(name)
            for name in names:
                await asyncio.sleep(fault.seconds / len(names))
                self.subscribers.revive(name)
            return
        if not self.stack.process(fault.target).alive():
            # It has ended since the dead were looked for, and the kill would hide that.
            self._note(self.stack.process(fault.target))
        if fault.kind is FaultKind.WIPE_JETSTREAM:
            await self.stack.wipe_nats()
        elif fault.kind in STOPS:
            await self.stack.process(fault.target).stop()
        else:
            await self.stack.kill(fault.target)
        await asyncio.sleep(fault.seconds)
        await self._revive(fault.target)

    async def _revive(self, name: str) -> None:
        try:
            await self.stack.revive(name)
        except DevelopmentStackError:
            # A service that does not come up is told apart from one that only needs a second try.
            self._note(self.stack.process(name))
            await self.stack.revive(name)

    def _note(self, process: ChildProcess) -> None:
        self.crashes.append(Crash(process.name, self._now(), process.exit_code, process.last_lines(10)))

    def _now(self) -> float:
        return time.monotonic() - self.began
