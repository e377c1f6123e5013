"""Runs programs in Jobs of a Kubernetes cluster; some may wait ready-made. What earlier processes left is removed."""

import asyncio
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from blockyard.sandbox import running
from blockyard.sandbox.cluster import job
from blockyard.sandbox.cluster.api import Api, ApiError, connected
from blockyard.sandbox.cluster.container import AROUND_SECONDS, Container, NotTaken
from blockyard.sandbox.cluster.pods import Pods
from blockyard.sandbox.cluster.settings import ClusterSettings
from blockyard.sandbox.errors import SandboxError, SandboxLost
from blockyard.sandbox.program import Limits, Outcome, Program

Json = Any  # objects of Kubernetes
SWEEP_SECONDS = 60.0
# What programs of a Job that was made ahead may take; the blocks' longest timeout.
MOST_SECONDS = 600
# After the end of a Job that others may still be looking at.
LEFT_SECONDS = 2 * job.KEPT_SECONDS
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
LOOK_SECONDS = 1.0
# Those that waited may all have ended just now, with their node.
MOST_TRIES = 3
CLOSE_SECONDS = 5.0

log = logging.getLogger(__name__)


class KubernetesSandbox:
    """Made by `opened`. So many programs at once; others wait for their turn."""

    def __init__(self, api: Api, settings: ClusterSettings, at_once: int) -> None:
        self._api = api
        self._settings = settings
        # Another one at the next start of this container, whose pod keeps its name.
        self._process = secrets.token_hex(8)
        self._own = {job.RELEASE: settings.release, job.PROCESS: self._process}
        self._pods = Pods(api, self._own)
        self._places = asyncio.Semaphore(at_once)
        self._warm: deque[Container] = deque()
        self._taken = asyncio.Event()
        self._alive: set[str] = set()
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def known(self) -> int:
        """How many Jobs it keeps something of."""
        return self._pods.known + len(self._alive)

    @property
    def ready(self) -> int:
        """How many Jobs wait for a program."""
        return sum(container.usable for container in self._warm)

    async def run(self, program: Program, limits: Limits) -> Outcome:
        """See `Sandbox.run`. The limit of time counts from the program's start."""
        running.check(program)
        async with self._places:
            for _ in range(MOST_TRIES):
                container = self._take(limits) or await self._started(limits, self._deadline(int(limits.seconds) + 1))
                try:
                    return await container.run(program, limits)
                except NotTaken:
                    log.info("a sandbox ended before it took a program, which gets another one: %s", container.name)
                finally:
                    self._close(container)
        raise SandboxLost(f"{MOST_TRIES} sandboxes ended before they took the code")

    async def work(self) -> None:
        """Watches, sweeps and keeps Jobs ready, until it is cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pods.run(), name="watch the sandbox's pods")
            tasks.create_task(self._sweep_always(), name="sweep sandboxes")
            if self._settings.warm:
                tasks.create_task(self._keep_warm(), name="keep sandboxes warm")

    async def close(self) -> None:
        """Ends what is still there."""
        while self._warm:
            self._close(self._warm.popleft())
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=CLOSE_SECONDS)
            for closing in late:
                closing.cancel()
            if late:
                await asyncio.wait(late)

    async def sweep(self) -> list[str]:
        """Removes Jobs that nobody will: names of them. Raises ApiError."""
        found = await self._api.list_jobs({job.RELEASE: self._settings.release, job.POOL: self._settings.pool})
        names = [one["metadata"]["name"] for one in found if self._is_left(one, datetime.now(UTC))]
        for name in names:
            await self._api.delete_job(name)
        if names:
            log.info("sandboxes that were left have been removed: %s", ", ".join(names))
        return names

    def _is_left(self, one: Json, now: datetime) -> bool:
        labels: Mapping[str, str] = one["metadata"]["labels"]
        if labels.get(job.PROCESS) == self._process:
            return str(one["metadata"]["name"]) not in self._alive
        if self._settings.runner and labels.get(job.RUNNER) == self._settings.runner:
            # Of an earlier process of this very container.
            return True
        # Of a runner that may be gone: its containers have ended with it, and what has ended is left alone for a while.
        for condition in one.get("status", {}).get("conditions") or ():
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                return _age(condition["lastTransitionTime"], now) > LEFT_SECONDS
        longest = float(one["spec"].get("activeDeadlineSeconds", 0) + LEFT_SECONDS)
        return _age(one["metadata"]["creationTimestamp"], now) > longest

    async def _started(self, limits: Limits, deadline_seconds: int) -> Container:
        container = Container(self._api, self._pods, self._settings, self._process, limits)
        self._alive.add(container.name)
        try:
            await container.start(deadline_seconds)
        except BaseException:
            self._close(container)
            raise
        return container

    def _deadline(self, seconds: int) -> int:
        return self._settings.start_seconds + seconds + AROUND_SECONDS

    def _take(self, limits: Limits) -> Container | None:
        """One that waits, if it is of the size."""
        taken: Container | None = None
        while self._warm and taken is None and _fits(limits, self._warm[0].limits):
            container = self._warm.popleft()
            if container.usable:
                taken = container
            else:
                self._close(container)
        self._taken.set()
        return taken

    def _close(self, container: Container) -> None:
        """In a task of its own: nobody waits for it, and who is cancelled need not."""

        async def close() -> None:
            try:
                await container.close()
            finally:
                self._alive.discard(container.name)

        closing = asyncio.create_task(close(), name=f"close {container.name}")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _keep_warm(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            self._taken.clear()
            self._drop_old()
            missing = self._settings.warm - len(self._warm)
            if all(await asyncio.gather(*(self._add_warm() for _ in range(missing)))):
                pause = PAUSE_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._taken.wait()
            else:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _add_warm(self) -> bool:
        seconds = self._settings.warm_seconds + MOST_SECONDS
        try:
            self._warm.append(await self._started(Limits(), self._deadline(seconds)))
        except SandboxError as error:
            log.warning("no sandbox can be kept ready, trying on: %s", error)
            return False
        return True

    def _drop_old(self) -> None:
        for container in list(self._warm):
            if not container.usable or time.monotonic() - container.born > self._settings.warm_seconds:
                self._warm.remove(container)
                self._close(container)

    async def _sweep_always(self) -> None:
        while True:
            try:
                await self.sweep()
            except ApiError as error:
                log.warning("sandboxes that were left cannot be looked for, trying on: %s", error)
            await asyncio.sleep(SWEEP_SECONDS)


@asynccontextmanager
async def opened(settings: ClusterSettings, at_once: int) -> AsyncIterator[KubernetesSandbox]:
    """The sandbox of this cluster. Raises SandboxUnavailable."""
    async with connected(settings.namespace) as api:
        sandbox = KubernetesSandbox(api, settings, at_once)
        working = asyncio.create_task(_work(sandbox), name="sandboxes")
        try:
            yield sandbox
        finally:
            working.cancel()
            await asyncio.wait([working])
            await sandbox.close()


async def _work(sandbox: KubernetesSandbox) -> None:
    while True:
        try:
            await sandbox.work()
        except Exception:  # an edge: every program waits for what is found out there
            log.exception("what looks after sandboxes has failed, and begins anew")
            await asyncio.sleep(PAUSE_SECONDS)


def _fits(wanted: Limits, made: Limits) -> bool:
    """Whether a Job that was made for these limits holds a program to those."""
    sizes: Mapping[str, Any] = {name: getattr(made, name) for name in ("memory", "file_size", "folder_size")}
    return wanted.seconds <= MOST_SECONDS and all(getattr(wanted, name) <= size for name, size in sizes.items())


def _age(moment: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(moment)).total_seconds()
