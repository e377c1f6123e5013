"""Prometheus metrics of the execution service."""

from dataclasses import dataclass, field

from prometheus_client import Counter, Gauge, Histogram

COMMIT_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)
EXECUTION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 600.0, 3600.0, 86400.0)
LATENESS_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 600.0, 3600.0)


@dataclass(frozen=True, slots=True)
class Metrics:
    """All of them; made once, since Prometheus keeps them by name."""

    executions_started: Counter = field(
        default_factory=lambda: Counter("blockyard_executions_started", "Executions whose first turn is stored")
    )
    executions_ended: Counter = field(
        default_factory=lambda: Counter("blockyard_executions_ended", "Executions that have ended", ["status"])
    )
    execution_seconds: Histogram = field(
        default_factory=lambda: Histogram(
            "blockyard_execution_seconds", "From an execution's first turn to its end", buckets=EXECUTION_BUCKETS
        )
    )
    node_executions: Counter = field(
        default_factory=lambda: Counter("blockyard_node_executions", "Node executions with an outcome", ["status"])
    )
    commit_seconds: Histogram = field(
        default_factory=lambda: Histogram(
            "blockyard_turn_commit_seconds", "Time of a turn's transaction", buckets=COMMIT_BUCKETS
        )
    )
    parked: Counter = field(
        default_factory=lambda: Counter("blockyard_executions_parked", "Executions put aside, since they cannot go on")
    )
    lost_tasks: Counter = field(
        default_factory=lambda: Counter("blockyard_tasks_lost", "Tasks that no runner held any more, sent again")
    )
    loaded: Gauge = field(default_factory=lambda: Gauge("blockyard_executions_loaded", "Executions in memory"))
    partitions: Gauge = field(default_factory=lambda: Gauge("blockyard_partitions_held", "Partitions held here"))
    all_partitions: Gauge = field(default_factory=lambda: Gauge("blockyard_partitions", "Partitions that there are"))
    partitions_taken: Counter = field(
        default_factory=lambda: Counter("blockyard_partitions_taken", "Partitions that this replica has taken")
    )
    leases_lost: Counter = field(
        default_factory=lambda: Counter("blockyard_leases_lost", "Leases that another replica has taken over")
    )
    overdue: Gauge = field(
        default_factory=lambda: Gauge("blockyard_executions_overdue", "Executions due for over a minute, not in memory")
    )
    charges_pending: Gauge = field(
        default_factory=lambda: Gauge(
            "blockyard_charges_pending", "Charges that the account service has not booked yet"
        )
    )
    settlement_failures: Counter = field(
        default_factory=lambda: Counter("blockyard_settlement_failures", "Charges or holds that had to wait")
    )
    firings: Counter = field(
        default_factory=lambda: Counter(
            "blockyard_schedule_firings", "Due times of schedules that were settled", ["outcome"]
        )
    )
    firing_lateness: Histogram = field(
        default_factory=lambda: Histogram(
            "blockyard_schedule_lateness_seconds",
            "From a due time with its jitter to its start",
            buckets=LATENESS_BUCKETS,
        )
    )
    runnable: Gauge = field(
        default_factory=lambda: Gauge("blockyard_tasks_runnable", "Tasks that wait for a runner", ["pool"])
    )
    oldest_task: Gauge = field(
        default_factory=lambda: Gauge(
            "blockyard_tasks_oldest_seconds", "How long the oldest of them has waited", ["pool"]
        )
    )
    stream_bytes: Gauge = field(
        default_factory=lambda: Gauge("blockyard_stream_bytes", "Size of a stream of JetStream", ["stream"])
    )
    stream_bytes_limit: Gauge = field(
        default_factory=lambda: Gauge("blockyard_stream_bytes_limit", "How large it may grow", ["stream"])
    )
    webhook_deliveries: Counter = field(
        default_factory=lambda: Counter(
            "blockyard_webhook_deliveries", "Webhooks that came to triggers, by what became of them", ["outcome"]
        )
    )


METRICS = Metrics()
