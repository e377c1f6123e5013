"""What a check finds, and the order in which checks are made: each within its time, all of them whatever one finds."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import Enum

CHECK_SECONDS = 10.0
"""Longest time that a check waits for others, unless it says otherwise."""


class Verdict(Enum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and somebody should look at it all the same."""
    WRONG = "wrong"
    NOT_CHECKED = "not checked"
    """Something that it needs is wrong."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says."""

    check: str
    verdict: Verdict
    said: str
    """What there is, and where."""
    advice: str = ""
    """What to do about it."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a look at something says; its check gives it a name."""

    verdict: Verdict
    said: str
    advice: str = ""


def ok(said: str) -> Told:
    """It is as it should be."""
    return Told(Verdict.OK, said)


def warning(said: str, advice: str) -> Told:
    """It works, but."""
    return Told(Verdict.WARNING, said, advice)


def wrong(said: str, advice: str) -> Told:
    """It does not work, or loses something."""
    return Told(Verdict.WRONG, said, advice)


Look = Callable[[], AsyncIterator[Told]]


@dataclass(frozen=True, slots=True)
class Check:
    """Something to look at."""

    name: str
    look: Look
    needs: Sequence[str] = ()
    """Checks that must have found nothing wrong, or this one says nothing."""
    seconds: float = CHECK_SECONDS


async def examine(checks: Sequence[Check]) -> AsyncIterator[Finding]:
    """The findings of checks, one after the other. A check stands after those that it needs."""
    failed: dict[str, str] = {}
    for check in checks:
        lacking = next((name for name in check.needs if name in failed), None)
        if lacking is not None:
            failed[check.name] = failed[lacking]
            yield Finding(check.name, Verdict.NOT_CHECKED, f"since {failed[lacking]}")
            continue
        told: list[Told] = []
        if await _hangs(check, told):
            # What it was asked of answers nobody: whoever asks it next would wait in vain too.
            failed |= dict.fromkeys(check.needs, f"{check.name} got no answer")
        if any(one.verdict is Verdict.WRONG for one in told):
            failed.setdefault(check.name, f"{check.name} is wrong")
        for one in told:
            yield Finding(check.name, one.verdict, one.said, one.advice)


async def _hangs(check: Check, told: list[Told]) -> bool:
    """Adds what the check tells; True if it did not end in its time."""
    try:
        async with asyncio.timeout(check.seconds) as limit:
            async for one in check.look():
                told.append(one)
    except TimeoutError as error:
        if not limit.expired():
            told.append(_failed(error))
            return False
        told.append(
            wrong(
                f"no answer within {check.seconds:g} seconds",
                "What was asked hangs, or is too busy to answer: look at its log and its load.",
            )
        )
        return True
    except Exception as error:  # noqa: BLE001  # the edge of what a check may do: the others are made all the same
        told.append(_failed(error))
    return False


def _failed(error: Exception) -> Told:
    return wrong(
        f"the check itself failed: {type(error).__name__}: {error}", "This is nothing that was foreseen: report it."
    )
