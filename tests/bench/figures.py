"""Figures of repeated measurements: the median of each, and how far the repetitions lie apart."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Spread:
    """What repetitions of one measurement came to."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self:
        """Of at least one sample."""
        return cls(statistics.median(samples), min(samples), max(samples), len(samples))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"median": significant(self.median), "low": significant(self.low), "high": significant(self.high)}


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that so many percent of all do not exceed."""
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def significant(number: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{number:.4g}")
