"""What a turn tells: the event message that is stored with its rows and published."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from blockyard.event.v1.event_pb2 import Event, EventBatch
from google.protobuf.timestamp_pb2 import Timestamp

from services.execution.engine import Effects
from services.execution.engine.effects import Event as EngineEvent
from services.execution.engine.effects import EventKind
from services.execution.engine.plan import NodeKind
from services.execution.engine.topology import Place
from services.execution.live import Live

KIND_NAMES = {kind: kind.name for kind in EventKind}


SECRET = b'"***"'
"""Told in place of a secret input."""


def is_secret(place: Place) -> bool:
    """Whether an INPUT node gives what nobody is told."""
    return bytes(place.constants.get("secret", b"")) == b"true"


def timestamp(value_ms: int) -> Timestamp:
    """The protobuf time of milliseconds since 1970."""
    return Timestamp(seconds=value_ms // 1000, nanos=value_ms % 1000 * 1_000_000)


def event_batch(live: Live, effects: Effects, now_ms: int) -> bytes:
    """The turn's EventBatch; empty bytes if it tells nothing. The machine has the turn behind it."""
    if not effects.events:
        return b""
    nodes, places = live.machine.topology.plan.nodes, live.machine.topology.places
    sequence = live.machine.state.events - len(effects.events)
    now = timestamp(now_ms)
    batch = EventBatch(
        execution_id=str(live.execution_id),
        graph_id=live.graph_id,
        graph_version=live.graph_version,
        user_id=live.user_id,
        parent_execution_id=str(live.parent.execution_id) if live.parent is not None else "",
    )
    add = batch.events.add
    for event in effects.events:
        sequence += 1
        if event.node < 0:
            add(sequence=sequence, kind=event.kind.value, time=now, message=event.message, **_wake(event))
        elif event.kind is EventKind.NODE_OUTPUT:
            node = nodes[event.node]
            hidden = node.kind is NodeKind.INPUT and is_secret(places[event.node])
            add(
                sequence=sequence,
                kind=event.kind.value,
                time=now,
                node_execution=event.number,
                node_id=node.id,
                attempt=event.attempt,
                pin=event.pin,
                index=event.index,
                value=SECRET if hidden else event.value,
                provisional=event.provisional,
            )
        elif event.kind in QUIET:
            add(
                sequence=sequence,
                kind=event.kind.value,
                time=now,
                node_execution=event.number,
                node_id=nodes[event.node].id,
                attempt=event.attempt,
            )
        else:
            told = add(node_id=nodes[event.node].id, waits_for_person=waits_for_person(live, event))
            _add_loud(told, event, sequence, now)
    return batch.SerializeToString()


@lru_cache(maxsize=16)
def time_text(value_ms: int) -> str:
    """Milliseconds since 1970 in RFC 3339."""
    return datetime.fromtimestamp(value_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


QUIET = frozenset({EventKind.NODE_QUEUED, EventKind.NODE_STARTED, EventKind.NODE_COMPLETED, EventKind.NODE_CANCELLED})
"""Kinds of node events that carry neither value nor message."""


def waits_for_person(live: Live, event: EngineEvent) -> bool:
    """Whether somebody is to decide about a node. What is ambiguous when its execution ends stays so for ever."""
    if event.kind is EventKind.NODE_WAITING:
        return live.machine.topology.plan.nodes[event.node].kind is NodeKind.APPROVAL
    return event.kind is EventKind.NODE_AMBIGUOUS and not live.machine.state.ending


def _wake(event: EngineEvent) -> dict[str, Any]:
    return {"wake_time": timestamp(event.wake_ms)} if event.wake_ms else {}


def _add_loud(told: Event, event: EngineEvent, sequence: int, now: Timestamp) -> None:
    told.sequence = sequence
    told.kind = event.kind.value  # type: ignore[assignment]  # the engine's enum has the numbers of the proto's
    told.time.CopyFrom(now)
    told.node_execution = event.number
    told.attempt = event.attempt
    told.message = event.message
    told.reason = event.reason.value  # type: ignore[assignment]  # as above
    told.index = event.index
    told.value = event.value
    if event.kind is EventKind.EXECUTION_OUTPUT:
        told.output_name = event.pin
    else:
        told.pin = event.pin
    if event.wake_ms:
        told.wake_time.CopyFrom(timestamp(event.wake_ms))


def kinds(effects: Effects) -> str:
    """The kinds of a turn's events, for the header Blockyard-Kinds."""
    return ",".join(sorted({KIND_NAMES[event.kind] for event in effects.events}))


def missing_pins(live: Live, node: int, values: tuple[bytes | None, ...]) -> list[str]:
    """Linked pins without a value."""
    inlets = live.machine.topology.places[node].inlets
    return [inlet.name for inlet, value in zip(inlets, values, strict=True) if value is None]


def scrub(text: str) -> str:
    """Text without NUL, which PostgreSQL's text cannot hold."""
    return text.replace("\x00", "\ufffd") if "\x00" in text else text
