"""A program and its limits on their way into a container, and what came of it on the way back, as JSON objects."""

import base64
import json
from dataclasses import asdict, fields
from typing import Any

from blockyard.sandbox import collecting
from blockyard.sandbox.errors import LanguageUnavailable, ProgramInvalid, SandboxError, SandboxUnavailable
from blockyard.sandbox.program import End, Language, Limits, Outcome, Program, SandboxFile

_ERRORS: dict[str, type[SandboxError]] = {
    one.__name__: one for one in (LanguageUnavailable, ProgramInvalid, SandboxUnavailable)
}
# Of a program as JSON: it is in memory a few times over, and its variables stand in a folder of 64 MB.
MOST_BYTES = 32 << 20
_TEXTS = ("step", "stdout", "stderr", "setup_output", "start_error")


def task_message(program: Program, limits: Limits) -> dict[str, Any]:
    """What is to be run. Raises ProgramInvalid."""
    described = {
        "code": program.code,
        "language": program.language.value,
        "setup_commands": list(program.setup_commands),
        "variables": dict(program.variables),
    }
    size = len(json.dumps(described))
    if size > MOST_BYTES:
        raise ProgramInvalid(f"the code and its variables have {size} bytes; the limit is {MOST_BYTES}")
    return {"program": described, "limits": asdict(limits)}


def task_of(message: dict[str, Any]) -> tuple[Program, Limits]:
    """The other way round, of what `task_message` made."""
    program = message["program"]
    return (
        Program(program["code"], Language(program["language"]), tuple(program["setup_commands"]), program["variables"]),
        Limits(**message["limits"]),
    )


def outcome_message(outcome: Outcome) -> dict[str, Any]:
    """What came of it."""
    described = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    described["end"] = outcome.end.value
    described["result"] = dict(outcome.result)
    described["files"] = [[file.path, base64.b64encode(file.content).decode()] for file in outcome.files]
    return {"outcome": described}


def error_message(error: SandboxError) -> dict[str, Any]:
    """Why it could not be run."""
    return {"error": type(error).__name__, "message": str(error)}


def outcome_of(message: dict[str, Any], limits: Limits, sandbox_id: str) -> Outcome:
    """The other way round, of what may be anything. Raises the SandboxError that it tells of, or ValueError."""
    if "error" in message:
        raise _ERRORS.get(str(message["error"]), SandboxError)(str(message.get("message", ""))[:2000])
    try:
        return _outcome(message["outcome"], limits, sandbox_id)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no outcome: {error}") from error


def _outcome(found: dict[str, Any], limits: Limits, sandbox_id: str) -> Outcome:
    texts = {name: str(found[name])[: limits.output] for name in _TEXTS}
    code = found["exit_code"]
    files = tuple(SandboxFile(str(path), base64.b64decode(content)) for path, content in found["files"])
    if len(files) > limits.collected_files or sum(len(file.content) for file in files) > limits.file_size:
        raise ValueError("more files than are collected")
    return Outcome(
        sandbox_id=sandbox_id,
        end=End(found["end"]),
        exit_code=code if isinstance(code, int) else None,
        result=collecting.known_forms(found["result"]),
        files=files,
        **texts,
    )
