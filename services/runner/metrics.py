"""What Prometheus is told of a runner. Counted in plain numbers, since a run takes microseconds, and turned into
metrics when somebody asks.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from blockyard.runner.v1.result_pb2 import Outcome
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import REGISTRY, Collector

_BUCKETS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0)
_BUCKETS_US = tuple(int(seconds * 1_000_000) for seconds in _BUCKETS)

_NAMES = {
    Outcome.OUTCOME_COMPLETED: "completed",
    Outcome.OUTCOME_FAILED: "failed",
    Outcome.OUTCOME_RETURNED: "returned",
}


GAUGES = {
    "blockyard_runner_slots": "Runs that this runner can have at once",
    "blockyard_runner_running": "Runs in slots",
    "blockyard_runner_held": "Runs that wait or run here",
    "blockyard_runner_kept_bytes": "Results not known to be recorded",
    "blockyard_runner_cached_bytes": "Results kept to be given again",
    "blockyard_runner_stuck_threads": "Threads that cannot be ended",
}
"""What each is, by its name."""
COUNTERS = {"blockyard_runner_cache_hits": "Runs answered with an earlier result"}
LISTED = {"blockyard_runner_blocks_left_out": ("Blocks here that the catalogue refuses", "block")}
"""What each is, and the label that names each one."""


class RunMetrics(Collector):
    """Runs by outcome, their durations, and what the runner holds at the moment."""

    def __init__(self) -> None:
        self.numbers: dict[str, Callable[[], float]] = {}
        """What each of GAUGES and COUNTERS is now."""
        self.lists: dict[str, Callable[[], Iterable[str]]] = {}
        """What each of LISTED has now."""
        self._outcomes = dict.fromkeys(_NAMES, 0)
        self._buckets = [0] * (len(_BUCKETS) + 1)
        self._seconds = 0.0

    def ended(self, outcome: "Outcome.ValueType", duration_us: int) -> None:
        """A run has ended."""
        self._outcomes[outcome] += 1
        self._buckets[bisect_left(_BUCKETS_US, duration_us)] += 1
        self._seconds += duration_us / 1_000_000

    def register(self, registry: CollectorRegistry = REGISTRY) -> Callable[[], None]:
        """Be asked from now on; answers a function that ends this."""
        registry.register(self)
        return lambda: registry.unregister(self)

    def collect(self) -> Iterator[Metric]:
        """As Prometheus wants it."""
        runs = CounterMetricFamily("blockyard_runs", "Runs of tasks that have ended", labels=["outcome"])
        for outcome, name in _NAMES.items():
            runs.add_metric([name], self._outcomes[outcome])
        yield runs
        total = 0
        buckets = []
        for bound, count in zip((*map(str, _BUCKETS), "+Inf"), self._buckets, strict=True):
            total += count
            buckets.append((bound, total))
        yield HistogramMetricFamily(
            "blockyard_run_seconds", "How long runs took", buckets=buckets, sum_value=self._seconds
        )
        for name, number in self.numbers.items():
            if name in GAUGES:
                yield GaugeMetricFamily(name, GAUGES[name], value=number())
            else:
                yield CounterMetricFamily(name, COUNTERS[name], value=number())
        for name, names in self.lists.items():
            what, label = LISTED[name]
            listed = GaugeMetricFamily(name, what, labels=[label])
            for one in names():
                listed.add_metric([one], 1)
            yield listed
