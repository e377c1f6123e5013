"""What a person may decide of a node execution whose outcome is not known: checked as a runner checks its blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from blockyard.execution.v1 import execution_service_pb2 as messages
from blockyard.values import encode, parse

from services.common.errors import BlockyardError, InvalidArgument, Violation
from services.execution.catalogue import Catalogue, KnownBlock
from services.execution.commands import Decide
from services.execution.engine.facts import Output
from services.execution.engine.parts import with_parts
from services.execution.engine.plan import PlanNode
from services.execution.engine.topology import Place
from services.execution.planning import OutputPins, output_pins
from services.execution.records import ExecutionRow
from services.execution.starting import LONGEST_REQUEST_ID, StartLimits
from services.execution.translation import depth

LONGEST_MESSAGE = 10_000
"""Characters of the error of a node that somebody decided to have failed."""

ERROR_PIN = "error"


@dataclass(frozen=True, slots=True)
class Decider:
    """Makes commands of decisions."""

    catalogue: Catalogue
    limits: StartLimits
    """Outputs come in as inputs do, and may be as large."""

    def read(self, request: messages.ResumeNodeRequest) -> tuple[Output, ...]:
        """The outputs in a request that is well-formed; InvalidArgument if it is not."""
        violations: list[Violation] = []
        if request.decision not in (messages.DECISION_RETRY, messages.DECISION_COMPLETE, messages.DECISION_FAIL):
            violations.append(Violation("decision", f"expected RETRY, COMPLETE or FAIL, got {request.decision}"))
        for path, text, longest in (
            ("request_id", request.request_id, LONGEST_REQUEST_ID),
            ("message", request.message, LONGEST_MESSAGE),
        ):
            if len(text) > longest:
                violations.append(Violation(path, f"longer than {longest} characters"))
            if "\x00" in text:
                violations.append(Violation(path, "holds a NUL character"))
        outputs: tuple[Output, ...] = ()
        try:
            outputs = self._outputs(request.outputs_json)
        except ValueError as error:
            violations.append(Violation("outputs_json", str(error)))
        if violations:
            raise InvalidArgument(violations=violations)
        return outputs

    def _outputs(self, data: bytes) -> tuple[Output, ...]:
        if not data:
            return ()
        if len(data) > self.limits.input_bytes:
            raise ValueError(f"{len(data)} bytes, at most {self.limits.input_bytes} are taken")
        value = parse(data)
        if not isinstance(value, dict) or not all(isinstance(items, list) for items in value.values()):
            raise ValueError("expected a JSON object with a list of values for each pin")
        if depth(value) > self.limits.input_depth + 2:
            raise ValueError(f"values nested deeper than {self.limits.input_depth} levels")
        return tuple(Output(pin, at, encode(item)) for pin, items in value.items() for at, item in enumerate(items))

    async def command(
        self, request: messages.ResumeNodeRequest, outputs: Sequence[Output], row: ExecutionRow, place: Place
    ) -> Decide:
        """The command to decide so of a node execution at this place; InvalidArgument names pins that do not fit."""
        if request.decision == messages.DECISION_COMPLETE:
            await self._check_pins(outputs, row, place)
            outputs = with_parts(place, list(outputs))
        else:
            outputs = ()
        told = [(output.pin, output.index, output.value) for output in outputs]
        return Decide(request.node_execution, request.decision, told, request.message)

    async def _check_pins(self, outputs: Sequence[Output], row: ExecutionRow, place: Place) -> None:
        counts: dict[str, int] = {}
        for output in outputs:
            counts[output.pin] = counts.get(output.pin, 0) + 1
        pins = await self._pins(row, place) if counts else None
        violations = [
            Violation(f"outputs_json.{pin}", problem)
            for pin, count in counts.items()
            if (problem := _problem(pin, count, pins, place))
        ]
        if violations:
            raise InvalidArgument(violations=violations)

    async def _pins(self, row: ExecutionRow, place: Place) -> OutputPins | None:
        """The block's output pins; None if they cannot be told any more: a decision must be possible all the same."""
        node = place.node
        try:
            if not row.graph_id:
                return _pins_of(await self.catalogue.block(row.user_id, node.block_id), node)
            runnable = await self.catalogue.runnable(row.user_id, row.graph_id, row.graph_version)
        except (BlockyardError, grpc.aio.AioRpcError):
            return None
        return runnable.output_pins.get((node.block_id, node.schema_hash))


def _pins_of(known: KnownBlock, node: PlanNode) -> OutputPins | None:
    pins = output_pins(known.block)
    return pins if pins.declared and known.block.schema_hash == node.schema_hash else None


def _problem(pin: str, count: int, pins: OutputPins | None, place: Place) -> str:
    if pin == ERROR_PIN:
        return "a node that has completed has no error: decide FAIL, with a message"
    if pins is not None and pin not in pins.declared:
        declared = ", ".join(sorted(pins.declared - {ERROR_PIN}))
        return f"the block has no output pin {pin!r}; it has: {declared}" if pins.closed else ""
    if count > 1 and pin not in place.node.many_pins:
        return f"{count} values, and the pin gives one in each run"
    return ""
