"""Data keys that stay in memory: for a time, so many of them, and a fresh one without asking."""

import pytest

from services.credentials.keyring import DataKeys
from services.credentials.records import Sealed


class Clock:
    """Time as a test has it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def _sealed(number: int) -> Sealed:
    return Sealed("k1", b"wrapped %d" % number, b"", b"")


def test_one_is_fresh_for_half_its_time_and_kept_for_the_whole() -> None:
    clock = Clock()
    kept = DataKeys(10, 300, clock)
    kept.keep(_sealed(1), b"key")

    seen = []
    for seconds in (150, 1, 149, 1):
        clock.now += seconds
        seen.append((kept.fresh(_sealed(1)), kept.kept(_sealed(1))))

    assert seen == [(b"key", b"key"), (None, b"key"), (None, b"key"), (None, None)]


def test_the_one_that_was_unwrapped_longest_ago_makes_room() -> None:
    kept = DataKeys(2, 300, Clock())
    for number in (1, 2, 1, 3):
        kept.keep(_sealed(number), b"key")

    assert [kept.kept(_sealed(number)) for number in (1, 2, 3)] == [b"key", None, b"key"]


def test_old_ones_are_forgotten_and_not_only_unused() -> None:
    clock = Clock()
    kept = DataKeys(10, 300, clock)
    kept.keep(_sealed(1), b"old")
    clock.now += 301
    kept.keep(_sealed(2), b"new")

    assert list(kept._kept) == [("k1", b"wrapped 2")]


def test_another_key_that_wraps_the_same_is_another_entry() -> None:
    kept = DataKeys(10, 300, Clock())
    kept.keep(_sealed(1), b"key")

    assert kept.kept(Sealed("k2", b"wrapped 1", b"", b"")) is None


@pytest.mark.parametrize(("size", "seconds"), [(0, 300), (10, 0)])
def test_nothing_is_kept_where_that_is_set(size: int, seconds: float) -> None:
    clock = Clock()
    kept = DataKeys(size, seconds, clock)

    kept.keep(_sealed(1), b"key")
    clock.now += 0.001

    assert kept.fresh(_sealed(1)) is None
    assert kept.kept(_sealed(1)) is None


def test_data_keys_are_not_printed() -> None:
    kept = DataKeys(10, 300, Clock())
    kept.keep(_sealed(1), b"a data key")

    assert "a data key" not in repr(kept)
