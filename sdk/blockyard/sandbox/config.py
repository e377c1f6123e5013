"""What an operator has set for sandboxes, from the environment of the process, and whether there can be any here."""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from blockyard.sandbox.bubblewrap import AT_ONCE, BubblewrapSandbox
from blockyard.sandbox.errors import SandboxError, SandboxUnavailable
from blockyard.sandbox.program import Limits, Program, Sandbox

WAY_VARIABLE = "BLOCKYARD_SANDBOX"
AT_ONCE_VARIABLE = "BLOCKYARD_SANDBOXES"
# A runner tells what it can run only then; an image that takes longer to be pulled is there later.
TRIAL_SECONDS = 30
BUBBLEWRAP, KUBERNETES = "bubblewrap", "kubernetes"


def at_once_from_environment(environment: Mapping[str, str] = os.environ) -> int:
    """How many programs a runner runs at a time. Raises SandboxUnavailable if that is no number."""
    text = environment.get(AT_ONCE_VARIABLE, "").strip()
    if not text:
        return AT_ONCE
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SandboxUnavailable(f"{AT_ONCE_VARIABLE}: expected a whole number from 1 on, got {text!r}")
    return int(text)


def way_from_environment(environment: Mapping[str, str] = os.environ) -> str:
    """How sandboxes are made. Raises SandboxUnavailable if there is no such way."""
    way = environment.get(WAY_VARIABLE, "").strip() or BUBBLEWRAP
    if way not in (BUBBLEWRAP, KUBERNETES):
        raise SandboxUnavailable(f"{WAY_VARIABLE}: expected {BUBBLEWRAP} or {KUBERNETES}, got {way!r}")
    return way


@asynccontextmanager
async def open_sandbox() -> AsyncIterator[Sandbox]:
    """The sandbox of this machine, or of its cluster, as a resource that all blocks of a runner share."""
    async with _opened(for_trial=False) as sandbox:
        yield sandbox


@asynccontextmanager
async def _opened(*, for_trial: bool) -> AsyncIterator[Sandbox]:
    at_once = at_once_from_environment()
    if way_from_environment() == BUBBLEWRAP:
        yield BubblewrapSandbox(at_once=at_once)
        return
    # What it needs is not wanted elsewhere.
    from blockyard.sandbox.cluster import sandbox, settings

    found = settings.from_environment()
    if for_trial:
        found = found.model_copy(update={"warm": 0, "start_seconds": min(TRIAL_SECONDS, found.start_seconds)})
    async with sandbox.opened(found, at_once) as opened:
        yield opened


def unavailable_reason() -> str:
    """Why no code can run on this machine, and what to do; empty if it can. It tries, in an event loop of its own."""
    try:
        asyncio.run(_try())
    except SandboxUnavailable as refusal:
        return str(refusal)
    except SandboxError:
        # Such as a language that is not installed: others may be. Or a cluster that is busy: it may have room later.
        return ""
    return ""


async def _try() -> None:
    async with _opened(for_trial=True) as sandbox:
        await sandbox.run(Program("pass"), Limits(seconds=10))
