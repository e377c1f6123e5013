"""From a graph and its blocks to the plan that an execution is pinned to, and from a start's inputs to its facts."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
from blockyard.graph.v1.block_pb2 import Block, BlockType, RetryPolicy
from blockyard.graph.v1.graph_pb2 import Graph, Node, OnError
from google.protobuf.duration_pb2 import Duration
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from services.common.structs import from_struct
from services.execution.agent_mode import runs, with_agent_mode
from services.execution.engine import RULES, Plan, PlanLink, PlanNode, Retry
from services.execution.engine.plan import DEFAULT_RETRIED, Effect, NodeKind, Reason, decode_plan, encode_plan
from services.execution.engine.topology import base_pin, default_of
from services.execution.feedback import fed_back_of, with_feedback
from services.execution.secret_inputs import secret_pins, with_secret_inputs
from services.execution.tools import compile_tools, with_canonical_pins
from services.execution.triggers import payload_nodes

NATIVE_KINDS = {
    BlockType.BLOCK_TYPE_INPUT: NodeKind.INPUT,
    BlockType.BLOCK_TYPE_OUTPUT: NodeKind.OUTPUT,
    BlockType.BLOCK_TYPE_COLLECT: NodeKind.COLLECT,
    BlockType.BLOCK_TYPE_AGENT: NodeKind.CHILD,
    BlockType.BLOCK_TYPE_HUMAN_IN_THE_LOOP: NodeKind.APPROVAL,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a graph sets no limit of its own."""

    max_node_executions: int
    max_duration_ms: int
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class InputProblem:
    """An input that does not fit: `field` is its path in the request."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class OutputPins:
    """The output pins of a block."""

    declared: frozenset[str]
    closed: bool
    """False for blocks that may have further ones of their own making, such as the tools of a model."""


class Runnable:
    """A graph version as it can be started: its plan, and how its inputs are checked. Shared by all its executions."""

    labels: Mapping[str, str] = MappingProxyType({})
    """That an execution has whatever its caller gives it."""

    def __init__(self, graph: Graph, blocks: Sequence[Block], limits: Limits) -> None:
        self.graph_id = graph.id
        self.graph_version = graph.version
        self.plan = compile_plan(graph, {block.id: block for block in blocks}, limits)
        self.plan_bytes = encode_plan(self.plan)
        self.plan_hash = hashlib.sha256(self.plan_bytes).digest()
        schema = from_struct(graph.input_schema)
        self.names: dict[str, Any] = schema.get("properties", {})
        self.required: list[str] = schema.get("required", [])
        self.credentials_fields = tuple(graph.credentials_fields)
        self.output_pins = {
            (block.id, block.schema_hash): pins for block in blocks if (pins := output_pins(block)).declared
        }
        """By block and schema hash, of blocks that say them."""
        self._validators = {name: Draft202012Validator(rule) for name, rule in self.names.items()}

    def problems(self, inputs: Mapping[str, Any]) -> list[InputProblem]:
        """What is wrong with the inputs of a start; empty if nothing."""
        found = [
            InputProblem(
                f"inputs.{name}", f"the graph has no input {name!r}; it has: {', '.join(self.names) or 'none'}"
            )
            for name in inputs
            if name not in self.names
        ]
        found += [
            InputProblem(f"inputs.{name}", "this input is required and has no default value")
            for name in self.required
            if inputs.get(name) is None
        ]
        for name, value in inputs.items():
            if name in self._validators and value is not None:
                found += [_problem(name, error) for error in self._validators[name].iter_errors(value)]
        return found


class GraphPart:
    """A part of a graph version that runs as an execution of its own, within one of the graph."""

    labels: Mapping[str, str] = MappingProxyType({})
    required: tuple[str, ...] = ()
    """Each of its inputs is a linked pin, and so has a value."""

    def __init__(self, graph_id: str, graph_version: int, plan_bytes: bytes) -> None:
        self.graph_id = graph_id
        self.graph_version = graph_version
        self.plan_bytes = plan_bytes
        self.plan_hash = hashlib.sha256(plan_bytes).digest()
        self.plan = decode_plan(plan_bytes)
        inputs = (node for node in self.plan.nodes if node.kind is NodeKind.INPUT)
        self.names = {json.loads(node.constants)["name"] for node in inputs}


def output_pins(block: Block) -> OutputPins:
    """The output pins that a block declares."""
    names = from_struct(block.output_schema).get("properties", ())
    return OutputPins(frozenset(names), block.type == BlockType.BLOCK_TYPE_STANDARD)


def _problem(name: str, error: ValidationError) -> InputProblem:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
    return InputProblem(f"inputs.{name}{path}", error.message[:500])


def compile_plan(graph: Graph, blocks: Mapping[str, Block], limits: Limits) -> Plan:
    """The plan of a valid graph. Notes are left out; selectors on an engine's own node make a runner carry it out."""
    nodes = [node for node in graph.nodes if blocks[node.block_id].type != BlockType.BLOCK_TYPE_NOTE]
    index = {node.id: at for at, node in enumerate(nodes)}
    named = [
        link for link in with_canonical_pins(graph.links) if link.source_node_id in index and link.sink_node_id in index
    ]
    links = tuple(
        PlanLink(
            source=index[link.source_node_id],
            source_pin=link.source_pin,
            sink=index[link.sink_node_id],
            sink_pin=link.sink_pin,
            static=link.keep or blocks[nodes[index[link.source_node_id]].block_id].static_output,
        )
        for link in named
    )
    tools = compile_tools({node.id: node for node in nodes}, named, blocks)
    secret = {block_id: secret_pins(block) for block_id, block in blocks.items()}
    compiled = tuple(
        compile_node(
            node,
            blocks[node.block_id],
            _kind(at, node, blocks, links),
            limits,
            secret[node.block_id],
            tools.get(node.id, b""),
        )
        for at, node in enumerate(nodes)
    )
    compiled = with_secret_inputs(compiled, links)
    results, result_links = _shaped_results(compiled, nodes, blocks, links)
    payloads, payload_links = payload_nodes(compiled, blocks, links, len(compiled) + len(results))
    plan = Plan(
        rules=RULES,
        nodes=compiled + results + payloads,
        links=links + result_links + payload_links,
        max_node_executions=graph.limits.max_node_executions or limits.max_node_executions,
        max_duration_ms=_milliseconds(graph.limits.max_duration) or limits.max_duration_ms,
    )
    plan, kept = with_agent_mode(plan, blocks)
    nodes = [nodes[at] for at in kept if at < len(nodes)]
    index = {node.id: at for at, node in enumerate(nodes)}
    return _with_fan_outs(with_feedback(plan, fed_back_of(plan.nodes, blocks)), nodes, index)


