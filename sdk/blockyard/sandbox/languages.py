"""How a program of each language is started, and where its interpreter is on this machine."""

import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from blockyard.sandbox.errors import LanguageUnavailable, SandboxUnavailable
from blockyard.sandbox.program import Language, Limits

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
# Folders that a sandbox shows anyway.
_SYSTEM_FOLDERS = ("/usr/", "/bin/", "/nix/store/")
_INSIDE = Path(__file__).parent / "inside"
_MAIN_METHOD = re.compile(r"\bvoid\s+main\s*\(")
_IMPORT = re.compile(r"^\s*import\s[^;]+;[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A program, and the files and folders that it needs beside the system's, seen where they are."""

    path: str
    mounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Start:
    """What is run for a program's code."""

    command: tuple[str, ...]
    # Text by the name of its file in /blockyard.
    files: dict[str, str]
    mounts: tuple[str, ...] = ()


@cache
def script(name: str) -> str:
    """Text of a script that runs inside."""
    return (_INSIDE / name).read_text(encoding="utf-8")


def start_of(language: Language, code: str, limits: Limits, reachable: Callable[[str], bool]) -> Start:
    """How code of the language is run.

    `reachable` tells whether the user that the sandbox runs as can open a path. Raises LanguageUnavailable.
    """
    if language is Language.PYTHON:
        python = find_python(reachable)
        command = (python.path, "-I", "-B", "-u", "/blockyard/cell.py")
        return Start(command, {"cell.py": script("cell.py"), "code.py": code}, python.mounts)
    if language is Language.JAVASCRIPT:
        node = _find("node", "Node.js", reachable)
        return Start((node.path, "/blockyard/cell.js"), {"cell.js": script("cell.js"), "code.mjs": code}, node.mounts)
    if language is Language.BASH:
        return Start((find_bash(reachable), "/blockyard/code.sh"), {"code.sh": code})
    if language is Language.R:
        rscript = _find("Rscript", "R", reachable)
        return Start((rscript.path, "--vanilla", "/blockyard/code.R"), {"code.R": code}, rscript.mounts)
    java = _find("java", "a Java development kit", reachable)
    options = (
        f"-Xmx{limits.memory // 2}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:ActiveProcessorCount=2",
        "-XX:-UsePerfData",
    )
    return Start((java.path, *options, "/blockyard/Main.java"), {"Main.java": _java_source(code)}, java.mounts)


def find_python(reachable: Callable[[str], bool]) -> Interpreter:
    """The Python that this process runs on, without its packages; the system's if the sandbox cannot reach that."""
    # Not the one of a virtual environment, which is a link to this.
    own = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    library = f"{sys.base_prefix}/lib"
    if own.startswith(_SYSTEM_FOLDERS) and reachable(own):
        return Interpreter(own)
    if reachable(own) and reachable(library) and os.path.dirname(os.__file__).startswith(library + "/"):
        return Interpreter(own, (own, library))
    found = shutil.which("python3", path=SYSTEM_PATH)
    if found is None:
        raise SandboxUnavailable(
            f"code cannot run here: the user of the sandbox cannot open this Python ({own}), and the system has "
            "none. Start the runner as an ordinary user, or install the package python3."
        )
    return Interpreter(found)


def find_bash(reachable: Callable[[str], bool]) -> str:
    """Path of bash."""
    return _find("bash", "bash", reachable).path


def _find(name: str, title: str, reachable: Callable[[str], bool]) -> Interpreter:
    found = shutil.which(name, path=SYSTEM_PATH) or shutil.which(name)
    if found is None:
        raise LanguageUnavailable(f"{title} is not installed where code runs: there is no program called {name}")
    real = os.path.realpath(found)
    if not reachable(real):
        raise LanguageUnavailable(f"{title}: the user of the sandbox cannot open {real}; install it in /usr")
    if real.startswith(_SYSTEM_FOLDERS):
        return Interpreter(found if found.startswith(_SYSTEM_FOLDERS) else real)
    # Of what is elsewhere (a version manager in a home folder) no more is shown than this.
    kit = os.path.dirname(os.path.dirname(real))
    return Interpreter(real, (kit,) if os.path.isfile(f"{kit}/lib/modules") else (real,))


def _java_source(code: str) -> str:
    """Statements without a class around them are put into one."""
    if _MAIN_METHOD.search(code):
        return code
    imports = "\n".join(line.strip() for line in _IMPORT.findall(code))
    body = _IMPORT.sub("", code)
    return (
        f"{imports}\npublic class Main {{\npublic static void main(String[] args) throws Exception {{\n{body}\n}}\n}}\n"
    )
