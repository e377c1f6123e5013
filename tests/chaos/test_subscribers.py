"""Judging what subscribers have seen: nothing may be missing, nothing may come before what it follows."""

from pathlib import Path

import pytest

from tests.chaos.judging import Wrong, judge_starts, judge_subscribers
from tests.chaos.subscribers import read_journal


@pytest.mark.parametrize(
    ("journal", "complaints"),
    [
        ("S\nE a 1\nE a 2\nC x\nE a 3\n", 0),
        ("S\nE a 1\nE a 2\nS\nE a 2\nE a 3\n", 0),
        ("S\nE a 1\nE a 2\nE a 1\nE a 2\nE a 3\n", 0),
        ("S\nE a 1\nE a 3\nE a 2\n", 1),
        ("S\nE a 1\nE a 2\n", 1),
        ("S\nE a 1\nE a 2\nE a 3\nS\nE b 1\n", 1),
        ("S\nE a 1\nE a 2\nE a 3\nE a 4\n", 1),
        ("S\n", 1),
        ("S\nE a 1\nE a 2\nE a 3\nE a", 0),
    ],
)
def test_each_thing_that_is_wrong_is_told(tmp_path: Path, journal: str, complaints: int) -> None:
    path = tmp_path / "journal"
    path.write_text(journal)
    seen = read_journal(path)
    assert len(judge_subscribers({"grpc": seen}, {"a": 3})) == complaints


def test_webhooks_may_come_in_another_order_and_not_fewer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_text("S\nE a 2\nE a 1\nE a 3\n")
    seen = read_journal(path)
    assert not judge_subscribers({"webhook": seen}, {"a": 3})
    assert len(judge_subscribers({"webhook": seen}, {"a": 4})) == 1


def test_a_subscriber_that_ended_without_being_killed_is_found() -> None:
    assert judge_starts({"grpc": 1, "sse": 3}, {"sse": 2}) == []
    findings = judge_starts({"grpc": 2, "sse": 3}, {"sse": 2})
    assert [finding.wrong for finding in findings] == [Wrong.CRASHED]
