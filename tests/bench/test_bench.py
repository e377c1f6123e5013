"""What the bench makes of its samples: medians, percentiles, ends of executions, and the table and JSON of a run."""

import asyncio
from pathlib import Path

import pytest

from services.common.bus import Delivery
from tests.bench.audience import Hearing
from tests.bench.completions import Completions, NotCompleted
from tests.bench.figures import Spread, percentile
from tests.bench.report import Bound, Report, Row, Section
from tests.bench.run import Settings, run_bench


def event(execution_id: str, kinds: str) -> Delivery:
    return Delivery(
        f"blockyard.event.u.g.{execution_id}", "", b"", f"NATS/1.0\r\nBlockyard-Kinds: {kinds}\r\n".encode()
    )


def test_a_percentile_is_a_sample_that_so_many_do_not_exceed() -> None:
    samples = [float(number) for number in range(1, 301)]

    assert [percentile(samples, percent) for percent in (50, 99, 100)] == [150.0, 297.0, 300.0]


def test_ends_that_come_before_they_are_asked_for_count() -> None:
    async def scenario() -> tuple[float, float]:
        completions = Completions()
        completions.hear(event("a", "EXECUTION_STARTED,NODE_QUEUED"))
        completions.hear(event("a", "EXECUTION_COMPLETED,NODE_COMPLETED"))
        asyncio.get_running_loop().call_soon(completions.hear, event("b", "EXECUTION_COMPLETED"))
        times = await completions.first_and_last_of(["a", "b"], 5.0)
        assert completions.started == 1
        return times

    first, last = asyncio.run(scenario())

    assert first < last


def test_an_execution_that_failed_is_no_figure() -> None:
    completions = Completions()
    completions.hear(event("a", "EXECUTION_FAILED"))

    with pytest.raises(NotCompleted, match="EXECUTION_FAILED, a for one"):
        asyncio.run(completions.first_and_last_of(["a"], 5.0))


def test_executions_that_do_not_end_are_given_up() -> None:
    with pytest.raises(NotCompleted, match="1 of 1 executions have not ended"):
        asyncio.run(Completions().first_and_last_of(["a"], 0.01))


async def test_an_audience_has_heard_executions_once_each_listener_heard_each_event() -> None:
    hearing = Hearing()
    for listener, execution_id, sequence in [
        *((1, "a", 1), (2, "a", 1), (1, "a", 2), (1, "b", 1), (1, "other", 1), (2, "b", 1)),
        *((1, "b", 1), (1, "a", 2), (2, "a", 1)),  # again
    ]:
        hearing.add(listener, execution_id, sequence)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await hearing.until_heard({"a": 2, "b": 1}, 2)
    asyncio.get_running_loop().call_soon(hearing.add, 2, "a", 2)
    assert await hearing.until_heard({"a": 2, "b": 1}, 2) == hearing.heard[-1][2]
    assert len(hearing.heard) == 7


def test_a_report_says_what_was_missed_and_merges_its_sections() -> None:
    slow = Row("latency", "ms", Spread.of([9.0, 10.0, 14.0]), Spread.of([1.0]), 0.1, Bound(8, 3, at_most=True))
    fast = Row("chains", "nodes/s", Spread.of([9_000.0]), required=Bound(3_000, 8_000))
    report = Report({"processors": 2}, [Section({"chain": {"ratio": 0.5}}, [fast], ["A note."]), Section({}, [slow])])
    said: list[str] = []

    report.say(said.append)

    text = "\n".join(said)
    assert "9,000 nodes/s" in text
    assert ">= 3,000, aim 8,000 met" in text
    assert "9 to 14" in text
    assert "<= 8, aim 3 MISSED" in text
    assert "A note." in text
    assert report.to_json() == {"machine": {"processors": 2}, "chain": {"ratio": 0.5}}


async def test_calls_of_a_block_are_measured_without_a_stack(tmp_path: Path) -> None:
    said: list[str] = []

    report = await run_bench(Settings(only=("blocks",), quick=True), tmp_path / "home", said.append)

    figures = report.to_json()["block_calls_per_second"]
    assert 0 < figures["low"] <= figures["median"] <= figures["high"]
    assert 0 < figures["ratio"] < 1
    assert not (tmp_path / "home").exists()
    report.say(said.append)
    assert any("calls of a block" in line and ">= 100,000" in line for line in said)
