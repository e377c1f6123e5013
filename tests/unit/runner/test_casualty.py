"""What the supervisor sees of a runner, and what a runner learns of the one before it."""

import mmap
import signal

import pytest

from services.runner.casualty import (
    ENTRIES,
    NO_ENTRY,
    SIZE,
    Casualty,
    Death,
    HeldRuns,
    Mark,
    Part,
    Sight,
    State,
    ends_in_order,
    take_over,
)

EXECUTION = bytes(range(16))


class Shared:
    """The memory, with a runner at work."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, SIZE)
        self.sight = Sight(self.memory)
        self.mark = Mark(self.memory, 6.0)
        take_over(self.memory)
        self.held = HeldRuns(self.memory)

    def hold(self, number: int, once: bool = False) -> int:
        return self.held.add(once, EXECUTION, number, 2, 3, 2**64 - number)

    def parts_after(self, code: int, hung: bool = False) -> dict[int, Part]:
        """What each run, by number, had to do with this end of the process."""
        self.sight.bury(code, hung)
        learned = take_over(self.memory)
        assert learned is not None
        assert learned[0] == Death(code, hung)
        return {run.node_execution: run.part for run in learned[1]}


def test_a_step_is_overdue_until_it_ends() -> None:
    shared = Shared()
    shared.mark.set(100.0, shared.hold(7), 0)
    seen = [bool(shared.sight.overdue(now)) for now in (100.0, 106.0, 106.1)]

    shared.mark.clear()

    assert seen == [False, False, True]
    assert not shared.sight.overdue(1000.0)


def test_an_event_loop_that_does_not_turn_is_overdue() -> None:
    shared = Shared()
    shared.mark.turned(100.0)
    overdue = shared.sight.overdue(107.0)

    shared.mark.stopped()

    assert overdue == 106.0
    assert not shared.sight.overdue(1000.0)


def test_the_run_that_a_runner_was_killed_for_is_told_once() -> None:
    shared = Shared()
    shared.mark.set(100.0, shared.hold(7), 1234)

    shared.sight.bury(-9, hung=True)

    assert not shared.sight.overdue(1000.0)
    told = Casualty(Part.CAUSE, False, EXECUTION, 7, 2, 3, 2**64 - 7, started_ms=1234)
    assert take_over(shared.memory) == (Death(-9, hung=True), [told])
    assert take_over(shared.memory) is None


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (7, Part.CAUSE),
        (0, Part.CAUSE),
        (-signal.SIGSEGV, Part.CAUSE),
        # Memory that ran out, or a person: whatever went on had no part in it, or not it alone.
        (-signal.SIGKILL, Part.BEGUN),
        (-signal.SIGTERM, Part.BEGUN),
    ],
)
def test_a_step_is_to_blame_for_an_end_that_code_brings_about(code: int, part: Part) -> None:
    shared = Shared()
    begun = shared.hold(1)
    shared.held.begins(begun, State.RUNS, 1)
    shared.hold(2)
    shared.mark.set(100.0, shared.hold(3), 1)

    assert shared.parts_after(code) == {1: Part.BEGUN, 2: Part.WAITING, 3: part}


def test_nobody_is_blamed_while_threads_may_have_done_it() -> None:
    for hung in (False, True):
        shared = Shared()
        shared.mark.set(100.0, shared.hold(7), 1)
        shared.mark.in_threads(1)

        assert shared.parts_after(7, hung) == {7: Part.BEGUN}


@pytest.mark.parametrize(("threads", "part"), [(1, Part.CAUSE), (2, Part.BEGUN)])
def test_the_only_run_in_a_thread_is_to_blame(threads: int, part: Part) -> None:
    shared = Shared()
    shared.held.begins(shared.hold(1), State.IN_THREAD, 1)
    # The second one was given up and still goes on.
    shared.mark.in_threads(threads)

    assert shared.parts_after(7) == {1: part}


def test_runs_that_have_ended_are_no_casualties() -> None:
    shared = Shared()
    entry = shared.hold(1)
    shared.held.begins(entry, State.RUNS, 1)
    shared.held.remove(entry)

    assert shared.parts_after(7) == {}


def test_a_process_that_never_worked_leaves_the_casualties_to_the_next_one() -> None:
    shared = Shared()
    shared.hold(1)
    shared.sight.bury(7, hung=False)

    shared.sight.bury(1, hung=False)
    learned = take_over(shared.memory)

    assert learned is not None
    assert learned[0] == Death(7)
    assert [run.part for run in learned[1]] == [Part.WAITING]


def test_more_runs_than_there_are_entries_are_held_without_one() -> None:
    shared = Shared()
    entries = [shared.hold(number) for number in range(1, ENTRIES + 2)]

    shared.held.remove(entries[5])
    again = shared.hold(6)

    assert entries[-1] == NO_ENTRY
    assert again == entries[5]
    assert len(shared.parts_after(7)) == ENTRIES


def test_an_end_in_order_is_told_from_others() -> None:
    shared = Shared()
    before = shared.sight.in_order

    ends_in_order(shared.memory)

    assert (before, shared.sight.in_order) == (False, True)


def test_a_runner_has_worked_when_it_held_something() -> None:
    shared = Shared()
    idle = shared.sight.worked

    shared.hold(1)

    assert (idle, shared.sight.worked) == (False, True)


def test_a_death_is_told_in_words() -> None:
    deaths = [Death(7), Death(-signal.SIGSEGV), Death(-200)]

    assert [str(death) for death in deaths] == [
        "ended with exit code 7",
        "was killed by signal 11 (SIGSEGV)",
        "was killed by signal 200",
    ]
