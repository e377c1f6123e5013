"""The runner itself: everything is built here, top to bottom. `python -m services.runner` supervises this process.

`python -m services.runner.service SHARED PARENT`: the descriptor of the memory shared with the supervisor, and its id.
"""

import asyncio
import mmap
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial

import grpc
import structlog
from blockyard.block.resources import Resources

from services import starting
from services.common import bus as nats
from services.common import grpc_client, grpc_server, run
from services.common.blobs import BlobStore
from services.runner import casualty
from services.runner.blocks_here import BlocksHere, use_processes
from services.runner.casualty import HeldRuns, Mark
from services.runner.config import RunnerSettings
from services.runner.credentials import Credentials
from services.runner.draining import Drain
from services.runner.driving import Driver
from services.runner.files import RunFiles
from services.runner.heartbeats import Heartbeats
from services.runner.inline import Inline
from services.runner.intake import Intake
from services.runner.kept import Kept
from services.runner.last_words import tell_of_casualties
from services.runner.leased import HeldSecrets
from services.runner.loaded import Loaded
from services.runner.metrics import RunMetrics
from services.runner.outbox import Outbox
from services.runner.own_strings import forget_secrets
from services.runner.parent import die_with
from services.runner.processes import Processes
from services.runner.registration import Registration
from services.runner.result_cache import ResultCache
from services.runner.scheduling import Scheduler
from services.runner.sending import Sender
from services.runner.spill import SpillFile
from services.runner.supervisor import EXIT_START_ANEW
from services.runner.threads import Threads
from services.runner.values import Values
from services.runner.watch import EventLoopWatch

STUCK_LOOK_SECONDS = 1.0
TURN_SECONDS = 0.1


