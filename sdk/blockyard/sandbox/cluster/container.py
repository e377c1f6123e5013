"""One Job with its pod, from its creation to its removal, and the conversation with the first process inside."""

import asyncio
import logging
import secrets
import time
from contextlib import AsyncExitStack, suppress
from typing import Any

import aiohttp

from blockyard.sandbox import framing, wire
from blockyard.sandbox.cluster import job, states
from blockyard.sandbox.cluster.api import Api, ApiError
from blockyard.sandbox.cluster.inside import hello
from blockyard.sandbox.cluster.pods import Pods
from blockyard.sandbox.cluster.settings import ClusterSettings
from blockyard.sandbox.errors import SandboxError, SandboxLost, SandboxUnavailable
from blockyard.sandbox.program import End, Limits, Outcome, Program

# Both ends say as often that they are there; who hears nothing from a container for longer takes it for lost.
BEAT_SECONDS = 15.0
SILENT_SECONDS = 60.0
# Beside the time that the code has: to begin, to collect what it left, and for that to arrive.
AROUND_SECONDS = 60
# Until a pod says why its connection has ended.
EXPLAIN_SECONDS = 5.0
PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0
# Without a pod for so long, the server is asked why; then after ever longer pauses.
NO_POD_SECONDS = 0.5
DELETE_SECONDS = 30.0
CLOSE_SECONDS = 2.0
_STDIN, _STDOUT, _STDERR = 0, 1, 2
_PART = 1 << 16
_STDERR_BYTES = 4096

log = logging.getLogger(__name__)


class ConnectionEnded(Exception):
    """Nothing more comes from the container."""


class NotTaken(Exception):
    """The container ended before it took the program: nothing of that has happened."""


