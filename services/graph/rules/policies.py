"""The rules of retry policies, of times, and of an execution's limits."""

import math
from collections.abc import Iterator

from blockyard.common.v1.errors_pb2 import NodeErrorReason
from blockyard.graph.v1.block_pb2 import RetryPolicy
from blockyard.graph.v1.graph_pb2 import ExecutionLimits
from google.protobuf.duration_pb2 import Duration

from services.common.errors import Violation

MOST_ATTEMPTS = 100
LARGEST_MULTIPLIER = 100.0
LONGEST_BACKOFF_SECONDS = 24 * 3600.0
MOST_NODE_EXECUTIONS = 1_000_000_000
LONGEST_EXECUTION_SECONDS = 366 * 24 * 3600.0

_PREFIX = "NODE_ERROR_REASON_"
REASONS = [name.removeprefix(_PREFIX) for name, number in NodeErrorReason.items() if number]


def retry_violations(policy: RetryPolicy, path: str) -> Iterator[Violation]:
    """What is wrong with a retry policy; of its fields, those that are not set mean the usual."""
    if not 1 <= policy.max_attempts <= MOST_ATTEMPTS:
        yield Violation(f"{path}.max_attempts", f"expected 1 to {MOST_ATTEMPTS}, got {policy.max_attempts}")
    if policy.multiplier and not 1 <= policy.multiplier <= LARGEST_MULTIPLIER:
        yield Violation(f"{path}.multiplier", f"expected 1 to {LARGEST_MULTIPLIER:g}, got {policy.multiplier:g}")
    for name in ("initial_backoff", "max_backoff"):
        if policy.HasField(name):
            yield from seconds_violation(getattr(policy, name), f"{path}.{name}", 0, LONGEST_BACKOFF_SECONDS)
    if policy.HasField("initial_backoff") and policy.HasField("max_backoff"):
        first, longest = seconds(policy.initial_backoff), seconds(policy.max_backoff)
        if first > longest:
            yield Violation(f"{path}.max_backoff", f"expected at least the initial backoff, {first:g} s")
    for index, reason in enumerate(policy.reasons):
        if reason not in REASONS:
            problem = f"expected one of {', '.join(REASONS)}, got {reason[:50]!r}"
            yield Violation(f"{path}.reasons[{index}]", problem)


def limits_violations(limits: ExecutionLimits, path: str) -> Iterator[Violation]:
    """What is wrong with the limits of executions."""
    if not 0 <= limits.max_node_executions <= MOST_NODE_EXECUTIONS:
        problem = f"expected 0 (the service's default) to {MOST_NODE_EXECUTIONS}, got {limits.max_node_executions}"
        yield Violation(f"{path}.max_node_executions", problem)
    if limits.HasField("max_duration"):
        yield from seconds_violation(limits.max_duration, f"{path}.max_duration", 0.001, LONGEST_EXECUTION_SECONDS)


def seconds_violation(duration: Duration, path: str, least: float, most: float) -> Iterator[Violation]:
    """That a time is too short or too long."""
    length = seconds(duration)
    if not (math.isfinite(length) and least <= length <= most):
        yield Violation(path, f"expected {least:g} s to {most:g} s, got {length:g} s")


def seconds(duration: Duration) -> float:
    """Its length."""
    return duration.seconds + duration.nanos / 1e9
