"""What becomes of the pods of this process's Jobs: one watch for all of them, begun anew whenever it ends."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from blockyard.sandbox.cluster.api import Api, ApiError
from blockyard.sandbox.cluster.job import JOB
from blockyard.sandbox.cluster.states import GONE

Json = Any  # objects of Kubernetes
PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 5.0
TOO_OLD = 410

log = logging.getLogger(__name__)


class Pods:
    """Pods by the names of their Jobs."""

    def __init__(self, api: Api, labels: Mapping[str, str]) -> None:
        self._api = api
        self._labels = labels
        self._expected: set[str] = set()
        self._found: dict[str, Json] = {}
        self._changed = asyncio.Event()
        self.trouble: ApiError | None = None
        """Why nothing is known at present."""

    def of(self, job: str) -> Json | None:
        """The Job's pod, if there is one."""
        return self._found.get(job)

    def expect(self, job: str) -> None:
        """The Job's pod will be asked for, until `forget`."""
        self._expected.add(job)

    def forget(self, job: str) -> None:
        """Nobody asks for the Job's pod any more; its last changes are still to come."""
        self._expected.discard(job)
        self._found.pop(job, None)

    @property
    def known(self) -> int:
        """How many pods are kept."""
        return len(self._found)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once it holds; it is looked at with every change."""
        while not condition():
            await self._changed.wait()

    async def run(self) -> None:
        """Watches until it is cancelled."""
        pause = PAUSE_SECONDS
        while True:
            began = time.monotonic()
            try:
                pods, version = await self._api.list_pods(self._labels)
                self._found = {_job(pod): pod for pod in pods if _job(pod) in self._expected}
                self._noticed(None)
                while True:
                    version = await self._follow(version)
                    # Whoever ends each watch at once is not asked without a pause.
                    await asyncio.sleep(PAUSE_SECONDS)
            except ApiError as error:
                if error.status != TOO_OLD:
                    self._noticed(error)
            if time.monotonic() - began > LONGEST_PAUSE_SECONDS:
                # It went well before, which a list alone does not say.
                pause = PAUSE_SECONDS
            # What a watch was begun too late for, or broke off in, is in the next list.
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _follow(self, version: str) -> str:
        """One watch; the version of what it saw last."""
        async for kind, pod in self._api.watch_pods(self._labels, version):
            version = pod["metadata"]["resourceVersion"]
            if kind == "BOOKMARK" or _job(pod) not in self._expected:
                continue
            if kind in ("ADDED", "MODIFIED"):
                self._found[_job(pod)] = pod
            elif kind == "DELETED":
                # Its last words may say why.
                self._found[_job(pod)] = {**pod, GONE: True}
            self._noticed(None)
        return version

    def _noticed(self, trouble: ApiError | None) -> None:
        if trouble is not None and (self.trouble is None or self.trouble.message != trouble.message):
            log.warning("the sandbox's pods cannot be watched, trying on: %s: %s", trouble.what, trouble)
        self.trouble = trouble
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _job(pod: Json) -> str:
    return str(pod["metadata"]["labels"][JOB])