class Container:
    """Made by `start`; `close` must be called, whatever happened."""

    def __init__(self, api: Api, pods: Pods, settings: ClusterSettings, process: str, limits: Limits) -> None:
        self.name = f"sandbox-{secrets.token_hex(8)}"
        self.limits = limits
        self.born = time.monotonic()
        self._api = api
        self._pods = pods
        self._settings = settings
        self._process = process
        self._key = secrets.token_bytes(32)
        self._mask = framing.Mask(self._key)
        self._frames = framing.Frames()
        self._messages: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._stderr = bytearray()
        self._held = AsyncExitStack()
        # A frame is sent in parts, between which nothing else may come.
        self._sending = asyncio.Lock()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._no_pod = ""
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it still waits for a program."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

    async def start(self, deadline_seconds: int) -> None:
        """Returns once it waits for a program. `deadline_seconds` is how long the Job may last in all.

        Raises SandboxError.
        """
        self._pods.expect(self.name)
        described = job.described(self._settings, self.name, self._process, self.limits, deadline_seconds)
        pause = PAUSE_SECONDS
        waits_for = "the API server"
        try:
            async with asyncio.timeout(self._settings.start_seconds):
                while True:
                    try:
                        await self._api.create_job(described)
                        break
                    except ApiError as error:
                        if not error.passes:
                            raise error.as_sandbox_error(self._settings.namespace) from error
                        failed = error
                    waits_for = str(failed.as_sandbox_error(self._settings.namespace))
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                waits_for = ""
                await self._runs(described)
                await self._attach()
                await self._converse()
        except TimeoutError:
            raise SandboxLost(self._late(waits_for)) from None

    async def run(self, program: Program, limits: Limits) -> Outcome:
        """What came of it. Raises SandboxError, or NotTaken."""
        # In a thread: variables may be large.
        task = await asyncio.to_thread(lambda: framing.framed(wire.task_message(program, limits)))
        try:
            async with asyncio.timeout(SILENT_SECONDS):
                await self._send(task)
                await self._next()
        except (ConnectionEnded, TimeoutError) as error:
            raise NotTaken from error
        try:
            async with asyncio.timeout(limits.seconds + AROUND_SECONDS):
                message = await self._next()
            return wire.outcome_of(message, limits, self.name)
        except ConnectionEnded:
            return await self._outcome_without_answer(limits)
        except TimeoutError:
            raise SandboxLost(f"the sandbox {self.name} did not answer: its node may be gone") from None
        except ValueError as error:
            raise SandboxError(f"the sandbox {self.name} gave no answer that could be read: {error}") from error

    async def close(self) -> None:
        """Ends it, and removes the Job; what cannot be removed now is found by the next sweep."""
        # Both at once: either ends the program, and either may take long.
        await asyncio.gather(self._disconnect(), self._delete())
        self._pods.forget(self.name)

    async def _disconnect(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._held.aclose()

    async def _delete(self) -> None:
        pause = PAUSE_SECONDS
        with suppress(TimeoutError):
            async with asyncio.timeout(DELETE_SECONDS):
                while True:
                    try:
                        await self._api.delete_job(self.name)
                        return
                    except ApiError as error:
                        if not error.passes:
                            log.warning("the Job %s cannot be removed: %s", self.name, error)
                            return
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _runs(self, described: Any) -> None:
        """Returns once the pod's container runs. Raises SandboxError if it never will."""
        pause = NO_POD_SECONDS
        while True:
            try:
                async with asyncio.timeout(pause):
                    await self._pods.until(lambda: self._settled() or self._pods.trouble is not None)
            except TimeoutError:
                pass
            pod = self._pods.of(self.name)
            if pod is not None:
                if states.runs(pod):
                    return
                if (error := states.why_not(pod)) is not None:
                    raise error
            elif self._pods.trouble is not None:
                if not self._pods.trouble.passes:
                    raise self._pods.trouble.as_sandbox_error(self._settings.namespace)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                await self._ask_why(described)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def _settled(self) -> bool:
        pod = self._pods.of(self.name)
        return pod is not None and (states.runs(pod) or states.why_not(pod) is not None)

    async def _ask_why(self, described: Any) -> None:
        """A Job says of pods that it may not make nothing but events, which this has no right to read."""
        try:
            await self._api.try_pod(described)
        except ApiError as error:
            if not error.passes:
                raise error.as_sandbox_error(self._settings.namespace) from error
            # Such as a quota: others may end and make room.
            self._no_pod = str(error)
        else:
            self._no_pod = ""

    async def _attach(self) -> None:
        pause = PAUSE_SECONDS
        while True:
            pod = self._pods.of(self.name)
            if pod is None or states.has_ended(pod):
                raise states.why_ended(pod)
            try:
                connecting = self._api.attached(pod["metadata"]["name"], job.CONTAINER)
                self._socket = await self._held.enter_async_context(connecting)
            except ApiError as error:
                # 400 and 404: what the kubelet says of a container has not come to everybody yet.
                if not error.passes and error.status not in (400, 404):
                    raise error.as_sandbox_error(self._settings.namespace) from error
            else:
                self._tasks = (
                    asyncio.create_task(self._read(self._socket), name=f"read {self.name}"),
                    asyncio.create_task(self._beat(), name=f"tell {self.name} that there is somebody"),
                    asyncio.create_task(self._notice_end(), name=f"notice the end of {self.name}"),
                )
                return
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    async def _converse(self) -> None:
        """Sends what runs inside, and waits until it does."""
        try:
            await self._send(framing.framed(hello(self._key)))
            message = await self._next()
        except ConnectionEnded:
            raise await self._why_ended() from None
        if not message.get("ready"):
            raise SandboxUnavailable(f"code cannot run here: the container of {self.name} is not ready: {message}")

    async def _send(self, data: bytes) -> None:
        assert self._socket is not None
        try:
            async with self._sending:
                await self._send_parts(self._socket, data)
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionEnded from error

    async def _send_parts(self, socket: aiohttp.ClientWebSocketResponse, data: bytes) -> None:
        for at in range(0, len(data), _PART):
            await socket.send_bytes(bytes((_STDIN,)) + data[at : at + _PART])

    async def _next(self) -> dict[str, Any]:
        """The next message that says more than that the container is alive."""
        while True:
            async with asyncio.timeout(SILENT_SECONDS):
                message = await self._messages.get()
            if message is None:
                raise ConnectionEnded
            if "alive" not in message:
                return message

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Takes what comes until the connection ends, when None is the last message."""
        try:
            async for part in socket:
                if part.type is not aiohttp.WSMsgType.BINARY or not part.data:
                    continue
                channel, data = part.data[0], part.data[1:]
                if channel == _STDOUT:
                    for content in self._frames.add(data):
                        self._messages.put_nowait(await asyncio.to_thread(framing.message_in, content, self._mask))
                elif channel == _STDERR:
                    self._stderr += data
                    del self._stderr[:-_STDERR_BYTES]
        except framing.NotAFrame as error:
            self._messages.put_nowait({"error": SandboxError.__name__, "message": f"an answer that is none: {error}"})
        finally:
            self._messages.put_nowait(None)

    async def _beat(self) -> None:
        with suppress(ConnectionEnded):
            while True:
                await asyncio.sleep(BEAT_SECONDS)
                await self._send(framing.framed({"alive": True}))

    async def _notice_end(self) -> None:
        """A connection may outlive the pod, such as that of a node that is gone."""
        await self._pods.until(self._has_ended)
        await asyncio.sleep(EXPLAIN_SECONDS)
        self._messages.put_nowait(None)

    async def _outcome_without_answer(self, limits: Limits) -> Outcome:
        error = await self._why_ended()
        pod = self._pods.of(self.name)
        if pod is not None and states.out_of_memory(pod):
            return Outcome(self.name, End.OUT_OF_MEMORY, step="code")
        raise error

    async def _why_ended(self) -> SandboxError:
        """Why the connection has: what the pod says, once it does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(EXPLAIN_SECONDS):
                await self._pods.until(self._has_ended)
        if not self._has_ended():
            return SandboxLost(f"the connection to the sandbox {self.name} broke off")
        return states.why_ended(self._pods.of(self.name), self._stderr.decode(errors="replace"))

    def _has_ended(self) -> bool:
        pod = self._pods.of(self.name)
        return pod is None or states.has_ended(pod)

    def _late(self, waits_for: str) -> str:
        pod = self._pods.of(self.name)
        trouble = self._pods.trouble
        unknown = str(trouble.as_sandbox_error(self._settings.namespace)) if trouble is not None else ""
        why = waits_for or unknown or (self._no_pod if pod is None else "") or states.waits_for(pod)
        return (
            f"the sandbox {self._settings.namespace}/{self.name} did not run within {self._settings.start_seconds} s: "
            f"{why}. To do: make room in the cluster (nodes, ResourceQuota), let fewer run at once "
            "(BLOCKYARD_SANDBOXES, BLOCKYARD_SANDBOX_WARM), or let them wait longer (BLOCKYARD_SANDBOX_START_SECONDS)"
        )