async def start(
    settings: RunnerSettings,
    resources: AsyncExitStack,
    process: run.Process,
    *,
    loaded: Loaded,
    memory: mmap.mmap,
    held_secrets: HeldSecrets,
) -> None:
    """Builds everything, top to bottom."""
    forget_secrets()
    runner_id = f"{settings.pool}-{secrets.token_hex(8)}"
    structlog.contextvars.bind_contextvars(runner_id=runner_id)
    blocks = BlocksHere.of(loaded.catalogue)
    await asyncio.to_thread(blocks.ask)
    last_one = casualty.take_over(memory)
    mark, held = Mark(memory, settings.event_loop_seconds * 1.5), HeldRuns(memory)
    watch = EventLoopWatch(settings.event_loop_seconds, mark)
    watch.start()
    resources.callback(watch.stop)
    threads = Threads(settings.threads, mark.in_threads, held)
    resources.callback(threads.close)
    processes = Processes(settings.processes, loaded.template(), [loaded.loading.argument()])
    resources.push_async_callback(processes.close)
    spill = SpillFile(settings.spill_folder, settings.spilled_bytes)
    resources.callback(spill.close)
    bus = await resources.enter_async_context(nats.connect(settings.nats_url, runner_id, settings.nats_access()))
    credentials = grpc_client.ServiceCredentials(settings.runner_secret.get_secret_value(), "runner", settings.tls())
    channel = await resources.enter_async_context(grpc_client.channel(settings.graph_address, credentials))
    executions = await resources.enter_async_context(grpc_client.channel(settings.execution_address, credentials))
    vault: grpc.aio.Channel | None = None
    if settings.credentials_address:
        vault = await resources.enter_async_context(grpc_client.channel(settings.credentials_address, credentials))

    metrics = RunMetrics()
    kept = Kept(runner_id, spill, held, settings.kept_bytes, settings.kept_runs, settings.streamed_bytes)
    sender = Sender(bus, kept)
    outbox = Outbox(runner_id, settings.pool, kept, sender.send, metrics)
    blobs = BlobStore(settings.blob_url)
    shared = await resources.enter_async_context(Resources())
    values, cache = Values(executions), ResultCache(settings.cached_results, settings.cached_bytes)
    files = RunFiles.of_settings(settings, blobs, shared)
    leases = Credentials(vault, runner_id, held_secrets)
    driver = Driver(
        bus, runner_id, outbox, kept, blobs, threads, processes, watch, held, shared, values, cache, files, leases
    )
    scheduler = Scheduler(settings.slots, blocks, Inline(watch), driver, outbox, held)
    intake = Intake(bus, settings.pool, scheduler, kept)
    heartbeats = Heartbeats(bus, runner_id, settings.pool, settings.heartbeat_seconds, scheduler, kept, sender)
    registration = Registration(channel, runner_id, settings.pool, blocks)
    metrics.numbers.update(
        blockyard_runner_slots=lambda: settings.slots,
        blockyard_runner_running=lambda: scheduler.running,
        blockyard_runner_held=lambda: len(scheduler.held),
        blockyard_runner_kept_bytes=lambda: kept.bytes,
        blockyard_runner_cached_bytes=lambda: cache.bytes,
        blockyard_runner_stuck_threads=lambda: float(threads.stuck),
        blockyard_runner_cache_hits=lambda: cache.hits,
    )
    metrics.lists.update(blockyard_runner_blocks_left_out=lambda: tuple(registration.left_out))
    resources.callback(metrics.register())
    if last_one is not None:
        tell_of_casualties(outbox, *last_one)

    async def pull() -> None:
        await registration.done.wait()
        await intake.run()

    # Draining takes the runner's grace; calls of its health need none beyond that.
    health = settings.model_copy(update={"grace_seconds": 0})
    checks = {"nats": _is_true(lambda: bus.connected), "tasks": _is_true(lambda: intake.is_well)}
    await resources.enter_async_context(grpc_server.serve(health, [], checks))
    process.hold("sender", sender.run())
    process.hold("registration", registration.run())
    process.hold("heartbeats", heartbeats.run())
    process.hold("ticks", scheduler.tick())
    process.hold("turns", _tell_turns(mark))
    process.hold("stuck threads", _watch_threads(threads, settings.stuck_threads, process))
    if use_processes(loaded.catalogue.blocks):
        process.hold("first process", processes.warm())
    pulling = process.hold("intake", pull())
    drain = Drain(intake, pulling, heartbeats, scheduler, outbox, kept, settings.grace_seconds)
    resources.push_async_callback(drain)


def _is_true(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return condition()

    return check


async def _tell_turns(mark: Mark) -> None:
    """Tell the supervisor that the event loop turns, until this is cancelled."""
    try:
        while True:
            mark.turned(time.monotonic())
            await asyncio.sleep(TURN_SECONDS)
    finally:
        mark.stopped()


async def _watch_threads(threads: Threads, most: int, process: run.Process) -> None:
    """End the process when too many threads hang: memory and locks that they hold come back no other way."""
    while True:
        await asyncio.sleep(STUCK_LOOK_SECONDS)
        if threads.end_retired() > most:
            process.end(f"{threads.stuck} threads cannot be ended", exit_code=EXIT_START_ANEW)
            return


def main(arguments: list[str]) -> None:
    """Run under a supervisor."""
    descriptor, parent = map(int, arguments)
    die_with(parent)
    starting.end()
    held_secrets = HeldSecrets()
    # Before anything is logged: whoever keeps the streams as they are would print past it.
    held_secrets.guard_streams()
    try:
        loaded = Loaded.first_of_all(held_secrets, descriptor)
        # Only now: the template must not have it.
        memory = mmap.mmap(descriptor, casualty.SIZE)
        run.main(RunnerSettings, partial(start, loaded=loaded, memory=memory, held_secrets=held_secrets))
    except SystemExit:
        # Anything else that comes out of it, such as a cancel of all tasks, is a block's doing, and a crash.
        casualty.ends_in_order(mmap.mmap(descriptor, casualty.SIZE))
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
