"""One run of a program, the same for every way to make a sandbox: what is checked, run, given to it and kept of it."""

import json
import keyword
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from blockyard.sandbox import collecting, view
from blockyard.sandbox.box import Box
from blockyard.sandbox.errors import ProgramInvalid
from blockyard.sandbox.languages import Interpreter, Start, find_bash, find_python, script, start_of
from blockyard.sandbox.program import MEBIBYTE, End, Language, Limits, Outcome, Program

MAX_CODE_BYTES = MEBIBYTE
MAX_SETUP_COMMANDS = 100
START = "/blockyard/start.py"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WITH_GLOBALS = frozenset({Language.PYTHON, Language.JAVASCRIPT})
# Interpreters reserve many times what they use.
_ADDRESSES = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs: the Python of the first program inside, the steps, and how the code of the last one is started."""

    python: Interpreter
    start: Start
    steps: list[dict[str, Any]]

    @property
    def command(self) -> list[str]:
        """The first program inside."""
        return [self.python.path, "-I", "-S", "-B", START]


def plan(program: Program, limits: Limits, reachable: Callable[[str], bool]) -> Plan:
    """`reachable` tells whether the user that the sandbox runs as can open a path. Raises LanguageUnavailable."""
    start = start_of(program.language, program.code, limits, reachable)
    python, bash = find_python(reachable), find_bash(reachable) if program.setup_commands else ""
    return Plan(python, start, _steps(program, start, bash))


async def carry_out(box: Box, plan: Plan) -> Outcome:
    """Lets what was begun in the box run, and gives what came of it."""
    box.go()
    end = await box.watch()
    await box.stop()
    return _outcome(box, end, [step["name"] for step in plan.steps])


def check(program: Program) -> None:
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


def _steps(program: Program, start: Start, bash: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [
        {"name": f"setup_commands[{number}]", "command": [bash, "-c", command], "environment": {}}
        for number, command in enumerate(program.setup_commands)
    ]
    variables = {} if program.language in _WITH_GLOBALS else program.variables
    environment = {name: _environment_value(value) for name, value in variables.items()}
    return [*steps, {"name": "code", "command": list(start.command), "environment": environment}]


def job(box: Box, plan: Plan, **more: Any) -> str:
    """What the first program inside reads; `more` is what it is told beside that."""
    pipes, limits = box.pipes, box.limits
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
    descriptors = {"go": pipes.go, "report": pipes.report, "setup_output": pipes.setup_output}
    return json.dumps({**descriptors, "limits": rlimits, "steps": plan.steps, **more})


def files(program: Program, plan: Plan, job: str) -> dict[str, bytes]:
    """Content by path of what the programs inside read."""
    texts = {
        "start.py": script("start.py"),
        "job.json": job,
        "variables.json": json.dumps(dict(program.variables)),
        **plan.start.files,
    }
    return {f"/blockyard/{name}": text.encode(errors="replace") for name, text in texts.items()}


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
