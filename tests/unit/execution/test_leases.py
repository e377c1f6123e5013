"""How partitions are shared among replicas."""

import pytest

from services.execution.leases import fair_share


@pytest.mark.parametrize("partitions", [1, 64, 512])
def test_each_partition_is_somebodys_and_nobody_is_without_while_there_are_enough(partitions: int) -> None:
    for count in range(1, 100):
        living = [f"replica-{number:02}" for number in range(count)]
        shares = [fair_share(partitions, living, replica) for replica in living]
        assert sum(shares) == partitions
        assert max(shares) - min(shares) <= 1
