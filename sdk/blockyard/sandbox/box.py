"""One running sandbox: its processes, the pipes to it, and its folders, held from outside.

All of its processes are in a process namespace whose first process is bubblewrap's: killed, it takes the others along,
and bubblewrap outside ends after it. So once that has ended nothing is alive.
"""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from blockyard.sandbox import collecting, usage, view
from blockyard.sandbox.advice import refusal
from blockyard.sandbox.capture import Capture
from blockyard.sandbox.errors import SandboxUnavailable
from blockyard.sandbox.program import End, Limits

START_SECONDS = 30.0
KILL_SECONDS = 5.0
WATCH_SECONDS = 0.05
_REPORT_LIMIT = 1 << 20
_SETUP_LIMIT = 1 << 16
_NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup", "mnt")


@dataclass(frozen=True, slots=True)
class Pipes:
    """The ends that the sandbox gets."""

    go: int
    report: int
    stdout: int
    stderr: int
    setup_output: int


class Box:
    """Made by `async with`; whatever happens inside of that, its processes are dead afterwards."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.changed = asyncio.Event()
        self.stdout = Capture(limits.output, self.changed)
        self.stderr = Capture(limits.output, self.changed)
        self.setup_output = Capture(_SETUP_LIMIT, self.changed)
        self.report = Capture(_REPORT_LIMIT, self.changed)
        self.work = self.result = -1
        self._proc = self._first = self._info = self._go = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._receiving: list[int] = []
        self._held = ExitStack()
        self._given = ExitStack()
        self.pipes = self._given_pipes()

    async def __aenter__(self) -> "Box":
        return self

    async def __aexit__(self, *exception: object) -> None:
        try:
            await self.stop()
        finally:
            for capture in self._captures():
                capture.close()
            for descriptor in self._receiving:
                os.close(descriptor)
            self._given.close()
            self._held.close()

    def give(self, content: bytes) -> int:
        """A descriptor that the sandbox reads this from."""
        descriptor = self._given_away(os.memfd_create("sandbox"))
        written = 0
        while written < len(content):
            written += os.write(descriptor, content[written:])
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    async def start(
        self, program: str, arguments: Sequence[str], command: Sequence[str], given: Iterable[int], user: int | None
    ) -> None:
        """Starts bubblewrap, up to where the program inside waits for `go`. Raises SandboxUnavailable.

        `program` is bubblewrap's path, `command` what it runs inside, `given` the descriptors that its arguments name,
        and `user` the number of the user to become first, if this is root.
        """
        await self._connect()
        self._info = self._held_open(os.memfd_create("info"))
        words = ("--info-fd", str(self._info), *arguments)
        every = self.give(b"".join(os.fsencode(word) + b"\0" for word in words))
        try:
            self._process = self._begin(program, every, command, given, user)
        except (OSError, subprocess.SubprocessError) as error:
            raise SandboxUnavailable(refusal(str(error))) from error
        self._given.close()
        self._notice_end(self._process)
        await self._ready()

    def _begin(
        self, program: str, arguments: int, command: Sequence[str], given: Iterable[int], user: int | None
    ) -> subprocess.Popen[bytes]:
        # By its descriptor, since that user may not be able to enter the folder that it is in.
        executable = self._given_away(os.open(program, os.O_RDONLY | os.O_CLOEXEC))
        pipes = self.pipes
        rights: dict[str, Any] = {}
        if user is not None:
            rights = {"user": user, "group": user, "extra_groups": []}
            # Programs open their own output by its name, /dev/stderr.
            for descriptor in (pipes.stdout, pipes.stderr, pipes.setup_output):
                os.fchown(descriptor, user, user)
        return subprocess.Popen(
            ["bwrap", "--args", str(arguments), "--", *command],
            executable=f"/proc/self/fd/{executable}",
            stdin=subprocess.DEVNULL,
            stdout=pipes.stdout,
            stderr=pipes.stderr,
            pass_fds=[*given, arguments, executable, self._info, pipes.go, pipes.report, pipes.setup_output],
            env={},
            cwd="/",
            start_new_session=True,
            **rights,
        )

    def go(self) -> None:
        """The program may run: looks first whether it is held as it should be. Raises SandboxUnavailable."""
        try:
            self._hold()
        except OSError as error:
            raise SandboxUnavailable(refusal(str(error))) from error
        self.stdout.content.clear()
        self.stderr.content.clear()
        os.write(self._go, b"g")

    def _hold(self) -> None:
        first = _first_process(os.pread(self._info, 4096, 0))
        self._first = self._held_open(os.pidfd_open(first))
        _check_held(first)
        # From here on the folders stay, and stay the same, whatever becomes of the processes and of their paths.
        self._proc = self._held_open(collecting.open_folder(f"/proc/{first}/root/proc"))
        self.work = self._held_open(collecting.open_folder(f"/proc/{first}/root{view.WORK}"))
        self.result = self._held_open(collecting.open_folder(f"/proc/{first}/root{view.RESULT}"))

    async def watch(self) -> End:
        """Waits until the program has ended by itself, or must be ended for the reason given."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.limits.seconds
        while not self._ended.done():
            # Not woken by what it writes: a program that writes a lot would have itself watched all the time.
            await asyncio.wait([self._ended], timeout=WATCH_SECONDS)
            if self._overflowed():
                return End.TOO_MUCH_OUTPUT
            if self._ended.done():
                break
            if loop.time() >= deadline:
                return End.OUT_OF_TIME
            if usage.threads(self._proc) > self.limits.processes:
                return End.TOO_MANY_PROCESSES
            if usage.memory_above(self._proc, self.limits.memory):
                return End.OUT_OF_MEMORY
            if collecting.entries_in(self.work) > self.limits.folder_entries:
                return End.TOO_MANY_FILES
        await self._drained()
        return End.TOO_MUCH_OUTPUT if self._overflowed() else End.EXITED

    async def stop(self) -> None:
        """Kills what is left of it, and waits until all of that is dead and all of its output is here."""
        if self._process is None:
            return
        self._kill(self._process)
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                await asyncio.shield(self._ended)
        if not self._ended.done():
            self._process.kill()
            await asyncio.shield(self._ended)
        await self._drained()

    def messages(self) -> list[dict[str, Any]]:
        """What the first program inside has reported. The code can write there too, so it may be anything."""
        found = []
        for line in bytes(self.report.content).splitlines():
            with suppress(ValueError, RecursionError):
                message = json.loads(line)
                if isinstance(message, dict):
                    found.append(message)
        return found

    def _overflowed(self) -> bool:
        return any(capture.overflowed for capture in self._captures())

    def _captures(self) -> tuple[Capture, ...]:
        return self.stdout, self.stderr, self.setup_output, self.report

    def _given_pipes(self) -> Pipes:
        reading, writing = os.pipe()
        self._go = self._held_open(writing)
        return Pipes(self._given_away(reading), self._outgoing(), self._outgoing(), self._outgoing(), self._outgoing())

    def _outgoing(self) -> int:
        reading, writing = os.pipe()
        self._receiving.append(reading)
        return self._given_away(writing)

    async def _connect(self) -> None:
        for capture in (self.report, self.stdout, self.stderr, self.setup_output):
            await capture.connect(self._receiving.pop(0))

    def _held_open(self, descriptor: int) -> int:
        """Closed at the end."""
        self._held.callback(os.close, descriptor)
        return descriptor

    def _given_away(self, descriptor: int) -> int:
        """Closed here once the sandbox has it."""
        self._given.callback(os.close, descriptor)
        return descriptor

    def _notice_end(self, process: subprocess.Popen[bytes]) -> None:
        loop = asyncio.get_running_loop()
        watched = os.pidfd_open(process.pid)

        def ended() -> None:
            loop.remove_reader(watched)
            os.close(watched)
            process.wait()
            self.changed.set()
            if not self._ended.done():
                self._ended.set_result(None)

        loop.add_reader(watched, ended)

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(START_SECONDS):
                while not self.messages():
                    if self._ended.done():
                        await self._drained()
                        raise SandboxUnavailable(refusal(_last_line(self.stderr.text())))
                    await self.changed.wait()
                    self.changed.clear()
            if refused := self.messages()[0].get("refused"):
                raise SandboxUnavailable(
                    f"code cannot run here without protection: {refused}. To do: run the runner as an ordinary user "
                    "of the machine or as its root, but not as its root under another name in a user namespace."
                )
        except TimeoutError:
            raise SandboxUnavailable(f"the sandbox was not ready within {START_SECONDS:g} seconds") from None

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        if self._ended.done():
            return
        if self._first < 0:
            process.kill()
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first, signal.SIGKILL)

    async def _drained(self) -> None:
        # All who could write are dead, so the pipes' ends are near.
        with suppress(TimeoutError):
            async with asyncio.timeout(KILL_SECONDS):
                while not all(capture.ended for capture in self._captures()):
                    await self.changed.wait()
                    self.changed.clear()


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "bubblewrap ended at once"


def _first_process(info: bytes) -> int:
    described: Mapping[str, Any] = json.loads(info)
    return int(described["child-pid"])


def _check_held(process: int) -> None:
    """Raises SandboxUnavailable if the process is not in namespaces of its own, or makes calls unfiltered."""
    for namespace in _NAMESPACES:
        if os.readlink(f"/proc/{process}/ns/{namespace}") == os.readlink(f"/proc/self/ns/{namespace}"):
            raise SandboxUnavailable(refusal(f"bubblewrap made no {namespace} namespace"))
    with open(f"/proc/{process}/status", encoding="ascii", errors="replace") as file:
        status = dict(line.split(":", 1) for line in file)
    if (status["NoNewPrivs"].strip(), status["Seccomp"].strip()) != ("1", "2"):
        raise SandboxUnavailable(refusal("bubblewrap set no filter for system calls"))