def _shaped_results(
    compiled: Sequence[PlanNode], nodes: Sequence[Node], blocks: Mapping[str, Block], links: Sequence[PlanLink]
) -> tuple[tuple[PlanNode, ...], tuple[PlanLink, ...]]:
    """An OUTPUT node that a runner has to carry out (a template, dynamic pins) has beside it one that records the
    result: the raw value where that comes whole, else what the runner put together. Its id is the node's with the pin:
    "greeting.output"."""
    results: list[PlanNode] = []
    result_links: list[PlanLink] = []
    for at, node in enumerate(nodes):
        if compiled[at].kind is not NodeKind.TASK or blocks[node.block_id].type != BlockType.BLOCK_TYPE_OUTPUT:
            continue
        own = _constants(node)
        into = [link for link in links if link.sink == at]
        sink = len(compiled) + len(results)
        constants = {"name": own.get("name", node.id)}
        if any(base_pin(link.sink_pin) != link.sink_pin for link in into):
            result_links.append(PlanLink(at, "output", sink, "value"))
        else:
            constants |= {"value": own["value"]} if "value" in own else {}
            result_links += [
                PlanLink(link.source, link.source_pin, sink, "value", link.static)
                for link in into
                if link.sink_pin == "value"
            ]
        encoded = msgspec.json.encode(constants)
        results.append(PlanNode(f"{node.id}.output", NodeKind.OUTPUT, node.block_id, constants=encoded))
    return tuple(results), tuple(result_links)


