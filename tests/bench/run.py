"""One run of the bench: a stack of its own, the scenarios that were asked for one after the other, a report."""

import asyncio
import os
import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.laboratory import Laboratory, laboratory
from tests.bench.report import Report, Section
from tests.bench.scenarios.blocks import measure_blocks
from tests.bench.scenarios.chain import measure_chain
from tests.bench.scenarios.credits import measure_credits
from tests.bench.scenarios.events import measure_events
from tests.bench.scenarios.fan_out import measure_fan_out
from tests.bench.scenarios.latency import measure_latency
from tests.bench.scenarios.level import measure_level
from tests.bench.scenarios.queue import measure_queue
from tests.bench.scenarios.streaming import measure_streaming

MEASURES: Mapping[str, Callable[[Laboratory], Awaitable[Section]]] = {
    "chain": measure_chain,
    "fanout": measure_fan_out,
    "latency": measure_latency,
    "queue": measure_queue,
    "level": measure_level,
    "streaming": measure_streaming,
}

ALONE: Mapping[str, Callable[[bool], Awaitable[Section]]] = {"blocks": measure_blocks}
"""What needs no stack; told whether it is to be quick. Measured first, while nothing else runs."""

BESIDE: Mapping[str, Callable[[Path, bool, Callable[[str], None]], Awaitable[Section]]] = {
    "credits": measure_credits,
    "events": measure_events,
}
"""What has stacks of its own; told where, and whether it is to be quick. Measured last."""

SCENARIOS: Mapping[bool, tuple[str, ...]] = {
    False: (*ALONE, *MEASURES, *BESIDE),
    True: (*ALONE, "chain", "fanout", "latency"),
}
"""What is measured when nothing is named, by whether it is to be quick."""

LOOK_SECONDS = 1.0
BUSY_PERCENT = 10.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run is asked to do."""

    only: tuple[str, ...]
    quick: bool


async def run_bench(settings: Settings, home: Path, say: Callable[[str], None]) -> Report:
    """Measures it all on a stack under `home`."""
    busy = await asyncio.to_thread(psutil.cpu_percent, LOOK_SECONDS)
    if busy > BUSY_PERCENT:
        say(f"This machine is busy already ({busy:.0f} % of its processors): compare ratios, not figures.")
    sections: list[Section] = []
    for name in ALONE:
        if name in settings.only:
            say(f"measuring {name}")
            sections.append(await ALONE[name](settings.quick))
    if any(name in settings.only for name in MEASURES):
        sections += await _measure_stack(settings, home, say)
    for name in BESIDE:
        if name in settings.only:
            say(f"measuring {name}")
            sections.append(await BESIDE[name](home / name, settings.quick, say))
    machine = {
        "processors": os.cpu_count(),
        "busy_percent_before": busy,
        "python": platform.python_version(),
        "system": platform.platform(),
        "quick": settings.quick,
    }
    return Report(machine, sections)


async def _measure_stack(settings: Settings, home: Path, say: Callable[[str], None]) -> list[Section]:
    sections = []
    async with laboratory(home, settings.quick, say) as here:
        await here.warm_up()
        for name in MEASURES:
            if name in settings.only:
                say(f"measuring {name}")
                sections.append(await MEASURES[name](here))
    return sections
