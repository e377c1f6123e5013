"""What an execution runs on, fixed at its start: nodes, links and limits, with all that blocks say about themselves.

A plan is stored by the hash of its bytes; replay reads only it. Values are JSON bytes that the engine never looks into.
"""

from enum import IntEnum

import msgspec


class NodeKind(IntEnum):
    """Who carries a node out."""

    TASK = 0
    """A runner."""
    INPUT = 1
    """The engine: gives an input of the execution."""
    OUTPUT = 2
    """The engine: takes a result of the execution."""
    COLLECT = 3
    """The engine: gathers what stems from one fan-out."""
    CHILD = 4
    """Another execution: it runs a graph."""
    APPROVAL = 5
    """A person."""


AWAITED = (NodeKind.CHILD, NodeKind.APPROVAL)
"""Kinds that hold no runner: the engine waits for what others decide."""


class Effect(IntEnum):
    """What a repeat of a run would do outside; the numbers of `blockyard.graph.v1.Effect`."""

    PURE = 1
    IDEMPOTENT = 2
    ONCE = 3


class Reason(IntEnum):
    """Why a node failed; the numbers of `blockyard.common.v1.NodeErrorReason`."""

    NONE = 0
    BLOCK_ERROR = 1
    INPUT_INVALID = 2
    OUTPUT_INVALID = 3
    TIMEOUT = 4
    RUNNER_LOST = 5
    NONDETERMINISTIC = 6
    BLOCK_UNAVAILABLE = 7
    VALUE_MISSING = 8
    DECIDED = 9
    CREDENTIAL_UNAVAILABLE = 10


DEFAULT_RETRIED = (Reason.BLOCK_ERROR, Reason.TIMEOUT, Reason.RUNNER_LOST)


class Retry(msgspec.Struct, frozen=True, array_like=True):
    """When a failed node runs again. Pauses in milliseconds."""

    max_attempts: int = 1
    initial_ms: int = 1_000
    max_ms: int = 60_000
    multiplier: float = 2.0
    reasons: tuple[Reason, ...] = DEFAULT_RETRIED


class PlanNode(msgspec.Struct, frozen=True, array_like=True):
    """A node as it runs."""

    id: str
    kind: NodeKind
    block_id: str
    schema_hash: str = ""
    constants: bytes = b"{}"
    """Constants for input pins, a UTF-8 JSON object."""
    pool: str = "default"
    effect: Effect = Effect.IDEMPOTENT
    many_pins: tuple[str, ...] = ()
    continue_on_error: bool = False
    retry: Retry = Retry()
    timeout_ms: int = 300_000
    of: int = -1
    """Of a COLLECT: index of the node whose fan-out it gathers; -1 is the whole execution."""
    tools: bytes = b""
    """Where links from pins of tools lead, as a task says it; empty if there are none."""
    child_plan: bytes = b""
    """Of a CHILD that is a part of the same graph: the plan of its execution, whose inputs are the linked pins."""
    secret_pins: tuple[str, ...] = ()
    """Input pins whose values are not shown."""


class PlanLink(msgspec.Struct, frozen=True, array_like=True):
    """A way from an output pin to an input pin, with nodes by index."""

    source: int
    source_pin: str
    sink: int
    sink_pin: str
    static: bool = False


class Plan(msgspec.Struct, frozen=True, array_like=True):
    """A graph version as it runs. `rules` is the number of the engine's rules that it was started with."""

    rules: int
    nodes: tuple[PlanNode, ...]
    links: tuple[PlanLink, ...]
    max_node_executions: int = 1_000_000
    max_duration_ms: int = 7 * 24 * 3_600_000


def encode_plan(plan: Plan) -> bytes:
    """The plan's bytes: equal plans give equal bytes."""
    return msgspec.msgpack.encode(plan)


def decode_plan(data: bytes) -> Plan:
    """The plan that `encode_plan` made these bytes from."""
    return msgspec.msgpack.decode(data, type=Plan)