def _kind(at: int, node: Node, blocks: Mapping[str, Block], links: Sequence[PlanLink]) -> NodeKind:
    """Who carries a node out: the engine knows INPUT, OUTPUT and COLLECT in their plain form."""
    kind = NATIVE_KINDS.get(blocks[node.block_id].type, NodeKind.TASK)
    if kind is NodeKind.INPUT and any(link.sink == at for link in links):
        return NodeKind.TASK
    if kind is NodeKind.OUTPUT:
        shaped = _constants(node).get("format") or any(
            link.sink == at and base_pin(link.sink_pin) != link.sink_pin for link in links
        )
        return NodeKind.TASK if shaped else kind
    return kind


def _constants(node: Node) -> dict[str, Any]:
    if node.inputs_json:
        constants: dict[str, Any] = json.loads(node.inputs_json)
        return constants
    return from_struct(node.inputs)


def compile_node(
    node: Node, block: Block, kind: NodeKind, limits: Limits, secret: frozenset[str], tools: bytes = b""
) -> PlanNode:
    """A node as it runs: with its own settings, else its block's, else the limits. `secret` are its block's pins."""
    retry = node.retry if node.HasField("retry") else block.retry
    constants = node.inputs_json or msgspec.json.encode(from_struct(node.inputs))
    if kind is NodeKind.INPUT:
        constants = msgspec.json.encode({**_default_value(block), **_constants(node)})
    return PlanNode(
        id=node.id,
        kind=kind,
        block_id=node.block_id,
        schema_hash=block.schema_hash,
        constants=constants,
        pool=block.pool or "default",
        effect=Effect(block.effect or Effect.ONCE),
        many_pins=tuple(block.many_pins) if kind is NodeKind.TASK else (),
        continue_on_error=node.on_error == OnError.ON_ERROR_CONTINUE,
        retry=_retry(retry),
        timeout_ms=_milliseconds(node.timeout) or _milliseconds(block.timeout) or limits.timeout_ms,
        tools=tools,
        secret_pins=tuple(sorted(secret | _secret_inputs_of_child(kind, constants))),
    )


def _secret_inputs_of_child(kind: NodeKind, constants: bytes) -> frozenset[str]:
    """Secret inputs of the graph that a node runs, by the schema that the graph service has put there."""
    if kind is not NodeKind.CHILD or b'"secret"' not in constants:
        return frozenset()
    schema = json.loads(constants).get("input_schema")
    pins = schema.get("properties") if isinstance(schema, dict) else None
    return frozenset(
        pin for pin, words in (pins or {}).items() if isinstance(words, dict) and words.get("secret") is True
    )


def _default_value(block: Block) -> dict[str, Any]:
    """What an INPUT block gives where neither the start nor the node says anything: a toggle is off."""
    default = from_struct(block.input_schema).get("properties", {}).get("value", {}).get("default")
    return {} if default is None else {"value": default}


def _retry(policy: RetryPolicy) -> Retry:
    usual = Retry()
    return Retry(
        max_attempts=policy.max_attempts or usual.max_attempts,
        initial_ms=_milliseconds(policy.initial_backoff) or usual.initial_ms,
        max_ms=_milliseconds(policy.max_backoff) or usual.max_ms,
        multiplier=policy.multiplier or usual.multiplier,
        reasons=tuple(Reason[name] for name in policy.reasons) or DEFAULT_RETRIED,
    )


def _milliseconds(duration: Duration) -> int:
    return duration.seconds * 1000 + duration.nanos // 1_000_000


def _with_fan_outs(plan: Plan, nodes: Sequence[Node], index: Mapping[str, int]) -> Plan:
    """Names the fan-out of each Collect. Those that name none depend on Collects above them: repeated until stable."""
    for _ in plan.nodes:
        placed = tuple(
            msgspec.structs.replace(node, of=_fan_out_of(plan, at, nodes[at], index))
            if node.kind is NodeKind.COLLECT
            else node
            for at, node in enumerate(plan.nodes)
        )
        if placed == plan.nodes:
            break
        plan = msgspec.structs.replace(plan, nodes=placed)
    return plan


def _fan_out_of(plan: Plan, at: int, node: Node, index: Mapping[str, int]) -> int:
    named = _constants(node).get("of")
    if not named:
        return default_of(plan, at)
    # A tool may have become a part of the node that calls it: what it gives comes from there.
    return index[named] if named in index else next(at for at, each in enumerate(plan.nodes) if runs(each, named))
