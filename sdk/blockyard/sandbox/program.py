"""What is run in a sandbox, within which limits, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

MEBIBYTE = 1024 * 1024


class Language(Enum):
    """What a program may be written in."""

    PYTHON = "python"
    JAVASCRIPT = "js"
    BASH = "bash"
    R = "r"
    JAVA = "java"


@dataclass(frozen=True, slots=True)
class Program:
    """Shell commands that come first, and the code.

    `variables` are global variables of Python and JavaScript code, and environment variables in other languages.
    """

    code: str
    language: Language = Language.PYTHON
    setup_commands: tuple[str, ...] = ()
    variables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use, its setup commands included. Sizes are in bytes."""

    # Wall time from its first command to its last.
    seconds: float = 300.0
    # Of one process, all its threads together.
    cpu_seconds: int = 300
    # Of one process, and of all together.
    memory: int = 512 * MEBIBYTE
    # Processes and threads at a time.
    processes: int = 64
    # A single file.
    file_size: int = 10 * MEBIBYTE
    # The working folder with everything in it; it is held in memory.
    folder_size: int = 64 * MEBIBYTE
    # Files, folders and links in it.
    folder_entries: int = 10_000
    open_files: int = 256
    # Of stdout and of stderr, each.
    output: int = MEBIBYTE
    # Files that are handed back.
    collected_files: int = 100


class End(Enum):
    """Why a program is no longer running."""

    EXITED = "exited"
    OUT_OF_TIME = "out of time"
    OUT_OF_MEMORY = "out of memory"
    TOO_MANY_PROCESSES = "too many processes"
    TOO_MUCH_OUTPUT = "too much output"
    TOO_MANY_FILES = "too many files"


@dataclass(frozen=True, slots=True)
class SandboxFile:
    """A file that the program left in its working folder."""

    # Relative to the working folder.
    path: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended, and what it left."""

    sandbox_id: str
    end: End
    # Which step was the last to run: "setup_commands[0]", ..., "code"; empty if none did.
    step: str = ""
    # Its exit code; minus the signal's number if a signal ended it; None if it was stopped at a limit.
    exit_code: int | None = None
    # Of the code alone.
    stdout: str = ""
    stderr: str = ""
    # What the setup commands wrote on either.
    setup_output: str = ""
    # Why a step could not even start.
    start_error: str = ""
    # The value of the code's last expression in each form that it has: text, html, png (base64), json, ...
    result: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[SandboxFile, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Whether all steps ran and ended well."""
        return self.end is End.EXITED and self.step == "code" and self.exit_code == 0


class Sandbox(Protocol):
    """Runs a program where it can harm nobody."""

    async def run(self, program: Program, limits: Limits) -> Outcome:
        """Raises a SandboxError if it was not run. Cancelled, it leaves no process behind."""
        ...
