"""The rows of a turn: what goes into the database for one execution."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from services.execution.engine import Effects, Fact, NodeOutcome
from services.execution.engine.effects import ExecutionStatus
from services.execution.live import Live
from services.execution.loading import encode_facts
from services.execution.records import ExecutionRow, NewExecution
from services.execution.repository.executions import columns_of
from services.execution.repository.turns import TurnBatch
from services.execution.telling import missing_pins, scrub

_packer = msgspec.msgpack.Encoder()


def rows_of(
    live: Live, facts: list[Fact], effects: Effects, checksum: int, events: bytes, now_ms: int, unload: bool
) -> TurnBatch:
    """The rows of an execution's turn. The machine has the turn behind it.

    The execution's own row is written with its first turn if it is not there yet, when its status changes, with the
    first turn after a load, and to unload it: then alone `wake_at` moves forward (rule 17).
    """
    state = live.machine.state
    rows = TurnBatch()
    rows.turns.append(
        (
            live.execution_id,
            state.turn,
            live.partition,
            state.events - len(effects.events) + 1,
            state.events,
            state.numbers,
            live.commands_through,
            now_ms,
            encode_facts(facts),
            events,
            checksum,
        )
    )
    _add_effects(rows, live, effects, now_ms)
    wake_ms = live.machine.wake_ms if unload else None
    wake_reason = "a timer, or a decision" if unload else "in memory"
    if live.beginning is not None:
        rows.begun.append(
            (
                *columns_of(live.beginning.new),
                int(state.status),
                scrub(state.message),
                state.numbers,
                state.events,
                state.started_ms,
                now_ms,
                wake_ms,
                wake_reason,
            )
        )
    elif live.reloaded or state.status != live.stored_status or unload:
        rows.executions.append(
            (
                live.execution_id,
                int(state.status),
                scrub(state.message),
                state.numbers,
                state.events,
                state.started_ms,
                now_ms,
                wake_ms,
                live.commands_through,
                wake_reason,
            )
        )
    return rows


def row_of(live: Live, new: NewExecution) -> ExecutionRow:
    """The row of a new execution after its first turn."""
    state, now = live.machine.state, _time(live.last_ms)
    return replace(
        ExecutionRow.accepted(new, now),
        status=ExecutionStatus(state.status),
        status_message=scrub(state.message),
        node_executions=state.numbers,
        last_event=state.events,
        start_time=_time(state.started_ms),
        end_time=now if live.machine.ended else None,
    )


def _time(value_ms: int) -> datetime:
    return datetime.fromtimestamp(value_ms / 1000, UTC)


def _add_effects(batch: TurnBatch, live: Live, effects: Effects, now_ms: int) -> None:
    """Adds the rows of what the turn recorded: outcomes, results, and at the end the sets that were never full."""
    key, topology, turn = live.execution_id, live.machine.topology, live.machine.state.turn
    for outcome in effects.outcomes:
        node = topology.plan.nodes[outcome.node]
        batch.outcomes.append(
            (
                key,
                outcome.number,
                node.id,
                node.block_id,
                outcome.status.value,
                outcome.attempts,
                outcome.first_turn,
                turn,
                outcome.queued_ms,
                outcome.started_ms,
                now_ms,
                topology.inputs(outcome.node, outcome.values),
                _packer.encode(outcome.lineage),
                scrub(outcome.error),
                outcome.reason.value,
                outcome.stats,
            )
        )
    for output in effects.outputs:
        position = "{" + ",".join(map(str, output.position)) + "}"
        batch.outputs.append((key, output.number, output.name, position, output.value))
    for waiting in effects.incomplete:
        batch.incomplete.append(_incomplete_row(live, waiting))


def _incomplete_row(live: Live, waiting: NodeOutcome) -> tuple[Any, ...]:
    topology = live.machine.topology
    node = topology.plan.nodes[waiting.node]
    return (
        live.execution_id,
        waiting.number,
        node.id,
        node.block_id,
        topology.inputs(waiting.node, waiting.values),
        _packer.encode(waiting.lineage),
        _array_text(missing_pins(live, waiting.node, waiting.values)),
    )


def _array_text(items: list[str]) -> str:
    """A text[] in PostgreSQL's input syntax."""
    quoted = ('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
    return "{" + ",".join(quoted) + "}"
