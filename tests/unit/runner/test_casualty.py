"""What the supervisor sees of a runner, and what it leaves to the next one."""

import mmap

from services.runner.casualty import SIZE, Casualty, Mark, Sight

EXECUTION = bytes(range(16))


def shared() -> tuple[Mark, Sight]:
    memory = mmap.mmap(-1, SIZE)
    return Mark(memory, 6.0), Sight(memory)


def test_a_step_is_overdue_until_it_ends() -> None:
    mark, sight = shared()
    mark.set(100.0, EXECUTION, 7, 2, 3, 2**64 - 1, 5)
    seen = [bool(sight.overdue(now)) for now in (100.0, 106.0, 106.1)]

    mark.clear()

    assert seen == [False, False, True]
    assert not sight.overdue(1000.0)


def test_an_event_loop_that_does_not_turn_is_overdue() -> None:
    mark, sight = shared()
    mark.turned(100.0)
    overdue = sight.overdue(107.0)

    mark.stopped()

    assert overdue == 106.0
    assert not sight.overdue(1000.0)


def test_the_run_that_a_runner_was_killed_for_is_told_once() -> None:
    mark, sight = shared()
    mark.set(100.0, EXECUTION, 7, 2, 3, 2**64 - 1, 5)

    sight.bury()

    assert not sight.overdue(1000.0)
    assert mark.take_casualty() == Casualty(EXECUTION, 7, 2, 3, 2**64 - 1, 5)
    assert mark.take_casualty() is None


def test_nobody_is_blamed_while_threads_may_have_done_it() -> None:
    mark, sight = shared()
    mark.set(100.0, EXECUTION, 7, 2, 3, 1, 0)
    mark.in_threads(1)

    sight.bury()

    assert mark.take_casualty() is None
