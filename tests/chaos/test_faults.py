"""The plan of faults: from the seed alone, with every kind in it."""

from random import Random

import pytest

from tests.chaos.faults import FREEZES, FaultKind, Targets, plan_faults

LEASE = 4.0
TARGETS = Targets(runners=2, replicas=2, notifications=2)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_strikes_and_jetstream_is_deleted_once(seed: int) -> None:
    plan = plan_faults(Random(seed), 40, TARGETS, lease_seconds=LEASE)
    kinds = [fault.kind for fault in plan]
    assert len(kinds) == 40
    assert set(kinds[: len(FaultKind)]) == set(FaultKind)
    assert kinds.count(FaultKind.WIPE_JETSTREAM) == 1


def test_a_freeze_lasts_longer_than_the_lease() -> None:
    plan = plan_faults(Random(1), 40, TARGETS, lease_seconds=LEASE)
    assert all(fault.seconds > LEASE for fault in plan if fault.kind in FREEZES)


def test_a_seed_gives_the_same_plan_again() -> None:
    first, second = (plan_faults(Random(7), 20, TARGETS, lease_seconds=LEASE) for _ in range(2))
    assert first == second


def test_fewer_faults_than_kinds_can_be_asked_for() -> None:
    assert len(plan_faults(Random(7), 3, TARGETS, lease_seconds=LEASE)) == 3
