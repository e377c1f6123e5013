"""When executions have ended, as a subscriber of their events on NATS hears it: one subscription for all of them."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.common.bus import Delivery

SUBJECT = "blockyard.event.>"

_COMPLETED = "EXECUTION_COMPLETED"
_ENDS = frozenset({_COMPLETED, "EXECUTION_FAILED", "EXECUTION_CANCELLED"})
_STARTED = "EXECUTION_STARTED"


class NotCompleted(Exception):
    """Executions that are measured failed, or took longer than anyone would wait."""


@dataclass(slots=True, eq=False)
class Completions:
    """Hears events and knows who has ended, and when. Times are of time.perf_counter."""

    started: int = 0
    """Executions that were heard to begin, since the last `forget`."""
    _ended: dict[str, float] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)
    _missing: set[str] = field(default_factory=set)
    _all_there: asyncio.Event = field(default_factory=asyncio.Event)

    def hear(self, delivery: Delivery) -> None:
        """Takes a message of events."""
        kinds = delivery.headers.get("Blockyard-Kinds", "").split(",")
        if _STARTED in kinds:
            self.started += 1
        end = next((kind for kind in kinds if kind in _ENDS), None)
        if end is None:
            return
        execution_id = delivery.subject.rpartition(".")[2]
        self._ended[execution_id] = time.perf_counter()
        if end != _COMPLETED:
            self._failed[execution_id] = end
        self._missing.discard(execution_id)
        if not self._missing:
            self._all_there.set()

    async def first_and_last_of(self, execution_ids: Iterable[str], seconds: float) -> tuple[float, float]:
        """When the first and the last of these executions completed.

        Raises NotCompleted unless all do within `seconds`.
        """
        wanted = set(execution_ids)
        self._missing = wanted - self._ended.keys()
        self._all_there.clear()
        if self._missing:
            try:
                async with asyncio.timeout(seconds):
                    await self._all_there.wait()
            except TimeoutError:
                raise NotCompleted(
                    f"{len(self._missing)} of {len(wanted)} executions have not ended after {seconds:g} seconds, "
                    f"{min(self._missing)} for one"
                ) from None
        failed = wanted & self._failed.keys()
        if failed:
            example = min(failed)
            raise NotCompleted(f"{len(failed)} of {len(wanted)} executions: {self._failed[example]}, {example} for one")
        times = [self._ended[execution_id] for execution_id in wanted]
        return min(times), max(times)

    def forget(self) -> None:
        """Nothing that has ended so far will be asked for."""
        self.started = 0
        self._ended.clear()
        self._failed.clear()
