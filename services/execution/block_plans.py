"""One block as it can be started without a graph: its plan, and how its inputs are checked.

The plan has the block, and for each pin that is given a value a node that takes it from the execution's inputs. So all
runs with the same pins share a plan: plans outlive executions, and what a run was given must not stay in one.
"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
from blockyard.graph.v1.block_pb2 import Block
from blockyard.graph.v1.graph_pb2 import Node
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from services.common.structs import from_struct
from services.execution.engine import RULES, Plan, PlanLink, PlanNode
from services.execution.engine.plan import NodeKind, encode_plan
from services.execution.pin_marks import PROVIDERS
from services.execution.planning import InputProblem, Limits, compile_node
from services.execution.secret_inputs import secret_pins

BLOCK_NODE = "block"
"""Id of the node that is the block."""

INPUT_NODES = "inputs."
"""What the id of a node begins with that gives a pin its value; the pin follows."""

LABEL = "block"
"""Label of a single run: the id of the block."""


class RunnableBlock:
    """A block with the pins that are given a value. None is no value, but where a required pin takes it as one."""

    graph_id = ""
    graph_version = 0

    def __init__(self, block: Block, inputs: Mapping[str, Any], limits: Limits) -> None:
        schema = from_struct(block.input_schema)
        self._pins: dict[str, Any] = schema.get("properties", {})
        # Whether a pin has its credentials is known apart from its inputs (block_setup.py).
        self._required = [pin for pin in schema.get("required", ()) if PROVIDERS not in self._pins.get(pin, ())]
        self.labels = {LABEL: block.id}
        self.plan = self._plan(block, inputs, limits)
        self.plan_bytes = encode_plan(self.plan)
        self.plan_hash = hashlib.sha256(self.plan_bytes).digest()

    def missing(self, inputs: Mapping[str, Any]) -> list[str]:
        """Required pins that these inputs give no value."""
        return [pin for pin in self._required if inputs.get(pin) is None and not self._is_null(pin, inputs)]

    def problems(self, inputs: Mapping[str, Any]) -> list[InputProblem]:
        """What is wrong with the inputs; empty if nothing. Of secret ones nothing is shown."""
        known = ", ".join(sorted(self._pins)) or "none"
        found = [
            InputProblem(f"inputs.{pin}", f"the block has no input pin {pin!r}; it has: {known}")
            for pin in inputs
            if pin not in self._pins
        ]
        found += [
            InputProblem(f"inputs.{pin}", "this input is required and has no default value")
            for pin in self.missing(inputs)
        ]
        for pin, value in inputs.items():
            if pin in self._pins and value is not None:
                errors: Iterator[ValidationError] = Draft202012Validator(self._pins[pin]).iter_errors(value)
                found += [self._problem(pin, error) for error in errors]
        return found

    def _problem(self, pin: str, error: ValidationError) -> InputProblem:
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        message = "does not fit the pin" if self._is_secret(pin) else error.message[:500]
        return InputProblem(f"inputs.{pin}{path}", message)

    def _is_null(self, pin: str, inputs: Mapping[str, Any]) -> bool:
        """True if None was given where it is a value."""
        return pin in inputs and pin in self._required and Draft202012Validator(self._pins[pin]).is_valid(None)

    def _is_secret(self, pin: str) -> bool:
        schema = self._pins.get(pin)
        return isinstance(schema, Mapping) and bool(schema.get("secret"))

    def _plan(self, block: Block, inputs: Mapping[str, Any], limits: Limits) -> Plan:
        given = sorted(pin for pin, value in inputs.items() if pin in self._pins and value is not None)
        # A node without a value would give none, and the block would wait for it for ever.
        nulls = {pin: None for pin in sorted(self._pins) if inputs.get(pin) is None and self._is_null(pin, inputs)}
        node = Node(id=BLOCK_NODE, block_id=block.id, inputs_json=msgspec.json.encode(nulls))
        return Plan(
            rules=RULES,
            nodes=(compile_node(node, block, NodeKind.TASK, limits, secret_pins(block)), *self._sources(given)),
            links=tuple(PlanLink(at, "result", 0, pin) for at, pin in enumerate(given, 1)),
            max_node_executions=limits.max_node_executions,
            max_duration_ms=limits.max_duration_ms,
        )

    def _sources(self, pins: Collection[str]) -> Iterator[PlanNode]:
        for pin in pins:
            constants = {"name": pin, "secret": True} if self._is_secret(pin) else {"name": pin}
            yield PlanNode(INPUT_NODES + pin, NodeKind.INPUT, "", constants=msgspec.json.encode(constants))
