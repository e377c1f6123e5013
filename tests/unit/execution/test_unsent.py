"""What an owner says of tasks that it has not sent, and who believes it."""

from services.common.ids import new_id
from services.execution.engine import Machine, State, Topology
from services.execution.live import Live
from services.execution.records import PartitionLease
from services.execution.unsent import Unsent
from tests.unit.engine.simulation import PlanBuilder

PARTITION = 3


def lease(epoch: int, unsent: bytes | None = None) -> PartitionLease:
    return PartitionLease(PARTITION, epoch, 0, 0, unsent)


def live(partition: int = PARTITION) -> Live:
    execution_id = new_id()
    machine = Machine(Topology(PlanBuilder().plan()), State(1))
    return Live(execution_id.bytes, execution_id, partition, "anna", "graph", 1, 0, "", machine)


def test_the_next_owner_knows_what_was_not_sent_and_asks_once() -> None:
    execution, other = live(), live()
    unsent = Unsent()
    unsent.take(lease(8, Unsent().give_up(lease(7), [(execution.key, 1, 1), (execution.key, 4, 2)])))
    assert unsent.of(other) == {}
    assert unsent.of(execution) == {1: 1, 4: 2}
    assert unsent.of(execution) == {}


def test_what_was_never_loaded_is_handed_on() -> None:
    loaded, left, new = live(), live(), live()
    unsent = Unsent()
    unsent.take(lease(8, Unsent().give_up(lease(7), [(loaded.key, 1, 1), (left.key, 2, 1)])))
    unsent.of(loaded)
    later = Unsent()
    later.take(lease(9, unsent.give_up(lease(8), [(new.key, 3, 1)])))
    assert (later.of(loaded), later.of(left), later.of(new)) == ({}, {2: 1}, {3: 1})
    assert unsent.of(left) == {}


def test_nothing_is_said_where_nothing_waits() -> None:
    assert Unsent().give_up(lease(7), []) is None


def test_an_owner_between_that_said_nothing_may_have_sent_it() -> None:
    execution = live()
    unsent = Unsent()
    unsent.take(lease(9, Unsent().give_up(lease(7), [(execution.key, 1, 1)])))
    assert unsent.of(execution) == {}


def test_what_cannot_be_read_counts_as_nothing_said() -> None:
    unsent = Unsent()
    for row in (b"", b"\xc1", b"\x93\x01"):
        unsent.take(lease(8, row))
    assert unsent.of(live()) == {}
