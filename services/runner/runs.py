"""A run of a task, from its arrival to the moment when its owner has recorded what became of it."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any
from uuid import UUID

from blockyard.block import Block, BlockCost, Context, RunStyle
from blockyard.block.fresh_credentials import FreshCredentials, NoFreshCredentials
from blockyard.block.resources import Resources
from blockyard.block.stored_values import StoredValues
from blockyard.graph.v1.block_pb2 import EFFECT_ONCE
from blockyard.runner.v1.heartbeat_pb2 import Holding
from blockyard.runner.v1.task_pb2 import Task

from services.runner.casualty import NO_ENTRY
from services.runner.files import RunFiles
from services.runner.inputs import decode_tools
from services.runner.leased import Given, Leased
from services.runner.values import REFUSED, Values

Place = tuple[bytes, int]
"""Execution (16 bytes) and number of the node execution."""

_draw = random.Random(random.SystemRandom().getrandbits(256))


class Stop(Enum):
    """Why a run is ended from outside."""

    TIMEOUT = auto()
    DROPPED = auto()
    RETURNED = auto()


def new_run_id() -> int:
    """Eight random bytes; 0 would mean that there is no run."""
    return _draw.getrandbits(64) or 1


@dataclass(slots=True, eq=False)
class Run:
    """What is known of a run. Nothing is said of it any more once it has `ended`."""

    task: Task
    known_block: Block | None
    """None if this runner does not have it as the task wants it: then the task goes back."""
    place: Place
    run_id: int = field(default_factory=new_run_id)
    entry: int = NO_ENTRY
    """Where it stands in the memory that the runner shares with its supervisor."""
    started: float = 0.0
    """time.monotonic() of its start; 0 while it waits."""
    started_ms: int = 0
    outputs: int = 0
    """Outputs said so far."""
    ended: bool = False
    told_running: bool = False
    claimed: bool = False
    """The owner has granted this run of an EFFECT_ONCE task."""
    cancel: Callable[[], object] | None = None
    """Ends what drives it; None while nothing does."""
    stopped: float = 0.0
    """time.monotonic() of when it was ended from outside; 0 if it was not."""
    batches: list[int] = field(default_factory=list)
    """Kept batches with a part of it."""
    finish_batch: int = 0
    """The batch that its finish went out in."""
    metered: bool = False
    """Its block has costs, and `cost` is the one that applies; None is a run that is free."""
    cost: BlockCost | None = None
    begun: float = 0.0
    """time.monotonic() of when the block's code began; 0 if it did not, or where nobody asks."""
    size: int = 0
    """Bytes moved so far, where the run is metered."""
    cached: bool = False
    """An earlier run's result was given; nothing of the block has happened."""
    leased: Leased | None = None
    """Secrets that it has from the vault; None if its node names none."""

    @property
    def given(self) -> Given | None:
        """Its credentials, as blocks take them."""
        return self.leased.given if self.leased is not None else None

    @property
    def once(self) -> bool:
        """Whether it must not be repeated."""
        return self.task.effect == EFFECT_ONCE

    @property
    def block(self) -> Block:
        """What runs."""
        assert self.known_block is not None
        return self.known_block

    def begin(self) -> None:
        """The run starts now: its timeout counts from here."""
        self.started = time.monotonic()
        self.started_ms = time.time_ns() // 1_000_000

    def holding(self) -> Holding:
        """The run as heartbeats and claims name it."""
        task = self.task
        return Holding(
            execution_id=task.execution_id,
            node_execution=task.node_execution,
            attempt=task.attempt,
            partition=task.partition,
            run_id=self.run_id,
            batch=self.finish_batch,
        )

    def context(
        self,
        resources: Resources | None = None,
        values: Values | None = None,
        files: RunFiles | None = None,
        credentials: FreshCredentials | None = None,
    ) -> Context | None:
        """What the block may know of its run; None if it does not ask. Only on the event loop are resources shared."""
        if not self.block.run_signature.takes_context:
            return None
        task = self.task
        execution_id = str(UUID(bytes=task.execution_id))
        on_loop = self.block.style is RunStyle.ASYNC
        stats: dict[str, Any] = {}
        return Context(
            task_id=f"{execution_id}-{task.node_execution}",
            execution_id=execution_id,
            user_id=task.user_id,
            graph_id=task.graph_id,
            graph_version=task.graph_version,
            node_id=task.node_id,
            attempt=task.attempt,
            tools=decode_tools(task.tools) if task.tools else (),
            stats=stats,
            resources=resources if on_loop else None,
            credentials=credentials if credentials is not None and on_loop else NoFreshCredentials(),
            run_files=files.of(task, stats) if files is not None and on_loop else None,
            values=values.of(task, self.block, self.leased) if values is not None else StoredValues(REFUSED),
        )
