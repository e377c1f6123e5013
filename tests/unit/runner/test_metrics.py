"""What Prometheus is told."""

from blockyard.runner.v1.result_pb2 import Outcome
from prometheus_client import CollectorRegistry, generate_latest

from services.runner.metrics import RunMetrics


def test_runs_are_counted_by_outcome_and_duration() -> None:
    metrics, registry = RunMetrics(), CollectorRegistry()
    metrics.numbers.update(blockyard_runner_slots=lambda: 64, blockyard_runner_cache_hits=lambda: 3)
    metrics.lists["blockyard_runner_blocks_left_out"] = lambda: ["BadBlock"]
    metrics.register(registry)

    metrics.ended(Outcome.OUTCOME_COMPLETED, 50)
    metrics.ended(Outcome.OUTCOME_FAILED, 2_000_000)

    text = generate_latest(registry).decode()
    assert 'blockyard_runs_total{outcome="completed"} 1.0' in text
    assert 'blockyard_run_seconds_bucket{le="0.0001"} 1.0' in text
    assert 'blockyard_run_seconds_bucket{le="10.0"} 2.0' in text
    assert "blockyard_run_seconds_sum 2.00005" in text
    assert "blockyard_runner_slots 64.0" in text
    assert "blockyard_runner_cache_hits_total 3.0" in text
    assert 'blockyard_runner_blocks_left_out{block="BadBlock"} 1.0' in text
