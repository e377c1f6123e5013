"""Runs code of unknown intent: no network, a private folder, limits, and nothing of it left afterwards.

`Sandbox` is what a block asks for; `BubblewrapSandbox` is the one for a single Linux machine, and `cluster` has the one
for Kubernetes. There is none without protection: where it cannot be had, `run` raises `SandboxUnavailable`, which says
what to do.
"""

from blockyard.sandbox.bubblewrap import BubblewrapSandbox
from blockyard.sandbox.config import open_sandbox, unavailable_reason
from blockyard.sandbox.errors import LanguageUnavailable, ProgramInvalid, SandboxError, SandboxLost, SandboxUnavailable
from blockyard.sandbox.program import End, Language, Limits, Outcome, Program, Sandbox, SandboxFile

__all__ = [
    "BubblewrapSandbox",
    "End",
    "Language",
    "LanguageUnavailable",
    "Limits",
    "Outcome",
    "Program",
    "ProgramInvalid",
    "Sandbox",
    "SandboxError",
    "SandboxFile",
    "SandboxLost",
    "SandboxUnavailable",
    "open_sandbox",
    "unavailable_reason",
]
