"""What an operator has set for sandboxes, from the environment of the process."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from blockyard.sandbox.bubblewrap import AT_ONCE, BubblewrapSandbox
from blockyard.sandbox.errors import SandboxUnavailable
from blockyard.sandbox.program import Sandbox

AT_ONCE_VARIABLE = "BLOCKYARD_SANDBOXES"


def at_once_from_environment(environment: Mapping[str, str] = os.environ) -> int:
    """How many programs a runner runs at a time. Raises SandboxUnavailable if that is no number."""
    text = environment.get(AT_ONCE_VARIABLE, "").strip()
    if not text:
        return AT_ONCE
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SandboxUnavailable(f"{AT_ONCE_VARIABLE}: expected a whole number from 1 on, got {text!r}")
    return int(text)


@asynccontextmanager
async def open_sandbox() -> AsyncIterator[Sandbox]:
    """The sandbox of this machine, as a resource that all blocks of a runner share."""
    yield BubblewrapSandbox(at_once=at_once_from_environment())
