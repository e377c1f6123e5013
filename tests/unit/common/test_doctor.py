"""How checks are made: each within its time, all of them whatever one finds, and no secret is told."""

import asyncio
from collections.abc import AsyncIterator

from services.common.doctor.findings import Check, Finding, Told, Verdict, examine, ok, wrong
from services.common.doctor.program import masked


async def well() -> AsyncIterator[Told]:
    yield ok("it is there")


async def ill() -> AsyncIterator[Told]:
    yield wrong("it is not there", "look")


async def hanging() -> AsyncIterator[Told]:
    yield ok("so far")
    await asyncio.Event().wait()


async def failing() -> AsyncIterator[Told]:
    raise RuntimeError("never thought of")
    yield ok("")


async def found(*checks: Check) -> list[Finding]:
    return [finding async for finding in examine(checks)]


async def test_what_needs_something_wrong_is_not_checked_and_the_rest_is() -> None:
    findings = await found(Check("a", ill), Check("b", well, ["a"]), Check("c", well, ["b"]), Check("d", well))
    assert [(one.check, one.verdict, one.said) for one in findings[1:]] == [
        ("b", Verdict.NOT_CHECKED, "since a is wrong"),
        ("c", Verdict.NOT_CHECKED, "since a is wrong"),
        ("d", Verdict.OK, "it is there"),
    ]


async def test_a_check_that_hangs_is_given_up_and_what_it_asked_is_not_asked_again() -> None:
    findings = await found(
        Check("server", well), Check("slow", hanging, ["server"], seconds=0.01), Check("next", well, ["server"])
    )
    assert [one.verdict for one in findings] == [Verdict.OK, Verdict.OK, Verdict.WRONG, Verdict.NOT_CHECKED]
    assert findings[2].said == "no answer within 0.01 seconds"
    assert findings[3].said == "since slow got no answer"


async def test_a_check_that_fails_says_so_and_takes_no_other_with_it() -> None:
    first, second = await found(Check("a", failing), Check("b", well))
    assert (first.verdict, first.said) == (Verdict.WRONG, "the check itself failed: RuntimeError: never thought of")
    assert second.verdict is Verdict.OK


def test_secrets_are_not_told() -> None:
    assert masked("refused: password is hunter2-hunter2", ["hunter2-hunter2"]) == "refused: password is ***"
