"""The names of pools: a runner starts with exactly those that its blocks can be registered under."""

import pytest
from pydantic import ValidationError

from services.graph.registration import block_violations
from services.runner.config import RunnerSettings
from tests.signing import RUNNER_SECRET


def starts(pool: str) -> bool:
    """Whether a runner of this pool starts."""
    try:
        RunnerSettings.model_validate({"runner_secret": RUNNER_SECRET, "pool": pool})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("pool", ["default", "gpu-2", "0", "a" * 63])
def test_a_pool_that_can_be_registered_is_one_that_a_runner_starts_with(pool: str) -> None:
    assert not list(block_violations([], pool))
    assert starts(pool)


@pytest.mark.parametrize("pool", ["GPU", "big_machines", "-gpu", "a" * 64, "a.b", "gpu\n", "pool >", "*"])
def test_a_pool_that_cannot_be_registered_is_refused_at_the_runners_start(pool: str) -> None:
    assert list(block_violations([], pool))
    assert not starts(pool)
