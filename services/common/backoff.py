"""Delays between attempts: they grow, have an upper limit, and carry jitter so that many waiters spread out."""

import random
from collections.abc import Iterator


def delays(first: float = 0.1, longest: float = 5.0) -> Iterator[float]:
    """Endless delays in seconds, each between half and the whole of twice the one before."""
    step = first
    while True:
        yield random.uniform(step / 2, step)
        step = min(step * 2, longest)
